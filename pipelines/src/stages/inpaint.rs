//! The picture of an edit and the part of it that is painted anew, made ready for a model's size.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use image::imageops::{self, FilterType};
use image::{GrayImage, Luma, RgbImage};
use nextscale_tokenizer::InpaintMask;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Diagnostic, PipelineError};
use crate::media::image::read_image;
use crate::setup::Setup;
use crate::stage::Context;

/// A picture of which a part is painted mask: exactly one of `mask`, `box` and `outpaint` says which.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EditParams {
    /// The image: PNG, JPEG or WebP. It is scaled and evenly cropped to the size that is painted.
    pub image: PathBuf,
    /// A picture of the same size: white is painted anew, black stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<PathBuf>,
    /// A rectangle that is painted mask: `left,top,width,height` in pixels of the picture, or each with `%`.
    #[serde(default, rename = "box", skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Sides at which the picture is continued, with the share of the result that is new: `left 0.5`, or
    /// `left 0.25, right 0.25`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outpaint: Option<String>,
    /// Paint everything but the mask or the box anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub invert: bool,
}

/// A picture at the size of the result, and how much of each pixel is painted anew, 0 to 1, row by row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InpaintImage {
    pub image: RgbImage,
    pub mask: Vec<f32>,
}

impl EditParams {
    /// Reads the picture and the mask for a result of `width` x `height` pixels; mistakes are reported at the key
    /// `edit`.
    pub(super) fn load(
        &self,
        width: usize,
        height: usize,
        setup: &Setup,
    ) -> Result<InpaintImage, PipelineError> {
        self.prepare(width as u32, height as u32)
            .map_err(|error| match error {
                Problem::File(error) => refused("edit", &error, setup).into(),
                Problem::Wrong(message, hint) => Diagnostic::new(setup.mark("edit"), message)
                    .hint(hint)
                    .into(),
            })
    }

    /// As [`EditParams::inpaint`], while the pipeline runs.
    pub(super) fn sized(
        &self,
        width: u32,
        height: u32,
        context: &Context,
    ) -> Result<InpaintImage, PipelineError> {
        self.prepare(width, height).map_err(|error| match error {
            Problem::File(error) => error,
            Problem::Wrong(message, _) => context.failed(message),
        })
    }

    fn prepare(&self, width: u32, height: u32) -> Result<InpaintImage, Problem> {
        let image = read_image(&self.image).map_err(Problem::File)?;
        match (&self.mask, &self.region, &self.outpaint) {
            (Some(mask), None, None) => {
                let mask = self.read_mask(mask, &image)?;
                self.masked(&image, &mask, width, height)
            }
            (None, Some(region), None) => {
                let (w, h) = image.dimensions();
                let [x0, y0, x1, y1] = rectangle(region, w, h)?;
                let inside = |x, y| x0 <= x && x < x1 && y0 <= y && y < y1;
                let mask =
                    GrayImage::from_fn(w, h, |x, y| Luma([if inside(x, y) { 255 } else { 0 }]));
                self.masked(&image, &mask, width, height)
            }
            (None, None, Some(sides)) if !self.invert => outpaint(&image, sides, width, height),
            (None, None, Some(_)) => Err(wrong(
                "`invert` goes with a mask or a box, not with `outpaint`",
                "drop `invert`",
            )),
            (None, None, None) => Err(wrong(
                "nothing says which part of the picture is painted anew",
                "give a mask, a box or the sides to continue: --mask, --box or --outpaint",
            )),
            _ => Err(wrong(
                "`mask`, `box` and `outpaint` exclude each other",
                "keep one of them",
            )),
        }
    }

    fn read_mask(&self, path: &Path, image: &RgbImage) -> Result<GrayImage, Problem> {
        let mask = read_image(path).map_err(Problem::File)?;
        if mask.dimensions() != image.dimensions() {
            let ((w, h), (pw, ph)) = (mask.dimensions(), image.dimensions());
            let (mask, image) = (path.display(), self.image.display());
            return Err(wrong(
                &format!(
                    "the mask `{mask}` has {w}x{h} pixels, the picture `{image}` has {pw}x{ph}"
                ),
                "make a mask of the picture's size",
            ));
        }
        Ok(imageops::grayscale(&mask))
    }

