//! Masks as other programs make them: white on black, or holes in the alpha channel.

use std::path::Path;

use image::{DynamicImage, GrayImage, Luma};

use crate::error::PipelineError;
use crate::media::read_with_alpha;

/// Which part of an image is inpainted.
#[derive(Debug)]
pub struct Mask {
    /// 255 where it is, 0 where it stays.
    pub share: GrayImage,
    /// How the file was read, if there is another way.
    pub notice: Option<String>,
}

/// Reads a mask: white parts are inpainted, or the transparent ones where the transparency varies.
///
/// # Errors
/// A file that is no image, or one that can be read in two ways.
pub fn read_mask(path: &Path) -> Result<Mask, PipelineError> {
    Mask::of(&read_with_alpha(path)?, &path.display().to_string())
}

/// Whether an image has transparent parts, which are inpainted.
///
/// # Errors
/// A file that is no image.
pub fn has_holes(path: &Path) -> Result<bool, PipelineError> {
    Ok(transparent(&read_with_alpha(path)?).is_some())
}

/// From this grey on, a pixel of a mask is white; up to 255 less this, it is black.
const WHITE: u8 = 250;

impl Mask {
    /// Reads a mask file. White parts are inpainted; where the alpha channel varies, the transparent parts are, as in other
    /// programs.
    fn of(image: &DynamicImage, name: &str) -> Result<Self, PipelineError> {
        if let Some(share) = transparent(image) {
            if is_black_and_white(image) {
                return Err(PipelineError::refused_with(
                    format!(
                        "the mask `{name}` can be read in two ways: its white parts are inpainted, or its transparent parts"
                    ),
                    "save it without transparency, white where the image is inpainted and black where it stays",
                ));
            }
            let notice = format!(
                "`{name}` has transparent parts: these are inpainted, and its colours do not count"
            );
            let notice = Some(notice);
            return Ok(Self { share, notice });
        }
        let share = DynamicImage::from(image.to_rgb8()).into_luma8();
        if let brightest @ 1..=8 = share.pixels().map(|p| p.0[0]).max().unwrap_or(0) {
            return Err(PipelineError::refused_with(
                format!(
                    "the brightest value of the mask `{name}` is {brightest} of 255, which is nearly black"
                ),
                "if it is meant as white, save the mask with the values 0 and 255",
            ));
        }
        let notice = None;
        Ok(Self { share, notice })
    }
}

/// The transparent part of an image, if its alpha channel varies.
pub(super) fn transparent(image: &DynamicImage) -> Option<GrayImage> {
    if !image.color().has_alpha() {
        return None;
    }
    let rgba = image.to_rgba8();
    let mut alphas = rgba.pixels().map(|p| p.0[3]);
    let first = alphas.next()?;
    if alphas.all(|alpha| alpha == first) {
        return None;
    }
    Some(GrayImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        Luma([255 - rgba.get_pixel(x, y).0[3]])
    }))
}

/// Whether the visible part is that of a mask with white in it, and not an image.
fn is_black_and_white(image: &DynamicImage) -> bool {
    let rgba = image.to_rgba8();
    let visible = rgba.pixels().filter(|p| p.0[3] > 127);
    let mut white = false;
    for pixel in visible {
        let [r, g, b, _] = pixel.0;
        let (least, most) = (r.min(g).min(b), r.max(g).max(b));
        white |= least >= WHITE;
        if least < WHITE && most > 255 - WHITE {
            return false;
        }
    }
    white
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};

    use super::*;

    /// Two pixels: left and right.
    fn pair(left: [u8; 4], right: [u8; 4]) -> DynamicImage {
        RgbaImage::from_fn(2, 1, |x, _| Rgba(if x == 0 { left } else { right })).into()
    }

    fn share(image: &DynamicImage) -> Vec<u8> {
        Mask::of(image, "m.png").unwrap().share.into_raw()
    }

    #[test]
    fn white_is_inpainted_and_so_is_a_hole() {
        let (white, black) = ([255; 4], [0, 0, 0, 255]);
        assert_eq!(share(&pair(white, black)), [255, 0]);
        let bright = [240, 250, 230, 255];
        let hole = pair([0; 4], bright);
        assert_eq!(share(&hole), [255, 0]);
        assert!(
            Mask::of(&hole, "m.png")
                .unwrap()
                .notice
                .unwrap()
                .contains("transparent parts")
        );
        assert_eq!(share(&pair([255, 255, 255, 0], black)), [255, 0]);
        assert_eq!(share(&pair([20, 30, 40, 0], [90, 20, 20, 255])), [255, 0]);
        let same = pair([255, 255, 255, 128], [0, 0, 0, 128]);
        assert_eq!(share(&same), [255, 0], "an alpha channel that says nothing");
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let refused = |image: &DynamicImage| Mask::of(image, "m.png").unwrap_err().to_string();
        let white_on_nothing = pair([255; 4], [0; 4]);
        assert!(refused(&white_on_nothing).contains("in two ways"));
        let ones = pair([1, 1, 1, 255], [0, 0, 0, 255]);
        assert!(refused(&ones).contains("is 1 of 255"));
    }
}
