//! The loss of the tokenizers whose codes are bits.

use burn::tensor::Tensor;
use nextscale_bitwise::bsq::StraightThrough;
use serde::{Deserialize, Serialize};

use crate::tokenizer::adversarial::AdversarialLoss;
use crate::tokenizer::perceptual::PerceptualLoss;
use crate::tokenizer::reconstruction::ReconstructionError;

/// Weights of the parts of the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BsqLoss {
    /// Mean absolute error.
    pub l1: f64,
    /// Mean squared error.
    pub l2: f64,
    /// Mean absolute error of the differences between neighbours.
    pub edge: f64,
    /// Squared distance between the latent and its codes.
    pub commitment: f64,
    /// Entropy that the bits lack, in bits.
    pub entropy: f64,
    /// Chance that a step leaves out the finest scales, so that the coarse ones carry an image.
    pub drop_scales: f64,
    /// A loss in the features of VGG16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perceptual: Option<PerceptualLoss>,
    /// A discriminator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adversarial: Option<AdversarialLoss>,
}

impl Default for BsqLoss {
    fn default() -> Self {
        Self {
            l1: 0.5,
            l2: 5.0,
            edge: 0.25,
            commitment: 0.1,
            entropy: 0.02,
            drop_scales: 0.1,
            perceptual: None,
            adversarial: None,
        }
    }
}

/// The part of the loss that the codes make.
pub(crate) struct CodeLoss {
    /// Commitment and entropy with their weights, `[1]` each.
    pub terms: Vec<Tensor<1>>,
    /// Both without, to log.
    pub parts: Vec<(&'static str, Tensor<1>)>,
}

impl BsqLoss {
    /// The loss of the pixels: `error` is the difference of reconstructions and images, `[b, 3, h, w]`.
    pub(crate) fn of_pixels(&self, error: Tensor<4>) -> ReconstructionError {
        ReconstructionError::new(error, self.l1, self.l2, self.edge)
    }

    /// The loss of the codes.
    pub(crate) fn of_codes(&self, quantised: StraightThrough) -> CodeLoss {
        let StraightThrough {
            commitment,
            entropy,
            ..
        } = quantised;
        CodeLoss {
            terms: vec![
                commitment.clone() * self.commitment,
                entropy.clone() * self.entropy,
            ],
            parts: vec![
                ("commitment", commitment.detach()),
                ("entropy", entropy.detach()),
            ],
        }
    }
}
