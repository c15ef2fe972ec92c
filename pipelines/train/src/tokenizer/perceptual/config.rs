//! The keys of `loss.perceptual`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Result, ensure};
use crate::tokenizer::perceptual::vgg::STRIDE;

/// A loss in the features of VGG16, on top of that of the pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PerceptualLoss {
    /// Weight of the distance.
    #[serde(default = "one")]
    pub weight: f64,
    /// Weights of VGG16 as torchvision has them, or a whole `lpips.LPIPS`.
    pub vgg: PathBuf,
    /// The channels' weights: `vgg.pth` of the package `lpips`. Absent if `vgg` holds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lins: Option<PathBuf>,
    /// Frames of each clip that are compared, drawn at random for each batch. Images are clips of one frame.
    #[serde(default = "two")]
    pub frames: usize,
}

fn one() -> f64 {
    1.0
}

fn two() -> usize {
    2
}

impl PerceptualLoss {
    /// Rejects numbers out of range, and images of `size` x `size` pixels that are too small for VGG16.
    pub(crate) fn check(&self, size: usize) -> Result<()> {
        ensure!(
            self.weight >= 0.0 && self.weight.is_finite(),
            "loss.perceptual.weight: {} is negative or no number",
            self.weight
        );
        ensure!(
            self.frames > 0,
            "loss.perceptual.frames must be at least 1: leave `perceptual` out to train without it"
        );
        ensure!(
            size >= STRIDE,
            "loss.perceptual: images of {size} pixels are too small for VGG16, which needs {STRIDE} at least"
        );
        Ok(())
    }
}
