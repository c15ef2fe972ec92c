//! What can go wrong with a measurement.

use std::path::PathBuf;

use nextscale_data::DataError;
use nextscale_metrics::MetricsError;
use nextscale_models::pixels::NotFinite;
use nextscale_models::{ModelError, NoSuchShape};
use nextscale_pipelines::error::PipelineError;
use nextscale_train::TrainError;

/// An error of a measurement; each message is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The model cannot be used, or refuses what is asked of it.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The data set cannot be read.
    #[error("the data set cannot be used (`nextscale data build` makes one)")]
    Data(#[from] DataError),
    /// A classifier's run cannot be read.
    #[error(transparent)]
    Classifier(#[from] TrainError),
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
    /// A prompt whose name no image has.
    #[error("no image of the data set is named `{name}`")]
    NoSuchName {
        /// The name.
        name: String,
    },
    /// All lists of prompts are empty.
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
    /// A metric cannot be computed.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// A network is needed whose weights are not given.
    #[error("{option} FILE is missing: {hint}")]
    NoWeights {
        /// The option that names the file.
        option: &'static str,
        /// What the file should be, and where people get it.
        hint: &'static str,
    },
    /// Images and prompts are not equally many.
    #[error(
        "there are {given} prompts for {count} or more images: give one for each, in the order of the names"
    )]
    PromptCount {
        /// Number of prompts.
        given: usize,
        /// Number of images so far.
        count: usize,
    },
    /// The prompt of an image is missing.
    #[error("cannot read the prompt {}: {reason}; write it beside the image, or give all prompts with --prompts FILE", path.display())]
    NoCaption {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// An image without one of the same name.
    #[error("{} has no partner of the same name in the other folder", .0.display())]
    NoPartner(PathBuf),
    /// Two images whose names differ only in their endings.
    #[error("{} and {} have the same name but for the ending: pairs are found by it", path.display(), other.display())]
    TwoOfOneName {
        /// One of them.
        path: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// Two images of one pair have different sizes.
    #[error("{} has {}x{} pixels and {} {}x{}: bring them to one size first", one.display(), size.0, size.1, other.display(), other_size.0, other_size.1)]
    Sizes {
        /// One image.
        one: PathBuf,
        /// Its width and height.
        size: (u32, u32),
        /// The other.
        other: PathBuf,
        /// Its width and height.
        other_size: (u32, u32),
    },
    /// The prompts of a benchmark cannot be used.
    #[error("{}: {reason}", path.display())]
    Prompts {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// A folder with the results of another run.
    #[error("{} says that {} is of another run ({what}): name another folder, or remove both", record.display(), folder.display())]
    OtherRun {
        /// The file that describes the run.
        record: PathBuf,
        /// The folder.
        folder: PathBuf,
        /// What differs.
        what: &'static str,
    },
    /// A video cannot be written.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}
