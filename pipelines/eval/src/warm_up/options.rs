//! What to warm up, how far it is, and what was done.

use std::path::PathBuf;

use nextscale_models::device::kernel_folder::Usage;
use nextscale_models::device::{DeviceChoice, Dtype};
use nextscale_models::{Model, Size};
use serde::Serialize;

use crate::error::EvalError;

/// What to warm up.
#[derive(Debug, Clone)]
pub struct WarmUpOptions {
    /// A model as for `generate` or `video`, or with random weights a size as for [`bench::run`](crate::bench::run).
    pub model: String,
    /// Where files of released models are looked for first.
    pub models_dir: Option<PathBuf>,
    /// Take this size with random weights, without a text encoder and without reading a file.
    pub random_weights: bool,
    /// The sizes of the images or videos.
    pub shape: Shape,
    /// Lengths of prompts in tokens, about; see [`LENGTHS`](super::LENGTHS). The text encoder is run at every power of two as well.
    pub prompt_tokens: Vec<usize>,
    /// Images generated at once, at least 1.
    pub batch: usize,
    /// Seconds of a video; the model's if absent.
    pub seconds: Option<f64>,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Number type of the transformer's weights.
    pub dtype: Dtype,
    /// Fix which kernels the card takes: they are kept apart from those that are measured.
    pub deterministic: bool,
}

/// Sizes of a model.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// The one that it generates unless asked otherwise.
    Default,
    /// Width and height in pixels.
    Pixels([usize; 2]),
    /// The nearest to these ratios of width to height.
    Aspects(Vec<f64>),
}

impl Shape {
    /// The sizes of a model that are meant.
    pub(super) fn sizes(&self, model: &Model) -> Result<Vec<Size>, EvalError> {
        let all = model.manifest().sizes();
        match self {
            Self::Default => Ok(all.into_iter().take(1).collect()),
            Self::Pixels([width, height]) => Ok(vec![model.size(*width, *height)?]),
            Self::Aspects(ratios) => {
                let mut sizes: Vec<Size> = vec![];
                for &ratio in ratios {
                    let size = Size::of_aspect(&all, ratio, None).map_err(|reason| {
                        let model = model.name().to_owned();
                        EvalError::NoSuchShape { model, reason }
                    })?;
                    if !sizes.contains(size) {
                        sizes.push(size.clone());
                    }
                }
                Ok(sizes)
            }
        }
    }
}

/// How far a warm-up is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Prompts, scales or passes, and decoded images that are done.
    pub done: usize,
    /// All of them.
    pub total: usize,
}

/// What was warmed up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Widths and heights in pixels.
    pub sizes: Vec<[usize; 2]>,
    /// Seconds from loading to the end.
    pub seconds: f64,
    /// The folder of kernels.
    pub folder: PathBuf,
    /// What was in it before.
    pub before: Usage,
    /// What is in it now.
    pub after: Usage,
}
