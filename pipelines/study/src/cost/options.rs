//! What is compared, and how much of it.

use std::path::PathBuf;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Paradigm {
    /// VAR.
    Var,
    /// Raster autoregression that keeps keys and values.
    RasterKept,
    /// Raster autoregression that does not.
    RasterRecomputed,
    /// Diffusion.
    Dit,
}

impl Paradigm {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Var,
        Self::RasterKept,
        Self::RasterRecomputed,
        Self::Dit,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Var => "VAR",
            Self::RasterKept => "raster AR, cache",
            Self::RasterRecomputed => "raster AR, no cache",
            Self::Dit => "DiT",
        }
    }
}

/// The sizes of a transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSize {
    /// Channels.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Heads.
    pub heads: usize,
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct CostOptions {
    /// The command, for the report.
    pub command: String,
    /// The folder of the report, which also keeps what was measured: the same command goes on from there.
    pub out: PathBuf,
    /// Where to compute.
    pub device: Device,
    /// The name of the device, for the report.
    pub device_name: String,
    /// Sizes of the transformers.
    pub sizes: Vec<ModelSize>,
    /// Sides of the latent.
    pub sides: Vec<usize>,
    /// Passes of diffusion for an image.
    pub steps: usize,
    /// Seconds that a point may take: what is expected to take longer is counted, but not measured.
    pub limit: f64,
    /// Whether the models of the paper's comparison are measured too: VAR-d16, LlamaGen-L and DiT-XL/2 at 256 x 256.
    pub paper_sizes: bool,
}
