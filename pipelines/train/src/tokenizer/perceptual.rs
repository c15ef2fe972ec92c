//! LPIPS as a part of the loss (`loss.perceptual`): how far apart two images are in the features of VGG16 (arXiv 1801.03924).

use std::path::PathBuf;

use burn::tensor::Device;
use nextscale_metrics::MetricsError;
use nextscale_metrics::lpips::{Lpips, Network};
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError, ensure};

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
        let smallest = Network::Vgg.smallest();
        ensure!(
            size >= smallest,
            "loss.perceptual: images of {size} pixels are too small for VGG16, which needs {smallest} at least"
        );
        Ok(())
    }

    /// Reads the weights to `device`, which is without autodiff.
    ///
    /// # Errors
    /// If a file cannot be read, or holds other tensors.
    pub(crate) fn open(&self, device: &Device) -> Result<Lpips> {
        let lpips = Lpips::open(&self.vgg, self.lins.as_deref(), device);
        let lpips = lpips.map_err(|error| match error {
            MetricsError::Weights { part, reason, hint } => TrainError::setting(
                &format!("loss.perceptual.{part}"),
                format!("{reason}; {hint}"),
            ),
            error => TrainError::setting("loss.perceptual", error),
        })?;
        ensure!(
            lpips.network() == Network::Vgg,
            "loss.perceptual.vgg: `{}` holds {}, and training takes VGG16",
            self.vgg.display(),
            lpips.network().name()
        );
        Ok(lpips)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_are_too_small_are_refused() {
        let loss = PerceptualLoss {
            weight: 1.0,
            vgg: PathBuf::from("vgg16.pth"),
            lins: None,
            frames: 2,
        };
        loss.check(16).unwrap();
        let message = loss.check(15).unwrap_err().to_string();
        assert!(
            message.contains("15 pixels") && message.contains("16"),
            "{message}"
        );
    }
}
