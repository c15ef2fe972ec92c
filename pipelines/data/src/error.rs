//! What can go wrong with a data set.

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
        /// The package that was to be downloaded.
        package: String,
        /// Where the tarball would be looked for.
        path: PathBuf,
    },
    /// The npm client failed.
    #[error("npm could not download {package}: {message}")]
    Download {
        /// The package with its version.
        package: String,
        /// The last line of what npm said.
        message: String,
    },
    /// No place has a file.
    #[error("{file} is in none of the places that the recipe names: {reasons}")]
    Nowhere {
        /// The file.
        file: String,
        /// What each place said.
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
    /// A package does not hold what its format promises.
    #[error("{}: {message}", path.display())]
    Content {
        /// The package or the file of the data set.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

impl DataError {
    pub(super) fn read(path: &Path, reason: std::io::Error) -> Self {
        DataError::Read {
            path: path.into(),
            reason,
        }
    }

    pub(super) fn write(path: &Path, reason: std::io::Error) -> Self {
        DataError::Write {
            path: path.into(),
            reason,
        }
    }

    pub(super) fn content(path: &Path, message: impl Into<String>) -> Self {
        DataError::Content {
            path: path.into(),
            message: message.into(),
        }
    }
}

/// Writes a file whole or not at all.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    nextscale_files::atomic_file::write(path, bytes).map_err(|e| DataError::write(path, e))
}
