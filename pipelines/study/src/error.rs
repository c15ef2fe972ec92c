//! What can go wrong in a study.

use std::path::{Path, PathBuf};

use nextscale_curves::CurvesError;
use nextscale_data::DataError;
use nextscale_metrics::MetricsError;
use nextscale_models::ModelError;
use nextscale_train::TrainError;

/// An error of a study; each message is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// A file of the report cannot be written.
    #[error("the report cannot be written to `{}`: {reason}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A plot cannot be drawn.
    #[error("the plot `{title}` cannot be drawn: {reason}")]
    Draw {
        /// Its title.
        title: String,
        /// Why.
        reason: String,
    },
    /// The settings leave nothing to measure.
    #[error("there is nothing to measure: {reason}")]
    Nothing {
        /// Why.
        reason: String,
    },
    /// The study was stopped.
    #[error("stopped: the same command goes on where it was")]
    Stopped,
    /// The device or a model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A training run.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The data set.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A figure.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The log of a run.
    #[error(transparent)]
    Curves(#[from] CurvesError),
}

impl StudyError {
    /// For a file that cannot be written.
    pub(crate) fn write<E: ToString>(path: &Path) -> impl FnOnce(E) -> Self {
        move |reason| Self::Write {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}
