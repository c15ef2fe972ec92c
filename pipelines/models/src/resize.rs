//! Images brought to a size: cropped to cover it, or contained in it.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

/// The largest centred rectangle inside `width` x `height` that has the aspect ratio of `target`: left, top, width, height.
pub fn covering_rectangle((width, height): (u32, u32), target: (u32, u32)) -> [u32; 4] {
    let [w, h, tw, th] = [width, height, target.0, target.1].map(u64::from);
    let (cw, ch) = if w * th > h * tw {
        ((h * tw / th).max(1), h)
    } else {
        (w, (w * th / tw).max(1))
    };
    [(w - cw) / 2, (h - ch) / 2, cw, ch].map(|v| v as u32)
}

/// Crops the centre of an image to the aspect ratio of `width` x `height` and resizes it to that size (bicubic).
pub fn crop_to_cover(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    let [x, y, w, h] = covering_rectangle(image.dimensions(), (width, height));
    let part = imageops::crop_imm(image, x, y, w, h).to_image();
    if (w, h) == (width, height) {
        part
    } else {
        imageops::resize(&part, width, height, FilterType::CatmullRom)
    }
}

/// Resizes an image (bicubic) to fit within `share` (above 0, up to 1) of both sides of `width` x `height`, and centres it
/// on a plain background.
pub fn contain(
    image: &RgbImage,
    [width, height]: [u32; 2],
    share: f64,
    background: [u8; 3],
) -> RgbImage {
    let (w, h) = image.dimensions();
    let room = |side: u32, has: u32| f64::from(side) * share / f64::from(has);
    let factor = room(width, w).min(room(height, h));
    let to = |side: u32, most: u32| ((f64::from(side) * factor).round() as u32).clamp(1, most);
    let (w, h) = (to(w, width), to(h, height));
    let small = if (w, h) == image.dimensions() {
        image.clone()
    } else {
        imageops::resize(image, w, h, FilterType::CatmullRom)
    };
    let mut page = RgbImage::from_pixel(width, height, Rgb(background));
    let (x, y) = ((width - w) / 2, (height - h) / 2);
    imageops::replace(&mut page, &small, i64::from(x), i64::from(y));
    page
}

/// An image at the top left of a white square, resized to `side` pixels (Lanczos): what VAREdit edits.
pub fn to_square(image: &RgbImage, side: u32) -> RgbImage {
    let (w, h) = image.dimensions();
    let longest = w.max(h).max(1);
    let mut square = RgbImage::from_pixel(longest, longest, Rgb([255; 3]));
    imageops::replace(&mut square, image, 0, 0);
    lanczos(square, longest, side)
}

/// The inverse of [`to_square`]: the image of `width` x `height` pixels at the top left of a square.
pub fn from_square(square: &RgbImage, [width, height]: [u32; 2]) -> RgbImage {
    let longest = width.max(height);
    let square = lanczos(square.clone(), square.width(), longest);
    imageops::crop_imm(&square, 0, 0, width, height).to_image()
}

fn lanczos(square: RgbImage, from: u32, to: u32) -> RgbImage {
    if from == to {
        return square;
    }
    imageops::resize(&square, to, to, FilterType::Lanczos3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_square_holds_the_image_at_its_top_left() {
        let image = RgbImage::from_pixel(40, 10, Rgb([9; 3]));
        let square = to_square(&image, 40);
        let dark = square.pixels().filter(|p| p.0 == [9; 3]).count();
        assert_eq!((square.dimensions(), dark), ((40, 40), 400));
        assert_eq!(square.get_pixel(39, 10).0, [255; 3]);
        assert_eq!(from_square(&square, [40, 10]), image);
        let (small, large) = (to_square(&image, 20), to_square(&image, 80));
        assert_eq!(
            (small.dimensions(), large.dimensions()),
            ((20, 20), (80, 80))
        );
        let back = from_square(&small, [40, 10]);
        assert_eq!(back.dimensions(), (40, 10));
        assert!(back.get_pixel(20, 2).0[0].abs_diff(9) < 5);
    }

    #[test]
    fn crops_are_even_and_never_empty() {
        assert_eq!(covering_rectangle((100, 50), (64, 64)), [25, 0, 50, 50]);
        assert_eq!(covering_rectangle((50, 100), (64, 64)), [0, 25, 50, 50]);
        assert_eq!(covering_rectangle((1, 1), (64, 32)), [0, 0, 1, 1]);
        assert_eq!(covering_rectangle((1, 500), (64, 64)), [0, 249, 1, 1]);
    }

    #[test]
    fn an_image_stands_in_the_middle() {
        let image = RgbImage::from_pixel(40, 20, Rgb([9; 3]));
        let page = contain(&image, [20, 20], 0.5, [255; 3]);
        assert_eq!(page.dimensions(), (20, 20));
        let dark = |x, y| page.get_pixel(x, y).0[0] < 20;
        let inked = |(x, y): (u32, u32)| dark(x, y);
        let all = (0..20).flat_map(|y| (0..20).map(move |x| (x, y)));
        let found: Vec<_> = all.filter(|&at| inked(at)).collect();
        assert_eq!(found.len(), 10 * 5);
        assert_eq!((found[0], found[49]), ((5, 7), (14, 11)));
        assert_eq!(crop_to_cover(&image, 16, 16).dimensions(), (16, 16));
    }
}
