//! Files that are images or videos, by their extensions.

use std::path::Path;

use crate::own::recipe::OwnRecipe;
use crate::recipe::DataKind;

/// What a data set is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    Images,
    Videos,
}

/// Images that are read, but for their format: it is found by their content.
const IMAGES: [&str; 8] = ["jpg", "jpeg", "jfif", "png", "webp", "gif", "tif", "tiff"];
/// Images that are not read, and are said to be left out.
const OTHER_IMAGES: [&str; 7] = ["avif", "bmp", "heic", "heif", "jp2", "jxl", "svg"];
const VIDEOS: [&str; 9] = [
    "mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "gif",
];

impl Media {
    /// Of a recipe.
    pub fn of(recipe: &OwnRecipe) -> Self {
        match recipe.kind {
            DataKind::Videos => Self::Videos,
            _ => Self::Images,
        }
    }

    /// The word for one.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Images => "image",
            Self::Videos => "video",
        }
    }

    /// The usual extension.
    pub fn example(self) -> &'static str {
        match self {
            Self::Images => "jpg",
            Self::Videos => "mp4",
        }
    }

    /// The extensions that are read.
    pub fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Images => &IMAGES,
            Self::Videos => &VIDEOS,
        }
    }

    /// Whether a file of this lower-case extension is read.
    pub fn has(self, extension: &str) -> bool {
        self.extensions().contains(&extension)
    }

    /// Whether a file of this lower-case extension is one that cannot be read.
    pub fn lacks(self, extension: &str) -> bool {
        self == Self::Images && OTHER_IMAGES.contains(&extension)
    }
}

/// The extension of a file in lower case; empty if there is none.
pub(crate) fn extension(path: &Path) -> String {
    let extension = path.extension().unwrap_or_default();
    extension.to_string_lossy().to_lowercase()
}
