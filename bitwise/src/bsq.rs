//! Binary spherical quantisation: each number of a unit vector becomes its sign (arXiv:2406.07548).
//!
//! A cell of d numbers is d bits; the vector it stands for is `+-1/sqrt(d)` in each, on the unit sphere.

use burn::tensor::{Tensor, activation::sigmoid};
use nextscale_tokenizer::{Codes, Quantizer};

/// The quantiser of d bits a cell. It has no parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bsq {
    /// Bits of a cell, d.
    pub dim: usize,
}

/// The auxiliary losses of a training step, means over cells; all scalars, `[1]`.
#[derive(Debug, Clone)]
pub struct BsqLosses {
    /// Squared distance from a cell's unit vector to its code, 0..4: pulls the encoder to the corners.
    pub commitment: Tensor<1>,
    /// Entropy of a cell's soft bits in nats, summed over bits: small when the encoder is sure.
    pub sample_entropy: Tensor<1>,
    /// Entropy of the mean soft bits in nats, summed over bits: large when all codes are used.
    pub batch_entropy: Tensor<1>,
}

impl BsqLosses {
    /// `commitment_weight * commitment + entropy_weight * (sample - batch) / 100`.
    ///
    /// 100 is the inverse temperature of the soft bits; the released settings are 0.25 and 0.1.
    pub fn total(&self, commitment_weight: f32, entropy_weight: f32) -> Tensor<1> {
        let penalty = self.sample_entropy.clone() - self.batch_entropy.clone();
        self.commitment.clone() * commitment_weight
            + penalty * (entropy_weight / INVERSE_TEMPERATURE)
    }

    /// The mean over scales.
    pub(crate) fn mean(all: Vec<Self>) -> Self {
        let mean =
            |pick: fn(&Self) -> Tensor<1>| Tensor::cat(all.iter().map(pick).collect(), 0).mean();
        Self {
            commitment: mean(|l| l.commitment.clone()),
            sample_entropy: mean(|l| l.sample_entropy.clone()),
            batch_entropy: mean(|l| l.batch_entropy.clone()),
        }
    }
}

/// Sharpness of the soft bits, as in the released `BSQ`.
const INVERSE_TEMPERATURE: f32 = 100.0;

impl Bsq {
    /// A quantiser of `dim` bits.
    pub const fn new(dim: usize) -> Self {
        Self { dim }
    }

    /// The size of every number of a code, `1/sqrt(d)`.
    pub fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    /// Quantises `x`, `[b, d, t, h, w]`, so that the gradient passes straight through to the unit vectors
    /// `x / |x|`; returns codes as numbers, same shape, and the losses.
    pub fn train(&self, x: Tensor<5>) -> (Tensor<5>, BsqLosses) {
        let length = x.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
        let unit = x / length;
        let code = self.nearest(unit.clone().detach());
        let losses = self.losses(unit.clone(), code.clone());
        let through = unit.clone() + (code - unit).detach();
        (through, losses)
    }

    fn nearest(&self, x: Tensor<5>) -> Tensor<5> {
        let bits = x.greater_elem(0.0).float();
        bits * (2.0 * self.scale()) - self.scale()
    }

    fn losses(&self, unit: Tensor<5>, code: Tensor<5>) -> BsqLosses {
        let [_, d, _, _, _] = unit.dims();
        let commitment = (unit.clone() - code).square().sum_dim(1).mean();
        let one = sigmoid(unit * (4.0 * self.scale() * INVERSE_TEMPERATURE)); // the soft bit
        let sample_entropy = entropy(one.clone()).sum_dim(1).mean();
        let usage = one.swap_dims(0, 1).reshape([d as i32, -1]).mean_dim(1);
        BsqLosses {
            commitment,
            sample_entropy,
            batch_entropy: entropy(usage).sum(),
        }
    }
}

/// Of a bit that is 1 with probability `p`, in nats.
fn entropy<const D: usize>(p: Tensor<D>) -> Tensor<D> {
    let term = |p: Tensor<D>| p.clone() * (p + 1e-8).log();
    -(term(p.clone()) + term(-p + 1.0))
}

impl Quantizer for Bsq {
    fn dim(&self) -> usize {
        self.dim
    }

    /// Bit 1 where a number is above 0; a number of exactly 0 gives 0.
    fn quantize(&self, x: Tensor<5>) -> Codes {
        Codes::Bits(x.greater_elem(0.0).int())
    }

    /// `+-1/sqrt(d)`.
    ///
    /// # Panics
    /// If the codes are no bits.
    fn embed(&self, codes: &Codes) -> Tensor<5> {
        let Codes::Bits(bits) = codes else {
            panic!("binary spherical quantisation embeds bits, not codebook rows")
        };
        bits.clone().float() * (2.0 * self.scale()) - self.scale()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};

    #[test]
    fn signs_on_the_sphere() {
        let device = Device::flex();
        let x = Tensor::<1>::from_floats([0.3, 0.0, -0.2, 4.0], &device).reshape([1, 4, 1, 1, 1]);
        let bsq = Bsq::new(4);
        let codes = bsq.quantize(x);
        let y: Vec<f32> = bsq.embed(&codes).into_data().iter().collect();
        assert_eq!(y, vec![0.5, -0.5, -0.5, 0.5]);
    }

    #[test]
    fn training_value_is_the_code_and_the_gradient_passes() {
        let device = Device::flex().autodiff();
        let x = Tensor::<5>::random([2, 4, 1, 3, 3], Distribution::Default, &device) - 0.5;
        let x = x.require_grad();
        let bsq = Bsq::new(4);
        let (y, losses) = bsq.train(x.clone());
        let expected = bsq.embed(&bsq.quantize(x.clone()));
        let off: f32 = (y.clone() - expected).abs().max().into_scalar();
        assert!(off < 1e-6);
        let weights = Tensor::<5>::random([2, 4, 1, 3, 3], Distribution::Default, &device);
        let grads = ((y * weights).sum() + losses.total(0.25, 0.1)).backward();
        let grad: f32 = x.grad(&grads).unwrap().abs().sum().into_scalar();
        assert!(grad > 0.1 && grad.is_finite());
    }

    #[test]
    fn corners_have_no_commitment_and_no_doubt() {
        let device = Device::flex();
        let codes = Tensor::<5>::ones([1, 16, 1, 2, 2], &device) * 0.25;
        let (_, losses) = Bsq::new(16).train(codes);
        assert!(losses.commitment.into_scalar::<f32>() < 1e-9);
        assert!(losses.sample_entropy.into_scalar::<f32>() < 1e-3);
        assert!(losses.batch_entropy.into_scalar::<f32>() < 1e-3);
    }
}
