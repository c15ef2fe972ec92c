//! Training of tokenizers and transformers, and export as model folders.
//!
//! A run is a folder: `config.yaml` as it was given, `log.jsonl`, and the last checkpoints. The same request on the same
//! folder resumes it. [`nextscale_var_core::train`] is the engine: a task is a loss and its measurements.
//!
//! | kind | tokenizer | transformer |
//! |---|---|---|
//! | Infinity | `bsq`: bits | `infinity`: prompts to images |
//! | VAR | `vq`: rows of a codebook | `var`: classes to images |
//! | InfinityStar | `causal`: bits of clips | `star`: prompts to videos |
//! | any model that exists | | `fine_tune`: all of it, or low-rank adapters |
//! | comparators | `vq` | `raster`, `dit`: classes to images, to compare VAR with |
//!
//! A classifier of a data set's classes is trained the same way: its features measure images that Inception does not know.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod agreement;
mod batches;
mod classifier;
mod config;
mod error;
mod export;
mod run;
mod run_folder;
mod shuffle;
mod tokenizer;
mod transformer;

use std::sync::atomic::AtomicBool;

use crate::classifier::ClassifierRun;
use crate::run::train;
use crate::tokenizer::TokenizerKind;
use crate::tokenizer::{bsq::BsqRun, causal::CausalRun, vq::VqRun};
use crate::transformer::TransformerKind;
use crate::transformer::comparators::{DitRun, RasterRun};
use crate::transformer::fine_tune::train_fine_tune;
use crate::transformer::{infinity::InfinityRun, infinity_star::InfinityStarRun, var::VarRun};

pub use classifier::trained_classifier;
pub use error::TrainError;
pub use export::export;
pub use run::{Observer, TrainEvent, TrainRequest, TrainResult};
pub use transformer::MemoryOfRun;
pub use transformer::comparators::{TrainedDit, TrainedRaster, trained_dit, trained_raster};
pub use transformer::trained::{Trained, scales_of_tokenizer};
pub use transformer::var::{TrainedVar, trained_var};

/// Trains a tokenizer until its budget is spent or `stop` is set.
///
/// # Errors
/// If the configuration, the data set or a checkpoint can't be used, the folder can't be written, or the loss is no
/// longer a number.
pub fn train_tokenizer(
    request: &TrainRequest<'_>,
    stop: &AtomicBool,
    observe: Observer<'_>,
) -> Result<TrainResult, TrainError> {
    match config::kind(request.config)? {
        TokenizerKind::Bsq => train::<BsqRun>(request, stop, observe),
        TokenizerKind::Vq => train::<VqRun>(request, stop, observe),
        TokenizerKind::Causal => train::<CausalRun>(request, stop, observe),
    }
}

/// Trains a transformer, on the codes of a trained tokenizer, until its budget is spent or `stop` is set.
///
/// # Errors
/// As [`train_tokenizer`]; also if the tokenizer does not fit.
pub fn train_transformer(
    request: &TrainRequest<'_>,
    stop: &AtomicBool,
    observe: Observer<'_>,
) -> Result<TrainResult, TrainError> {
    match config::kind(request.config)? {
        TransformerKind::Infinity => train::<InfinityRun>(request, stop, observe),
        TransformerKind::Var => train::<VarRun>(request, stop, observe),
        TransformerKind::InfinityStar => train::<InfinityStarRun>(request, stop, observe),
        TransformerKind::FineTune => train_fine_tune(request, stop, observe),
        TransformerKind::Raster => train::<RasterRun>(request, stop, observe),
        TransformerKind::Dit => train::<DitRun>(request, stop, observe),
    }
}

/// Trains a classifier of the classes of a data set, until its budget is spent or `stop` is set: see [`trained_classifier`].
///
/// # Errors
/// As [`train_tokenizer`]; also if the images have no classes.
pub fn train_classifier(
    request: &TrainRequest<'_>,
    stop: &AtomicBool,
    observe: Observer<'_>,
) -> Result<TrainResult, TrainError> {
    train::<ClassifierRun>(request, stop, observe)
}
