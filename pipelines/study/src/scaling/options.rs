//! What is trained, and on what.

use std::path::PathBuf;

use nextscale_models::device::DeviceChoice;
use serde::{Deserialize, Serialize};

use crate::recipe::BATCH;

/// The sizes of a transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VarSize {
    /// Channels, a multiple of the 32 channels of a head.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
}

impl VarSize {
    /// Channels of a head.
    pub(super) const HEAD: usize = 32;

    /// The sizes of the study, two orders of magnitude apart.
    pub const DEFAULT: [Self; 6] = [
        Self::new(32, 2),
        Self::new(64, 2),
        Self::new(64, 5),
        Self::new(96, 6),
        Self::new(128, 8),
        Self::new(160, 9),
    ];

    /// A size.
    pub const fn new(width: usize, depth: usize) -> Self {
        Self { width, depth }
    }

    /// Parameters of the blocks: four matrices of attention, eight of the feed-forward layers, six of the modulation. Embeddings and head
    /// do not count, as is usual for scaling laws.
    pub fn parameters(self) -> f64 {
        (18 * self.width * self.width * self.depth) as f64
    }
}

impl VarSize {
    /// About as many bytes as its training takes on `BATCH` images of so many tokens: weights, their average, two moments and the
    /// gradients of two threads, and what the backward pass needs, some 34 numbers a channel of each block.
    pub(super) fn bytes(self, tokens: usize) -> f64 {
        let channels = self.width * self.depth * tokens * BATCH as usize;
        4.0 * (6.0 * self.parameters() + 34.0 * channels as f64)
    }
}

/// What to train.
#[derive(Debug, Clone)]
pub struct ScalingOptions {
    /// The command, for the report.
    pub command: String,
    /// The folder of the report, with the runs in it: the same command goes on where it was.
    pub out: PathBuf,
    /// Where to compute.
    pub device: DeviceChoice,
    /// The data set, which has classes.
    pub data: PathBuf,
    /// The run of a tokenizer with a codebook; one is trained if there is none.
    pub tokenizer: Option<PathBuf>,
    /// Minutes for that tokenizer.
    pub tokenizer_minutes: f64,
    /// Sizes of the transformers.
    pub sizes: Vec<VarSize>,
    /// Images that each of them sees.
    pub images: u64,
    /// The seed.
    pub seed: u64,
}
