//! The image of an edit and its inpainting mask, at the size of the result.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use image::imageops::{self, FilterType};
use image::{GrayImage, Luma, RgbImage};
use nextscale_models::generator::ImageAutoencoder;
use nextscale_models::resize::{covering_rectangle, crop_to_cover};
use nextscale_models::{ModelError, pixels};
use nextscale_tokenizer::InpaintMask;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::edit_region::{rectangle, sides};
use super::mask::{Mask, read_mask, transparent};
use crate::error::PipelineError;
use crate::file_path::FilePath;
use crate::media::{on_white, read_with_alpha};
use crate::setup::Setup;
use crate::stage::Context;

/// An image of which a part is inpainted: one of `mask`, `box` and `outpaint` says which, or the image has transparent parts. A
/// model that edits by instruction takes the image alone.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EditParams {
    /// The image: PNG, JPEG, WebP, TIFF or GIF. It is scaled and cropped around its centre to the size of the result; edited by
    /// instruction, it keeps its size.
    pub image: FilePath,
    /// An image of the same size: white is inpainted, black is kept. In one whose transparency varies, transparent parts are
    /// inpainted.
    pub mask: Option<FilePath>,
    /// A rectangle that is inpainted: `left,top,width,height` in pixels of the image, or each with `%`.
    #[serde(rename = "box")]
    pub region: Option<String>,
    /// Sides at which the image is extended, with the fraction of the result that is new: `left 0.5`, or
    /// `left 0.25, right 0.25`.
    pub outpaint: Option<String>,
    /// Inpaint everything except the mask or the box.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub invert: bool,
}

/// An image at the size of the result, and how much of each pixel is inpainted, 0 to 1, row by row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InpaintImage {
    pub image: RgbImage,
    pub mask: Vec<f32>,
    /// How the mask was read, if there is another way.
    pub notice: Option<String>,
}

impl EditParams {
    /// Reads the image and the mask for a result of `width` x `height` pixels; mistakes are reported at the key `edit`.
    pub(super) fn load(
        &self,
        width: usize,
        height: usize,
        setup: &Setup,
    ) -> Result<InpaintImage, PipelineError> {
        self.read(width as u32, height as u32)
            .map_err(|error| setup.refuse_error("edit", &error).into())
    }

    /// As [`EditParams::load`], while the pipeline runs.
    pub(super) fn load_sized(
        &self,
        width: u32,
        height: u32,
        context: &Context,
    ) -> Result<InpaintImage, PipelineError> {
        self.read(width, height).map_err(|error| match error {
            PipelineError::Model(ModelError::Refused { message, .. }) => context.failed(message),
            error => error,
        })
    }

