//! Contact sheets: many small images in one PNG, to look at.

use std::path::Path;

use image::imageops;

use crate::error::DataError;

/// Space between the images in pixels.
const GAP: usize = 4;

/// Puts square RGB images (`size` * `size` * 3 bytes each) in rows of `columns` on a light gray page.
///
/// # Panics
/// An image has another length, or there are no columns.
fn sheet(images: &[Vec<u8>], size: usize, columns: usize) -> image::RgbImage {
    assert!(columns > 0, "a sheet needs at least one column");
    let columns = columns.min(images.len().max(1));
    let rows = images.len().div_ceil(columns).max(1);
    let side = |n: usize| (n * (size + GAP) + GAP) as u32;
    let mut page = image::RgbImage::from_pixel(side(columns), side(rows), image::Rgb([216; 3]));
    for (i, image) in images.iter().enumerate() {
        let tile = image::RgbImage::from_raw(size as u32, size as u32, image.clone());
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
    let page = sheet(images, size, columns);
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
}
