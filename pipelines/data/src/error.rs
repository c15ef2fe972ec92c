//! What can go wrong with a data set.

use std::fmt;
use std::path::{Path, PathBuf};

/// An error of building or reading a data set; each message is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder could not be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// A file or folder could not be written.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// The recipe is not valid.
    #[error("{} is not a valid recipe: {message}", path.display())]
    Recipe {
        /// The recipe.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The npm client is not installed.
    #[error("npm is needed to download {package} and was not found: install Node.js, or put the tarball at {}", path.display())]
    NpmMissing {
        /// The package with its version.
        package: String,
        /// Where a tarball that was downloaded by hand is found.
        path: PathBuf,
    },
    /// The npm client failed.
    #[error("npm could not download {package}: {message}")]
    Download {
        /// The package with its version.
        package: String,
        /// npm's complaint.
        message: String,
    },
    /// No source has a file.
    #[error("{file} is in none of the places that the recipe names: {reasons}")]
    NoSource {
        /// The file.
        file: String,
        /// Each source with its reason.
        reasons: String,
    },
    /// A tarball or a file is not the one that the recipe names.
    #[error("{} has the SHA-256 {found}, but the recipe names {expected}", path.display())]
    Checksum {
        /// The tarball or the file.
        path: PathBuf,
        /// Its checksum.
        found: String,
        /// The checksum in the recipe.
        expected: String,
    },
    /// An archive could not be downloaded.
    #[error("cannot download {address}: {reason}")]
    Shard {
        /// Its address.
        address: String,
        /// Why.
        reason: String,
    },
    /// The disk is too full.
    #[error("{} needs {needed} MiB, but its disk has only {free} MiB free: make room or choose another folder", path.display())]
    NoSpace {
        /// What was to be written.
        path: PathBuf,
        /// How large it becomes, in MiB.
        needed: u64,
        /// Free space in MiB.
        free: u64,
    },
    /// A file does not hold what its format requires.
    #[error("{}: {message}", path.display())]
    Content {
        /// The package or the file of the data set.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

impl DataError {
    pub(crate) fn read(path: &Path, reason: std::io::Error) -> Self {
        DataError::Read {
            path: path.into(),
            reason,
        }
    }

    pub(crate) fn write(path: &Path, reason: std::io::Error) -> Self {
        DataError::Write {
            path: path.into(),
            reason,
        }
    }

    pub(crate) fn content(path: &Path, message: impl fmt::Display) -> Self {
        DataError::Content {
            path: path.into(),
            message: message.to_string(),
        }
    }
}

/// What is wrong with a recipe or a file; whoever knows its path adds it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Invalid(pub String);

/// Returns [`Invalid`] with a formatted message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::error::Invalid(format!($($message)+)));
        }
    };
}
pub(crate) use ensure;
