//! What is trained, and how it is judged.

use std::path::PathBuf;

use nextscale_models::device::DeviceChoice;

/// What to compare.
#[derive(Debug, Clone)]
pub struct ParadigmsOptions {
    /// The command, for the report.
    pub command: String,
    /// The folder of the report, with the runs in it: the same command goes on where it was.
    pub out: PathBuf,
    /// Where to compute.
    pub device: DeviceChoice,
    /// The data set. One without classes is divided into its categories.
    pub data: PathBuf,
    /// Minutes for each of the two tokenizers.
    pub tokenizer_minutes: f64,
    /// Minutes for the classifier.
    pub classifier_minutes: f64,
    /// Minutes for each transformer.
    pub minutes: f64,
    /// Channels of the transformers, a multiple of 32.
    pub width: usize,
    /// Blocks of VAR and diffusion, an even number: raster autoregression, whose blocks are smaller, has half as many more.
    pub depth: usize,
    /// Images that each generates.
    pub count: usize,
    /// Steps of diffusion.
    pub steps: usize,
    /// Weights of guidance to choose from, 1 for none.
    pub guidance: Vec<f64>,
    /// The seed.
    pub seed: u64,
}