    fn read(&self, width: u32, height: u32) -> Result<InpaintImage, PipelineError> {
        let image = read_with_alpha(&self.image)?;
        let hole = transparent(&image);
        let image = on_white(image);
        match (&self.mask, &self.region, &self.outpaint) {
            (Some(mask), None, None) => {
                let Mask { share, notice } = self.mask_of(mask, &image)?;
                let inpaint = self.masked(&image, &share, width, height)?;
                Ok(InpaintImage { notice, ..inpaint })
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
            (None, None, Some(_)) => Err(PipelineError::refused_with(
                "`invert` goes with a mask or a box, not with `outpaint`",
                "drop `invert`",
            )),
            (None, None, None) => match hole {
                Some(share) => self.masked(&image, &share, width, height),
                None => Err(PipelineError::refused_with(
                    "nothing says which part of the image is inpainted",
                    "give a mask, a box or the sides to extend (--mask, --box or --outpaint), an image with transparent parts, or a model that edits by instruction, such as varedit-8b-512",
                )),
            },
            _ => Err(PipelineError::refused_with(
                "`mask`, `box` and `outpaint` exclude each other",
                "keep one of them",
            )),
        }
    }

    /// Reads a mask of the image's size.
    fn mask_of(&self, path: &Path, image: &RgbImage) -> Result<Mask, PipelineError> {
        let mask = read_mask(path)?;
        let (size, wanted) = (mask.share.dimensions(), image.dimensions());
        if size != wanted {
            let ((w, h), (iw, ih)) = (size, wanted);
            let (mask, image) = (path.display(), self.image.display());
            return Err(PipelineError::refused_with(
                format!("the mask `{mask}` has {w}x{h} pixels, the image `{image}` has {iw}x{ih}"),
                "make a mask of the image's size",
            ));
        }
        Ok(mask)
    }

    /// The image and a mask of its size, both cropped and resized to the size of the result.
    fn masked(
        &self,
        image: &RgbImage,
        mask: &GrayImage,
        width: u32,
        height: u32,
    ) -> Result<InpaintImage, PipelineError> {
        let [x, y, w, h] = covering_rectangle(image.dimensions(), (width, height));
        let part = imageops::crop_imm(mask, x, y, w, h).to_image();
        let part = imageops::resize(&part, width, height, FilterType::Triangle);
        let share = part.pixels().map(|p| f32::from(p.0[0]) / 255.0);
        let inverted = |share: f32| if self.invert { 1.0 - share } else { share };
        let mask: Vec<f32> = share.map(inverted).collect();
        if mask.iter().all(|&s| s <= 0.5) {
            return Err(PipelineError::refused_with(
                "no part of the image is inpainted",
                "white parts of a mask are, and the inside of a box; images are cropped around their centre to the size of the result",
            ));
        }
        let image = crop_to_cover(image, width, height);
        let notice = None;
        Ok(InpaintImage {
            image,
            mask,
            notice,
        })
    }
}

/// The image in its part of the result; the new part repeats its border, for the encoder's sake.
fn outpaint(
    image: &RgbImage,
    text: &str,
    width: u32,
    height: u32,
) -> Result<InpaintImage, PipelineError> {
    let [left, top, right, bottom] = sides(text)?;
    let range = |before: f64, after: f64, all: u32| {
        let start = (before * f64::from(all)).round() as u32;
        let end = ((1.0 - after) * f64::from(all)).round() as u32;
        (start.min(all - 1), end.clamp(start.min(all - 1) + 1, all))
    };
    let ((x0, x1), (y0, y1)) = (range(left, right, width), range(top, bottom, height));
    let part = crop_to_cover(image, x1 - x0, y1 - y0);
    let inside = |x: u32, y: u32| (x0..x1).contains(&x) && (y0..y1).contains(&y);
    let image = RgbImage::from_fn(width, height, |x, y| {
        *part.get_pixel(x.clamp(x0, x1 - 1) - x0, y.clamp(y0, y1 - 1) - y0)
    });
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let mask: Vec<f32> = pixels
        .map(|(x, y)| if inside(x, y) { 0.0 } else { 1.0 })
        .collect();
    if mask.iter().all(|&s| s == 0.0) {
        return Err(PipelineError::refused_with(
            format!("`{text}` is less than a pixel of the result"),
            "extend the image by a larger fraction",
        ));
    }
    let notice = None;
    Ok(InpaintImage {
        image,
        mask,
        notice,
    })
}

impl InpaintImage {
    /// What generation needs: the image's latent, and how much of each pixel is kept.
    pub(super) fn keep(&self, autoencoder: &ImageAutoencoder, device: &Device) -> InpaintMask {
        let (w, h) = self.image.dimensions();
        let (w, h) = (w as usize, h as usize);
        let pixels = pixels::from_images(std::slice::from_ref(&self.image), device);
        let latent = autoencoder.encode(pixels);
        let kept: Vec<f32> = self.mask.iter().map(|share| 1.0 - share).collect();
        let kept = Tensor::from_data(TensorData::new(kept, [1, 1, 1, h, w]), device);
        InpaintMask::new(latent, kept)
    }

    /// `generated`, of the same size, with the original pixels where they are kept: exactly, except for a border of
    /// `feather` pixels inside the new part in which the two are blended.
    pub(super) fn restore(&self, generated: &RgbImage, feather: f32) -> RgbImage {
        let (w, h) = generated.dimensions();
        let depths = depths(&self.mask, w as usize, h as usize);
        RgbImage::from_fn(w, h, |x, y| {
            let depth = depths[(y * w + x) as usize];
            let share = if depth == 0.0 {
                0.0
            } else {
                (depth / (feather + 1.0)).min(1.0)
            };
            let (new, old) = (generated.get_pixel(x, y), self.image.get_pixel(x, y));
            let mix = |c: usize| {
                let (new, old) = (f32::from(new.0[c]), f32::from(old.0[c]));
                (old + (new - old) * share).round() as u8
            };
            image::Rgb([mix(0), mix(1), mix(2)])
        })
    }
}

/// How deep each pixel lies in the new part, in pixels, 0 outside it: a chamfer distance with steps of 1 and 1.4.
fn depths(mask: &[f32], w: usize, h: usize) -> Vec<f32> {
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

    #[test]
    fn outpainting_puts_the_image_where_it_stays() {
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
            notice: None,
        };
        let generated = RgbImage::from_pixel(8, 1, Rgb([100, 100, 100]));
        let reds = |feather| -> Vec<u8> {
            let restored = inpaint.restore(&generated, feather);
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
                image: image.clone().into(),
                mask: mask.map(|name| folder.path().join(name).into()),
                region: region.map(str::to_owned),
                outpaint: outpaint.map(str::to_owned),
                invert: false,
            };
        let refused = |params: EditParams| params.read(8, 8).unwrap_err().to_string();
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
        let inpaint = params(None, Some("0,0,2,4"), None).read(8, 8).unwrap();
        assert_eq!(inpaint.mask[0], 1.0);
        assert_eq!(inpaint.mask[7], 0.0);

        // A hole in the image needs no mask.
        let holed = image::RgbaImage::from_fn(4, 4, |x, _| {
            image::Rgba([9, 8, 7, if x < 2 { 0 } else { 255 }])
        });
        holed.save(&image).unwrap();
        let inpaint = params(None, None, None).read(8, 8).unwrap();
        assert_eq!((inpaint.mask[0], inpaint.mask[7]), (1.0, 0.0));
        assert_eq!(inpaint.image.get_pixel(0, 0).0, [255; 3]);
    }
}
