//! What can go wrong with a metric.

use std::path::{Path, PathBuf};

/// The result of this crate's functions.
pub(crate) type Result<T> = std::result::Result<T, MetricsError>;

/// An error of a metric; each message is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// A file or folder cannot be read or written.
    #[error("cannot {action} {}: {reason}", path.display())]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system or the reader of the format says.
        reason: String,
    },
    /// Weights of a network cannot be read, or are those of another one.
    #[error("{part}: {reason}; {hint}")]
    Weights {
        /// Which file is meant, such as `inception` or `vgg`.
        part: &'static str,
        /// What is wrong with it.
        reason: String,
        /// What the file should be, and where people get it.
        hint: &'static str,
    },
    /// A folder without images.
    #[error("{} holds no images (png, jpg, jpeg, webp, tif, tiff, gif, bmp, ppm or pgm)", .0.display())]
    NoImages(PathBuf),
    /// Fewer images than a figure needs.
    #[error("{what} has {found} images, and {figure} needs at least {needed}: {reason}")]
    TooFew {
        /// Which images.
        what: String,
        /// How many there are.
        found: usize,
        /// The figure.
        figure: &'static str,
        /// How many it needs.
        needed: usize,
        /// Why.
        reason: &'static str,
    },
    /// Features that are no numbers.
    #[error(
        "{network} gave features that are not finite for image {image}: its weights or the image are damaged"
    )]
    NotFinite {
        /// Name of the network.
        network: String,
        /// Number of the image, counted from 0 in the order of the names.
        image: usize,
    },
    /// Two things of different sizes.
    #[error("{0}")]
    Mismatch(String),
    /// A text cannot be divided into tokens, or there is none.
    #[error("{0}")]
    Text(String),
    /// The compute device reported an error.
    #[error("the device failed: {0}")]
    Device(String),
}

impl MetricsError {
    pub(crate) fn read(path: &Path, reason: impl ToString) -> Self {
        Self::File {
            action: "read",
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn write(path: &Path, reason: impl ToString) -> Self {
        Self::File {
            action: "write",
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}
