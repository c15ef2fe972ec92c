//! What can go wrong with a measurement.

use std::path::PathBuf;

use nextscale_data::DataError;
use nextscale_models::pixels::NotFinite;
use nextscale_models::{ModelError, NoSuchShape};

/// An error of a measurement; each message is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The model cannot be used, or refuses what is asked of it.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The data set cannot be read.
    #[error("the data set cannot be used (`nextscale data build` makes one)")]
    Data(#[from] DataError),
    /// The data set has none of the images that are to be measured.
    #[error("{} has no {kind} images", folder.display())]
    NoImages {
        /// Folder of the data set.
        folder: PathBuf,
        /// `held-out` or `training`.
        kind: &'static str,
    },
    /// The images cannot be divided into the squares whose mean colours are compared.
    #[error("images of {side} pixels are not a multiple of {squares}")]
    Squares {
        /// Side of the data set's images in pixels.
        side: usize,
        /// Squares along each side.
        squares: usize,
    },
    /// A temperature below 0.
    #[error("--temperature must not be negative, but it is {0}")]
    Temperature(f64),
    /// Both lists of prompts are empty.
    #[error("there is no prompt to generate an image from")]
    NoPrompt,
    /// Frames in which no motion can be tracked.
    #[error("the model `{0}` makes no square videos")]
    NotSquare(String),
    /// There are no random weights of this name.
    #[error("there is no size `{name}` for --random-weights: {known}")]
    UnknownSize {
        /// The name that was asked for.
        name: String,
        /// The names that there are.
        known: &'static str,
    },
    /// A model generates no size of the ratio that was asked for.
    #[error("the model `{model}` does not generate that: {reason}")]
    NoSuchShape {
        /// Name of the model.
        model: String,
        /// What it generates instead.
        reason: NoSuchShape,
    },
    /// There is nowhere to keep kernels.
    #[error("kernels cannot be kept: neither XDG_CACHE_HOME nor HOME names a folder")]
    NoHome,
    /// The pixels of a decoded image are not finite.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// The compute device reported an error.
    #[error("the device failed: {0}")]
    Device(String),
}
