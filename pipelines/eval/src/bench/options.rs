//! What to measure.

use nextscale_models::device::{DeviceChoice, Dtype};
use nextscale_models::shortcuts::ShortcutChoice;
use nextscale_models::{Model, ModelError, Size};

/// What to measure.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// A model as for `generate` or `video`, or with random weights a size: `infinity-125m`, `infinity-2b`, `infinity-8b`,
    /// `varedit-8b-512`, `varedit-8b-1024`, `var-d16` to `var-d36`, `infinitystar-8b-480p`, `infinitystar-8b-720p`.
    pub model: String,
    /// Width and height in pixels; the model's default size if absent.
    pub size: Option<[usize; 2]>,
    /// Measure this size with random weights, without reading a file.
    pub random_weights: bool,
    /// The prompt.
    pub prompt: String,
    /// The class of a class-conditional model, by name or number.
    pub class: String,
    /// Length of a video in seconds; the model's if this and `frames` are absent.
    pub seconds: Option<f64>,
    /// Length of a video in frames.
    pub frames: Option<usize>,
    /// Images generated at once, at least 1; videos are generated one at a time.
    pub batch: usize,
    /// Measured rounds, at least 1.
    pub rounds: usize,
    /// Warm-up rounds before them.
    pub warmup: usize,
    /// Guidance scale; the model's if absent.
    pub cfg_scale: Option<f64>,
    /// What images leave out to be faster.
    pub shortcuts: ShortcutChoice,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Number type of the transformer's weights.
    pub dtype: Dtype,
    /// Fix which kernels a card takes.
    pub deterministic: bool,
}

impl BenchOptions {
    /// The size of an image or of a frame.
    pub(super) fn size_of(&self, model: &Model) -> Result<Size, ModelError> {
        match self.size {
            Some([width, height]) => model.size(width, height),
            None => model.default_size(),
        }
    }
}