    /// The picture and a mask of its size, both brought to the size of the result.
    fn masked(
        &self,
        image: &RgbImage,
        mask: &GrayImage,
        width: u32,
        height: u32,
    ) -> Result<InpaintImage, Problem> {
        let [x, y, w, h] = cover(image.dimensions(), (width, height));
        let part = imageops::crop_imm(mask, x, y, w, h).to_image();
        let part = imageops::resize(&part, width, height, FilterType::Triangle);
        let share = part.pixels().map(|p| f32::from(p.0[0]) / 255.0);
        let mask: Vec<f32> = match self.invert {
            true => share.map(|s| 1.0 - s).collect(),
            false => share.collect(),
        };
        if mask.iter().all(|&s| s <= 0.5) {
            return Err(wrong(
                "no part of the picture is painted anew",
                "white parts of a mask are, and what a box encloses; pictures are evenly cropped to the size of the result",
            ));
        }
        let image = fit(image, width, height);
        Ok(InpaintImage { image, mask })
    }
}

/// A picture that cannot be used, at the key that names it.
pub(super) fn refused(key: &str, error: &PipelineError, setup: &Setup) -> Diagnostic {
    let mut diagnostic = setup.refuse(key, error.to_string());
    diagnostic.hint = error.hint().map(str::to_owned);
    diagnostic
}

/// Pixels `[1, 3, h, w]` in [-1, 1].
pub(super) fn pixels(image: &RgbImage, device: &Device) -> Tensor<4> {
    let (w, h) = image.dimensions();
    let values = image.as_raw().iter();
    let values: Vec<f32> = values.map(|&v| f32::from(v) / 127.5 - 1.0).collect();
    let shape = [1, h as usize, w as usize, 3];
    let rows = Tensor::<4>::from_data(TensorData::new(values, shape), device);
    rows.permute([0, 3, 1, 2])
}

/// Why there is no inpaint.
#[derive(Debug)]
enum Problem {
    File(PipelineError),
    Wrong(String, String),
}

fn wrong(message: &str, hint: &str) -> Problem {
    Problem::Wrong(message.to_owned(), hint.to_owned())
}

/// The largest rectangle in the middle of `from` with the shape of `to`: left, top, width, height.
fn cover((w, h): (u32, u32), (width, height): (u32, u32)) -> [u32; 4] {
    let (w64, h64, tw, th) = (
        u64::from(w),
        u64::from(h),
        u64::from(width),
        u64::from(height),
    );
    let (cw, ch) = match w64 * th > h64 * tw {
        true => ((h64 * tw / th).max(1), h64),
        false => (w64, (w64 * th / tw).max(1)),
    };
    let middle = |all: u64, part: u64| ((all - part) / 2) as u32;
    [middle(w64, cw), middle(h64, ch), cw as u32, ch as u32]
}

/// The largest part in the middle with the shape of the result, at the size of the result.
pub(super) fn fit(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    let [x, y, w, h] = cover(image.dimensions(), (width, height));
    let part = imageops::crop_imm(image, x, y, w, h).to_image();
    match (w, h) == (width, height) {
        true => part,
        false => imageops::resize(&part, width, height, FilterType::CatmullRom),
    }
}

/// `left,top,width,height` in a picture of `w` x `h` pixels: left, top, right and bottom, the latter two outside.
fn rectangle(text: &str, w: u32, h: u32) -> Result<[u32; 4], Problem> {
    let hint = "write left,top,width,height in pixels, such as 16,16,32,32, or in percent, such as 25%,25%,50%,50%";
    let bad = || wrong(&format!("`{text}` is no box"), hint);
    let number = |text: &str, all: u32| -> Option<f64> {
        let text = text.trim();
        let value = match text.strip_suffix('%') {
            Some(share) => share.trim().parse::<f64>().ok()? / 100.0 * f64::from(all),
            None => text.parse().ok()?,
        };
        (value.is_finite() && value >= 0.0).then_some(value)
    };
    let parts: Vec<&str> = text.split(',').collect();
    let [left, top, width, height] = parts.as_slice() else {
        return Err(bad());
    };
    let side = |start, length, all| Some((number(start, all)?, number(length, all)?));
    let (x, y) = (side(left, width, w), side(top, height, h));
    let ((x, bw), (y, bh)) = (x.ok_or_else(bad)?, y.ok_or_else(bad)?);
    let end = |start: f64, length: f64| (start + length).round();
    let (right, bottom) = (end(x, bw), end(y, bh));
    if right > f64::from(w) || bottom > f64::from(h) {
        let message =
            format!("the box `{text}` does not lie in the picture, which has {w}x{h} pixels");
        return Err(wrong(&message, hint));
    }
    let found = [x.round(), y.round(), right, bottom].map(|v| v as u32);
    match found[0] < found[2] && found[1] < found[3] {
        true => Ok(found),
        false => Err(wrong(&format!("the box `{text}` is empty"), hint)),
    }
}

