//! Binary spherical quantisation: each component of a unit vector becomes its sign (arXiv:2406.07548).
//!
//! A cell of d components is d bits; it stands for the vector with `+-1/sqrt(d)` in each component, on the unit sphere.

use burn::tensor::{Tensor, activation::sigmoid};
use nextscale_tokenizer::{Codes, Pyramid, Quantizer, ScaleSchedule};

/// A quantiser with d bits per cell. It has no parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bsq {
    /// Bits per cell, d.
    pub dim: usize,
}

/// A quantised latent for training: gradients pass the quantiser straight through.
#[derive(Debug, Clone)]
pub struct StraightThrough {
    /// The sum of the codes, same shape as the latent. Its gradient goes to the latent unchanged.
    pub latent: Tensor<5>,
    /// Mean squared distance between the latent and its codes, `[1]`.
    pub commitment: Tensor<1>,
    /// Mean of [`entropy_shortfall`] over the scales, `[1]`.
    pub entropy: Tensor<1>,
}

impl StraightThrough {
    /// From the latent `z`, the sum of its codes (same shape) and the entropy shortfall of each scale.
    ///
    /// # Panics
    /// If there is no scale.
    pub fn new(z: Tensor<5>, sum: Tensor<5>, shortfalls: Vec<Tensor<1>>) -> Self {
        Self {
            commitment: (z.clone() - sum.clone()).square().mean(),
            latent: z.clone() + (sum - z).detach(),
            entropy: Tensor::cat(shortfalls, 0).mean(),
        }
    }
}

impl Bsq {
    /// A quantiser with `dim` bits per cell.
    pub const fn new(dim: usize) -> Self {
        Self { dim }
    }

    /// The magnitude of each component of a code, `1/sqrt(d)`.
    pub fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    /// Quantises the latent `z`, `[b, d, t, h, w]`, with the first `scales` scales of `schedule`: the training form of a
    /// tokenizer's forward pass.
    ///
    /// # Panics
    /// If the latent does not fit the schedule, or `scales` is 0.
    pub fn quantize_straight_through(
        &self,
        z: Tensor<5>,
        schedule: &ScaleSchedule,
        scales: usize,
    ) -> StraightThrough {
        let magnitude = f64::from(self.scale());
        let mut shortfalls = Vec::new();
        let sum = Pyramid::plain(self).descend(z.clone(), schedule, |k, cells| {
            if k >= scales {
                return cells.zeros_like();
            }
            shortfalls.push(entropy_shortfall(cells.clone() / magnitude));
            self.embed(&self.quantize(cells.detach()))
        });
        StraightThrough::new(z, sum, shortfalls)
    }
}

/// How far the soft bits of `x`, `[b, d, t, h, w]` in units of a code's magnitude, are from fair coins over the batch and
/// all positions, averaged over the d bits: from 0 (a bit is 1 half of the time) to 1 (it is constant), in bits. `[1]`,
/// differentiable.
pub fn entropy_shortfall(x: Tensor<5>) -> Tensor<1> {
    let [b, d, t, h, w] = x.dims();
    let p = sigmoid(x * 2.0)
        .permute([1, 0, 2, 3, 4])
        .reshape([d, b * t * h * w])
        .mean_dim(1)
        .clamp(1e-4, 1.0 - 1e-4);
    let q = p.clone().neg() + 1.0;
    let entropy = (p.clone() * p.log() + q.clone() * q.log()) * -std::f64::consts::LOG2_E;
    (entropy.neg() + 1.0).mean()
}

impl Quantizer for Bsq {
    fn dim(&self) -> usize {
        self.dim
    }

    /// Bit 1 where a component is positive; exactly 0 gives 0.
    fn quantize(&self, x: Tensor<5>) -> Codes {
        Codes::Bits(x.greater_elem(0.0).int())
    }

    /// `+-1/sqrt(d)`.
    ///
    /// # Panics
    /// If the codes are not bits.
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
        let x = Tensor::<5>::random([2, 4, 1, 4, 4], Distribution::Default, &device) - 0.5;
        let x = x.require_grad();
        let (bsq, schedule) = (Bsq::new(4), ScaleSchedule::square(&[1, 2, 4]).unwrap());
        let trained = bsq.quantize_straight_through(x.clone(), &schedule, 3);
        let expected = Pyramid::plain(&bsq).encode(x.clone(), &schedule).sum;
        let off: f32 = (trained.latent.clone() - expected)
            .abs()
            .max()
            .into_scalar();
        assert!(off < 1e-6);
        let weights = Tensor::<5>::random([2, 4, 1, 4, 4], Distribution::Default, &device);
        let straight = (trained.latent * weights.clone()).sum().backward();
        let off: f32 = (x.grad(&straight).unwrap() - weights.inner())
            .abs()
            .max()
            .into_scalar();
        assert_eq!(off, 0.0);
        let grads = (trained.commitment + trained.entropy).backward();
        let grad: f32 = x.grad(&grads).unwrap().abs().sum().into_scalar();
        assert!(grad > 1e-3 && grad.is_finite());
    }

    #[test]
    fn corners_have_no_commitment_and_no_doubt() {
        let device = Device::flex();
        let codes = Tensor::<5>::ones([1, 16, 1, 2, 2], &device) * 0.25;
        let schedule = ScaleSchedule::square(&[2]).unwrap();
        let trained = Bsq::new(16).quantize_straight_through(codes.clone(), &schedule, 1);
        assert!(trained.commitment.into_scalar::<f32>() < 1e-9);
        let shortfall = |x: Tensor<5>| -> f32 { entropy_shortfall(x).into_scalar() };
        assert!(shortfall(codes.clone() * 100.0) > 0.99);
        let balanced = Tensor::cat(vec![codes.clone(), codes.neg()], 0);
        assert!(shortfall(balanced).abs() < 1e-6);
    }
}
