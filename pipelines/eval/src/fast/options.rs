//! What to measure.

use std::path::PathBuf;

use nextscale_models::device::{DeviceChoice, Dtype};
use nextscale_models::shortcuts::ShortcutChoice;

/// What to measure.
#[derive(Debug, Clone)]
pub struct FastOptions {
    /// The model: a name or a folder.
    pub model: String,
    /// Prompts, in turn; classes for a class-conditional model. If there are none, some everyday things, or all classes.
    pub prompts: Vec<String>,
    /// Number of images; each adds 1 to the seed.
    pub count: usize,
    /// Seed of the first image.
    pub seed: u64,
    /// Width and height in pixels; the model's default size if absent.
    pub size: Option<[usize; 2]>,
    /// Settings; if there are none, `fast` and each of its parts.
    pub settings: Vec<ShortcutChoice>,
    /// Folder of the data set that the model was trained on, to measure recall too.
    pub data: Option<PathBuf>,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Number type of the transformer's weights.
    pub dtype: Dtype,
    /// Fix which kernels a card takes.
    pub deterministic: bool,
}
