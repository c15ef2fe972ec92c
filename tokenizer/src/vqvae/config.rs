//! Shapes and mathematics of VAR's tokenizer.

use serde::{Deserialize, Serialize};

/// Shapes and mathematics of the auto-encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VqVaeConfig {
    /// Vectors of the codebook, V.
    pub vocabulary: usize,
    /// Channels of the latent, c.
    pub channels: usize,
    /// Channels of the finest level.
    pub base_channels: usize,
    /// Channels of each level as multiples of `base_channels`, fine to coarse. All levels but the last halve the sides.
    pub mult: Vec<usize>,
    /// Residual blocks of an encoder level; a decoder level has one more.
    pub blocks: usize,
    /// Convolutions that refine the scales, shared between neighbouring scales.
    pub phis: usize,
    /// Their weight in the result, 0 to 1.
    pub phi_ratio: f64,
    /// Groups of every norm.
    pub norm_groups: usize,
}

impl VqVaeConfig {
    /// The released tokenizer `vae_ch160v4096z32.pth` of all VAR models, stride 16.
    pub fn released() -> Self {
        Self {
            vocabulary: 4096,
            channels: 32,
            base_channels: 160,
            mult: vec![1, 1, 2, 2, 4],
            blocks: 2,
            phis: 4,
            phi_ratio: 0.5,
            norm_groups: 32,
        }
    }

    /// Pixels per side of a latent cell.
    pub fn stride(&self) -> usize {
        1 << (self.mult.len() - 1)
    }
}
