//! Images in folders: found in the order of their names, and read as 8-bit RGB.

use std::path::{Path, PathBuf};

use image::RgbImage;
use rayon::prelude::*;
use walkdir::WalkDir;

use crate::error::{MetricsError, Result};

const EXTENSIONS: [&str; 10] = [
    "png", "jpg", "jpeg", "webp", "tif", "tiff", "gif", "bmp", "ppm", "pgm",
];

/// For a file or folder that a walk cannot read: its path, and the system's reason.
fn unreadable(error: walkdir::Error) -> MetricsError {
    let path = error.path().unwrap_or_else(|| Path::new("")).to_owned();
    match error.into_io_error() {
        Some(reason) => MetricsError::read(&path, reason),
        None => MetricsError::read(&path, "a link leads back to a folder above it"),
    }
}

/// All images in a folder and its subfolders, sorted by path.
///
/// # Errors
/// If it cannot be read, or holds none.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name() {
        let entry = entry.map_err(unreadable)?;
        if entry.file_type().is_file() && is_image(entry.path()) {
            found.push(entry.into_path());
        }
    }
    if found.is_empty() {
        return Err(MetricsError::NoImages(folder.to_owned()));
    }
    found.sort();
    Ok(found)
}

/// Whether a file has the name of an image, and is not hidden.
fn is_image(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    !hidden && extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
}

/// Reads an image as RGB; transparency is dropped, as the Python packages do.
///
/// # Errors
/// If it cannot be read or is no image.
pub fn read(path: &Path) -> Result<RgbImage> {
    let reader = image::ImageReader::open(path).map_err(|e| MetricsError::read(path, e))?;
    let reader = reader.with_guessed_format();
    let reader = reader.map_err(|e| MetricsError::read(path, e))?;
    let decoded = reader.decode().map_err(|e| MetricsError::read(path, e))?;
    Ok(decoded.into_rgb8())
}

/// Reads images with all cores, in their order.
///
/// # Errors
/// As for [`read`].
pub fn read_all(paths: &[PathBuf]) -> Result<Vec<RgbImage>> {
    paths.par_iter().map(|path| read(path)).collect()
}
