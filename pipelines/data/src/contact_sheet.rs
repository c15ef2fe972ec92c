//! Contact sheets: many small images in one PNG, to look at.

use std::path::Path;

use image::imageops::{self, FilterType};
use image::{ImageError, Rgb, RgbImage};

use crate::error::DataError;

/// Space between the images in pixels.
const GAP: usize = 4;
/// The page, and what a tile of another shape leaves free.
const GRAY: Rgb<u8> = Rgb([216; 3]);

/// Puts square RGB images (`size` * `size` * 3 bytes each) in rows of `columns` on a light gray page.
///
/// # Panics
/// An image has another length, or there are no columns.
fn sheet(images: &[Vec<u8>], size: usize, columns: usize) -> RgbImage {
    assert!(columns > 0, "a sheet needs at least one column");
    let columns = columns.min(images.len().max(1));
    let rows = images.len().div_ceil(columns).max(1);
    let side = |n: usize| (n * (size + GAP) + GAP) as u32;
    let mut page = RgbImage::from_pixel(side(columns), side(rows), GRAY);
    for (i, image) in images.iter().enumerate() {
        let tile = RgbImage::from_raw(size as u32, size as u32, image.clone());
        let tile = tile.unwrap_or_else(|| panic!("image {i} has {} bytes", image.len()));
        let offset = |n: usize| (GAP + n * (size + GAP)) as i64;
        imageops::replace(&mut page, &tile, offset(i % columns), offset(i / columns));
    }
    page
}

/// Writes a contact sheet as PNG.
///
/// # Errors
/// The file cannot be written.
pub fn save(images: &[Vec<u8>], size: usize, columns: usize, path: &Path) -> Result<(), DataError> {
    save_page(&sheet(images, size, columns), path)
}

/// A contact sheet as the bytes of a PNG.
///
/// # Errors
/// It cannot be encoded.
pub fn encode(images: &[Vec<u8>], size: usize, columns: usize) -> Result<Vec<u8>, ImageError> {
    let mut bytes = std::io::Cursor::new(vec![]);
    sheet(images, size, columns).write_to(&mut bytes, image::ImageFormat::Png)?;
    Ok(bytes.into_inner())
}

/// Writes a contact sheet of images of any sizes as PNG: each is fitted into a square tile of side `tile` pixels, in its middle.
/// Smaller images are not enlarged.
///
/// # Errors
/// The file cannot be written.
///
/// # Panics
/// The tile has no pixels, or there are no columns.
pub fn save_fitted(
    images: &[RgbImage],
    tile: usize,
    columns: usize,
    path: &Path,
) -> Result<(), DataError> {
    assert!(tile > 0, "a tile has pixels");
    let tiles: Vec<Vec<u8>> = images.iter().map(|image| fitted(image, tile)).collect();
    save_page(&sheet(&tiles, tile, columns), path)
}

/// An image in the middle of a tile, reduced if it is larger.
fn fitted(image: &RgbImage, tile: usize) -> Vec<u8> {
    let side = tile as u32;
    let (w, h) = image.dimensions();
    let scale = f64::from(side) / f64::from(w.max(h).max(1));
    let reduced = |length: u32| ((f64::from(length) * scale).round() as u32).clamp(1, side);
    let small = if scale < 1.0 {
        imageops::resize(image, reduced(w), reduced(h), FilterType::Triangle)
    } else {
        image.clone()
    };
    let mut page = RgbImage::from_pixel(side, side, GRAY);
    let margin = |length: u32| i64::from((side - length) / 2);
    let (left, top) = (margin(small.width()), margin(small.height()));
    imageops::replace(&mut page, &small, left, top);
    page.into_raw()
}

fn save_page(page: &RgbImage, path: &Path) -> Result<(), DataError> {
    page.save_with_format(path, image::ImageFormat::Png)
        .map_err(|e| DataError::write(path, std::io::Error::other(e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_stand_in_rows() {
        let page = sheet(&[vec![1; 12], vec![2; 12], vec![3; 12]], 2, 2);
        assert_eq!(page.dimensions(), (16, 16));
        assert_eq!(page.get_pixel(4, 4).0, [1; 3]);
        assert_eq!(page.get_pixel(11, 5).0, [2; 3]);
        assert_eq!(page.get_pixel(5, 11).0, [3; 3]);
        assert_eq!(page.get_pixel(0, 0).0, [216; 3]);
    }

    #[test]
    fn images_of_any_size_are_fitted_into_tiles() {
        let wide = RgbImage::from_pixel(100, 50, Rgb([7; 3]));
        let tile = RgbImage::from_raw(20, 20, fitted(&wide, 20)).unwrap();
        assert_eq!(
            [0, 5, 14, 15].map(|y| tile.get_pixel(9, y).0[0]),
            [216, 7, 7, 216]
        );
        let dot = RgbImage::from_pixel(1, 1, Rgb([9; 3]));
        let tile = fitted(&dot, 3);
        assert_eq!(tile[12..15], [9; 3]);
        assert_eq!(tile.iter().filter(|&&value| value == 9).count(), 3);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sheet.png");
        save_fitted(&[wide, dot], 20, 8, &path).unwrap();
        assert_eq!(image::image_dimensions(&path).unwrap(), (52, 28));
    }
}
