//! The keys of `loss.adversarial`.

use serde::{Deserialize, Serialize};

use crate::error::{Result, ensure};
use crate::tokenizer::adversarial::discriminator::grids;

/// A discriminator that tells images from reconstructions, and what the auto-encoder gains by deceiving it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AdversarialLoss {
    /// Weight of the generator's loss.
    pub weight: f64,
    /// Whether that weight is multiplied by the ratio of the gradients of reconstruction and generator at the decoder's last
    /// convolution.
    pub adaptive: bool,
    /// Steps without the discriminator.
    pub start_steps: u64,
    /// Channels after its first convolution.
    pub channels: usize,
    /// Convolutions between the first one and the last one; all of them but the last halve the sides.
    pub layers: usize,
    /// Its loss.
    pub loss: DiscriminatorLoss,
    /// Factor on the learning rate.
    pub learning_rate_factor: f64,
    /// Frames of each clip that it sees, drawn at random for each batch. Images are clips of one frame.
    pub frames: usize,
}

impl Default for AdversarialLoss {
    fn default() -> Self {
        Self {
            weight: 0.8,
            adaptive: true,
            start_steps: 10_000,
            channels: 64,
            layers: 3,
            loss: DiscriminatorLoss::Hinge,
            learning_rate_factor: 1.0,
            frames: 2,
        }
    }
}

/// The loss of a discriminator. The generator's is `-mean D(fake)` with both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DiscriminatorLoss {
    /// `(mean relu(1 - D(real)) + mean relu(1 + D(fake))) / 2`.
    Hinge,
    /// `(mean softplus(-D(real)) + mean softplus(D(fake))) / 2`.
    Vanilla,
}

impl AdversarialLoss {
    /// Rejects numbers out of range, and images of `size` x `size` pixels that are too small for the discriminator.
    pub(crate) fn check(&self, size: usize) -> Result<()> {
        let &Self {
            weight,
            learning_rate_factor: rate,
            channels,
            layers,
            frames,
            ..
        } = self;
        ensure!(
            weight >= 0.0 && weight.is_finite() && rate >= 0.0 && rate.is_finite(),
            "loss.adversarial: weight and learning_rate_factor must not be negative"
        );
        ensure!(
            channels > 0 && layers > 0 && frames > 0,
            "loss.adversarial: channels, layers and frames must be at least 1"
        );
        ensure!(
            grids(size, layers).last().is_some_and(|&side| side > 0),
            "loss.adversarial: images of {size} pixels are too small for a discriminator of {layers} layers; give it fewer `layers`"
        );
        Ok(())
    }
}