/// Shares of the result that are new on the left, at the top, on the right and at the bottom.
fn sides(text: &str) -> Result<[f64; 4], Problem> {
    const NAMES: [&str; 4] = ["left", "top", "right", "bottom"];
    let hint = "write a side and the share of the result that is new, such as `left 0.5` or `left 0.25, right 0.25`";
    let mut shares = [0.0; 4];
    for part in text.split(',') {
        let words: Vec<&str> = part.split_whitespace().collect();
        let known = |side: &str| NAMES.iter().position(|name| *name == side);
        let read = match words.as_slice() {
            [side, share] => known(side).zip(share.parse::<f64>().ok()),
            _ => None,
        };
        match read {
            Some((side, share)) if share > 0.0 && share < 1.0 => shares[side] += share,
            _ => {
                return Err(wrong(
                    &format!("`{}` is no side to continue", part.trim()),
                    hint,
                ));
            }
        }
    }
    let [left, top, right, bottom] = shares;
    match left + right < 1.0 && top + bottom < 1.0 {
        true => Ok(shares),
        false => Err(wrong(
            &format!("`{text}` leaves nothing of the picture"),
            hint,
        )),
    }
}

/// The picture in its part of the result, its border continued into the new part for the encoder's sake.
fn outpaint(
    image: &RgbImage,
    text: &str,
    width: u32,
    height: u32,
) -> Result<InpaintImage, Problem> {
    let [left, top, right, bottom] = sides(text)?;
    let range = |before: f64, after: f64, all: u32| {
        let start = (before * f64::from(all)).round() as u32;
        let end = ((1.0 - after) * f64::from(all)).round() as u32;
        (start.min(all - 1), end.clamp(start.min(all - 1) + 1, all))
    };
    let ((x0, x1), (y0, y1)) = (range(left, right, width), range(top, bottom, height));
    let part = fit(image, x1 - x0, y1 - y0);
    let inside = |x: u32, y: u32| (x0..x1).contains(&x) && (y0..y1).contains(&y);
    let image = RgbImage::from_fn(width, height, |x, y| {
        *part.get_pixel(x.clamp(x0, x1 - 1) - x0, y.clamp(y0, y1 - 1) - y0)
    });
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let mask: Vec<f32> = pixels
        .map(|(x, y)| if inside(x, y) { 0.0 } else { 1.0 })
        .collect();
    match mask.iter().any(|&s| s > 0.0) {
        true => Ok(InpaintImage { image, mask }),
        false => Err(wrong(
            &format!("`{text}` is less than a pixel of the result"),
            "continue the picture by a larger share",
        )),
    }
}

impl InpaintImage {
    /// What generation needs: the picture's latent, by `encode` from pixels `[1, 3, h, w]` in [-1, 1], and what stays.
    pub(super) fn keep(
        &self,
        device: &Device,
        encode: impl FnOnce(Tensor<4>) -> Tensor<5>,
    ) -> InpaintMask {
        let (w, h) = self.image.dimensions();
        let (w, h) = (w as usize, h as usize);
        let latent = encode(pixels(&self.image, device));
        let stays: Vec<f32> = self.mask.iter().map(|share| 1.0 - share).collect();
        let stays = Tensor::from_data(TensorData::new(stays, [1, 1, 1, h, w]), device);
        InpaintMask::new(latent, stays)
    }

    /// `painted`, of the same size, with the picture put back where it stays: exactly, but for a border of `feather`
    /// pixels inside the new part in which one goes over into the other.
    pub(super) fn restore(&self, painted: &RgbImage, feather: f32) -> RgbImage {
        let (w, h) = painted.dimensions();
        let depth = depth(&self.mask, w as usize, h as usize);
        RgbImage::from_fn(w, h, |x, y| {
            let deep = depth[(y * w + x) as usize];
            let share = match deep == 0.0 {
                true => 0.0,
                false => (deep / (feather + 1.0)).min(1.0),
            };
            let (new, old) = (painted.get_pixel(x, y), self.image.get_pixel(x, y));
            let mix = |c: usize| {
                let (new, old) = (f32::from(new.0[c]), f32::from(old.0[c]));
                (old + (new - old) * share).round() as u8
            };
            image::Rgb([mix(0), mix(1), mix(2)])
        })
    }
}

