//! The loss of the tokenizers whose codes are bits.

use burn::tensor::Tensor;
use nextscale_bitwise::bsq::StraightThrough;
use nextscale_var_core::train::Loss;
use serde::{Deserialize, Serialize};

use crate::tokenizer::reconstruction::ReconstructionError;

/// Weights of the parts of the loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
        }
    }
}

impl BsqLoss {
    /// The loss of `count` examples with the reconstruction error `error`, `[b, 3, h, w]`.
    pub(crate) fn of(&self, error: Tensor<4>, quantised: StraightThrough, count: usize) -> Loss {
        let ReconstructionError { total, l2 } =
            ReconstructionError::new(error, self.l1, self.l2, self.edge);
        let StraightThrough {
            commitment,
            entropy,
            ..
        } = quantised;
        Loss {
            total: total + commitment.clone() * self.commitment + entropy.clone() * self.entropy,
            parts: vec![
                ("mse", l2),
                ("commitment", commitment.detach()),
                ("entropy", entropy.detach()),
            ],
            examples: count,
        }
    }
}
