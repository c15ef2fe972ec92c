//! `nextscale bench`: seconds per image or per video, part by part, and the memory that it took.
//!
//! Every round generates one batch; warm-up rounds are not counted. Times are medians over the rounds.

mod clip;
mod clock;
mod image;
mod options;
mod statistics;
mod subject;
mod video;

use std::sync::Arc;

use nextscale_models::device::{Dtype, Placement};
use nextscale_models::{Manifest, Model};
use serde::Serialize;

pub use self::image::{ImageReport, ScaleTime};
pub use self::options::BenchOptions;
pub use self::video::{ChunkTime, ClipTimes, PassTime, VideoReport};
use crate::error::EvalError;
use crate::measure::open;
use crate::random;

/// What was measured.
#[derive(Debug, Serialize)]
#[serde(untagged)]
#[allow(clippy::large_enum_variant)] // one of them
pub enum Report {
    /// Of a model of images.
    Image(ImageReport),
    /// Of a model of videos.
    Video(VideoReport),
}

/// What the weights of the blocks are stored in.
fn dtype(choice: Dtype, placement: &Placement) -> String {
    match choice {
        Dtype::Int8 => "int8".to_owned(),
        _ => format!("{:?}", placement.dtype).to_lowercase(),
    }
}

/// Measures a model.
///
/// # Errors
/// The model cannot be used, or the pixels of an image are not finite.
pub fn run(options: &BenchOptions) -> Result<Report, EvalError> {
    let placement = &open(options.device, options.dtype, options.deterministic)?;
    let model = if options.random_weights {
        Model::with_random_weights(random::manifest(&options.model)?)?
    } else {
        Model::open(&options.model)?
    };
    let model = &Arc::new(model);
    Ok(match model.manifest() {
        Manifest::InfinityStar(_) => Report::Video(video::run(options, model, placement)?),
        _ => Report::Image(image::run(options, model, placement)?),
    })
}