/// How many pixels deep each pixel lies in the new part, 0 outside it; steps go along and across (a 1, 1.4 chamfer).
fn depth(mask: &[f32], w: usize, h: usize) -> Vec<f32> {
    const DIAGONAL: f32 = 1.4;
    let mut depth: Vec<f32> = mask
        .iter()
        .map(|&s| if s > 0.5 { f32::INFINITY } else { 0.0 })
        .collect();
    let mut pass = |forward: bool| {
        let before: [(isize, isize, f32); 4] = [
            (-1, 0, 1.0),
            (0, -1, 1.0),
            (-1, -1, DIAGONAL),
            (1, -1, DIAGONAL),
        ];
        for i in 0..w * h {
            let i = if forward { i } else { w * h - 1 - i };
            let (x, y) = ((i % w) as isize, (i / w) as isize);
            for (dx, dy, far) in before {
                let (dx, dy) = if forward { (dx, dy) } else { (-dx, -dy) };
                let (nx, ny) = (x + dx, y + dy);
                if (0..w as isize).contains(&nx) && (0..h as isize).contains(&ny) {
                    let there = depth[ny as usize * w + nx as usize];
                    depth[i] = depth[i].min(there + far);
                }
            }
        }
    };
    pass(true);
    pass(false);
    depth
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    fn message(problem: Problem) -> String {
        match problem {
            Problem::File(error) => error.to_string(),
            Problem::Wrong(message, _) => message,
        }
    }

    #[test]
    fn boxes() {
        let of = |text| rectangle(text, 64, 32);
        assert_eq!(of("16,8,32,16").unwrap(), [16, 8, 48, 24]);
        assert_eq!(of(" 25%, 25%, 50%, 50% ").unwrap(), [16, 8, 48, 24]);
        for bad in [
            "",
            "1,2,3",
            "a,b,c,d",
            "-1,0,4,4",
            "1,1,0,4",
            "40,0,30,8",
            "nan,0,1,1",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
        let outside = message(of("40,0,30,8").unwrap_err());
        assert!(outside.contains("64x32"), "{outside}");
    }

    #[test]
    fn sides_to_continue() {
        assert_eq!(sides("left 0.5").unwrap(), [0.5, 0.0, 0.0, 0.0]);
        assert_eq!(sides("top 0.25, right 0.5").unwrap(), [0.0, 0.25, 0.5, 0.0]);
        for bad in [
            "",
            "left",
            "left 1",
            "up 0.5",
            "left 0.6, right 0.6",
            "left -1",
        ] {
            assert!(sides(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn crops_are_even_and_never_empty() {
        assert_eq!(cover((100, 50), (64, 64)), [25, 0, 50, 50]);
        assert_eq!(cover((50, 100), (64, 64)), [0, 25, 50, 50]);
        assert_eq!(cover((1, 1), (64, 32)), [0, 0, 1, 1]);
        assert_eq!(cover((1, 500), (64, 64)), [0, 249, 1, 1]);
    }

    #[test]
    fn outpainting_puts_the_picture_where_it_stays() {
        let image = RgbImage::from_pixel(1, 1, Rgb([9, 8, 7]));
        let inpaint = outpaint(&image, "left 0.5", 8, 4).unwrap();
        assert!(inpaint.image.pixels().all(|p| p.0 == [9, 8, 7]));
        assert_eq!(inpaint.mask[..8], [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn what_stays_is_restored_exactly_and_the_border_is_soft() {
        let inpaint = InpaintImage {
            image: RgbImage::from_pixel(8, 1, Rgb([0, 0, 0])),
            mask: vec![0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        };
        let painted = RgbImage::from_pixel(8, 1, Rgb([100, 100, 100]));
        let reds = |feather| -> Vec<u8> {
            let restored = inpaint.restore(&painted, feather);
            restored.pixels().map(|p| p.0[0]).collect()
        };
        assert_eq!(reds(0.0), [0, 0, 100, 100, 100, 100, 100, 100]);
        assert_eq!(reds(3.0), [0, 0, 25, 50, 75, 100, 100, 100]);
    }

    #[test]
    fn exactly_one_part_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("a.png");
        RgbImage::from_pixel(4, 4, Rgb([1, 2, 3]))
            .save(&image)
            .unwrap();
        let params =
            |mask: Option<&str>, region: Option<&str>, outpaint: Option<&str>| EditParams {
                image: image.clone(),
                mask: mask.map(|name| folder.path().join(name)),
                region: region.map(str::to_owned),
                outpaint: outpaint.map(str::to_owned),
                invert: false,
            };
        let refused = |params: EditParams| message(params.prepare(8, 8).unwrap_err());
        assert!(refused(params(None, None, None)).starts_with("nothing says"));
        assert!(refused(params(None, Some("0,0,1,1"), Some("left 0.5"))).contains("exclude"));
        GrayImage::new(2, 4)
            .save(folder.path().join("small.png"))
            .unwrap();
        let other = refused(params(Some("small.png"), None, None));
        assert!(
            other.contains("has 2x4 pixels") && other.contains("4x4"),
            "{other}"
        );
        GrayImage::new(4, 4)
            .save(folder.path().join("black.png"))
            .unwrap();
        assert!(refused(params(Some("black.png"), None, None)).starts_with("no part"));
        let inpaint = params(None, Some("0,0,2,4"), None).prepare(8, 8).unwrap();
        assert_eq!(inpaint.mask[0], 1.0);
        assert_eq!(inpaint.mask[7], 0.0);
    }
}
