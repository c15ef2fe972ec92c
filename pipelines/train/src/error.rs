//! Errors of training runs and exports.

use std::io;
use std::path::{Path, PathBuf};

use nextscale_curves::CurvesError;
use nextscale_data::DataError;
use nextscale_distributed::DistributedError;
use nextscale_models::ModelError;
use nextscale_text::TextError;
use nextscale_weights::WeightError;

/// An error of a training run or an export.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A file or folder can't be read or written.
    #[error("cannot {action} `{}`: {reason}", path.display())]
    Io {
        /// What was tried: `read`, `write`, ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        reason: io::Error,
    },
    /// A configuration is not valid.
    #[error("{place}: {message}")]
    Config {
        /// The file, with line and column where they are known.
        place: String,
        /// What is wrong with it.
        message: String,
    },
    /// Settings contradict each other, the data set or an earlier run.
    #[error("{0}")]
    Invalid(String),
    /// The data set can't be read.
    #[error("cannot read the images in `{}`; `nextscale data build` makes them: {reason}", folder.display())]
    Data {
        /// Its folder.
        folder: PathBuf,
        /// The reason.
        reason: DataError,
    },
    /// Another program trains in the same folder.
    #[error("another program is training in `{}`", .0.display())]
    Locked(PathBuf),
    /// The training loop or a checkpoint failed.
    #[error(transparent)]
    Training(#[from] nextscale_var_core::train::TrainError),
    /// The processes of the run differ, or cannot talk.
    #[error(transparent)]
    Distributed(#[from] DistributedError),
    /// The vocabulary or the text encoder can't be read, learned or written.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A weight file can't be read or written.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// The files for TensorBoard can't be written.
    #[error(transparent)]
    Curves(#[from] CurvesError),
    /// A sheet of samples can't be written.
    #[error(transparent)]
    Sheet(#[from] DataError),
    /// The device can't be opened, or the model folder can't be written.
    #[error(transparent)]
    Model(#[from] ModelError),
}

pub(crate) type Result<T> = std::result::Result<T, TrainError>;

impl TrainError {
    /// An [`Io`](Self::Io) error of `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |reason| Self::Io {
            action,
            path,
            reason,
        }
    }

    /// An [`Invalid`](Self::Invalid) error of the setting `key`.
    pub(crate) fn setting(key: &str, reason: impl std::fmt::Display) -> Self {
        Self::Invalid(format!("{key}: {reason}"))
    }

    /// Adds the configuration's path to an [`Invalid`](Self::Invalid) error.
    pub(crate) fn in_config(self, path: &Path) -> Self {
        match self {
            Self::Invalid(message) => Self::Config {
                place: path.display().to_string(),
                message,
            },
            other => other,
        }
    }
}

/// Returns [`TrainError::Invalid`] with a formatted message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::error::TrainError::Invalid(format!($($message)+)));
        }
    };
}
pub(crate) use ensure;
