//! The network.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use nextscale_tokenizer::conv::{Conv, GroupNorm, ResBlock};
use nextscale_var_core::layers::{Linear, linear, project};
use serde::{Deserialize, Serialize};

/// Channels of a norm group.
const GROUP: usize = 8;

/// The shapes of a [`Classifier`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierConfig {
    /// Channels after each halving of the image, multiples of 8. The last are the features.
    #[serde(default = "channels")]
    pub channels: Vec<usize>,
}

fn channels() -> Vec<usize> {
    vec![32, 64, 128]
}

impl Default for ClassifierConfig {
    fn default() -> Self {
        Self {
            channels: channels(),
        }
    }
}

impl ClassifierConfig {
    /// Whether images of this side can be halved so often, and the channels are some.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn check(&self, side: usize) -> Result<(), String> {
        let known = !self.channels.is_empty();
        let groups = |&c: &usize| c > 0 && c.is_multiple_of(GROUP);
        if !known || !self.channels.iter().all(groups) {
            return Err(format!(
                "give at least one number of channels, each a multiple of {GROUP}"
            ));
        }
        let factor = 1 << self.channels.len();
        if !side.is_multiple_of(factor) {
            return Err(format!(
                "an image of {side} pixels cannot be halved {} times",
                self.channels.len()
            ));
        }
        Ok(())
    }

    /// Numbers of the features of an image.
    pub fn features(&self) -> usize {
        self.channels.last().copied().unwrap_or(0)
    }

    /// A network for so many classes, with random weights.
    pub fn init(&self, classes: usize, device: &Device) -> Classifier {
        let from = std::iter::once(&3).chain(&self.channels);
        let stages = from.zip(&self.channels).map(|(&from, &to)| Stage {
            down: Conv::init(from, to, 3, device),
            block: ResBlock::init(to, to, |c| c / GROUP, device),
        });
        let features = self.features();
        Classifier {
            stages: stages.collect(),
            norm: GroupNorm::init(features, features / GROUP, device),
            head: linear(
                features,
                classes,
                true,
                (features as f64).powf(-0.5),
                device,
            ),
        }
    }
}

/// A halving of the image, and a block.
#[derive(Module, Debug)]
pub struct Stage {
    /// 3 x 3 with stride 2.
    pub down: Conv,
    /// At the lower resolution.
    pub block: ResBlock,
}

/// A classifier of images.
#[derive(Module, Debug)]
pub struct Classifier {
    /// From the image to its features.
    pub stages: Vec<Stage>,
    /// After the last block.
    pub norm: GroupNorm,
    /// Features to logits.
    pub head: Linear,
}

impl Classifier {
    /// The features of images `[b, 3, s, s]` in [-1, 1], `[b, d]`.
    pub fn features(&self, images: Tensor<4>) -> Tensor<2> {
        let stages = self.stages.iter();
        let x = stages.fold(images, |x, stage| {
            stage.block.forward(stage.down.forward_down(x))
        });
        let x = self.norm.forward_silu(x);
        let [b, c, h, w] = x.dims();
        x.reshape([b, c, h * w]).mean_dim(2).reshape([b, c])
    }

    /// The logits of features `[b, d]`, `[b, classes]`.
    pub fn logits(&self, features: Tensor<2>) -> Tensor<2> {
        project(features, &self.head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let device = Device::flex();
        let config = ClassifierConfig {
            channels: vec![8, 16],
        };
        let model = config.init(5, &device);
        let features = model.features(Tensor::ones([2, 3, 12, 12], &device));
        assert_eq!(features.dims(), [2, 16]);
        assert_eq!(model.logits(features).dims(), [2, 5]);
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let check = |channels: &[usize], side| {
            let channels = channels.to_vec();
            ClassifierConfig { channels }.check(side)
        };
        assert_eq!(check(&[8, 16], 12), Ok(()));
        assert!(check(&[8, 12], 12).unwrap_err().contains("multiple of 8"));
        assert!(check(&[], 12).unwrap_err().contains("at least one"));
        assert!(check(&[8; 3], 12).unwrap_err().contains("halved 3 times"));
    }
}
