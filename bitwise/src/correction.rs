//! Bitwise self-correction: training on the kind of mistakes that sampling makes.
//!
//! While an image is encoded, bits of each scale are flipped at random before they enter the running sum. The
//! residual of the following scales then contains the mistake, and so do their labels: the transformer learns to
//! correct what it sampled wrongly (Infinity, arXiv 2412.04431, section 3.3).

use burn::tensor::{Bool, Tensor, TensorData};
use nextscale_tokenizer::{
    Codes, Quantizer, ScaleSchedule,
    pyramid::{Encoded, Pyramid, Refine},
};
use rand::Rng;
use serde::{Deserialize, Serialize};

/// How many bits are flipped, and in which scales.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfCorrection {
    /// The largest fraction of flipped bits, 0 to 1. Each scale draws its own fraction uniformly between 0 and this, in
    /// whole per cent. Released recipe: 0.3.
    pub strength: f64,
    /// The number of scales, from the first, in which bits are flipped. Released recipe: 13.
    pub scales: usize,
}

impl Default for SelfCorrection {
    /// The released training recipe (`train.sh`).
    fn default() -> Self {
        Self {
            strength: 0.3,
            scales: 13,
        }
    }
}

impl SelfCorrection {
    /// Encodes `latent`, `[b, d, t, h, w]`, with flips drawn from `rng`. In the result, `codes` are the labels and `used`
    /// is what enters the running sum.
    ///
    /// # Panics
    /// If the quantiser's codes are not bits, or the latent does not fit the tokenizer's `schedule`.
    pub fn encode<Q: Quantizer + ?Sized, R: Refine + ?Sized>(
        &self,
        pyramid: &Pyramid<'_, Q, R>,
        latent: Tensor<5>,
        schedule: &ScaleSchedule,
        rng: &mut impl Rng,
    ) -> Encoded {
        pyramid.encode_with(latent, schedule, |k, codes| self.disturb(k, codes, rng))
    }

    /// The codes of scale `k` with some of their bits flipped.
    ///
    /// # Panics
    /// If the codes are not bits.
    pub fn disturb(&self, k: usize, codes: &Codes, rng: &mut impl Rng) -> Codes {
        let percent = (self.strength * 100.0).round() as u32;
        if k >= self.scales || percent == 0 {
            return codes.clone();
        }
        flip(codes, f64::from(rng.random_range(0..=percent)) / 100.0, rng)
    }
}

/// Encodes `latent`, `[b, d, t, h, w]`, with given bits for the first scales: `used[k]` enters the running sum instead of
/// the quantised residual. Repeats flips that were drawn elsewhere.
///
/// # Panics
/// See [`SelfCorrection::encode`].
pub fn encode_given<Q: Quantizer + ?Sized, R: Refine + ?Sized>(
    pyramid: &Pyramid<'_, Q, R>,
    latent: Tensor<5>,
    schedule: &ScaleSchedule,
    used: &[Codes],
) -> Encoded {
    pyramid.encode_with(latent, schedule, |k, codes| {
        used.get(k).unwrap_or(codes).clone()
    })
}

/// Flips each bit with probability `fraction`.
fn flip(codes: &Codes, fraction: f64, rng: &mut impl Rng) -> Codes {
    let bits = codes.clone().bits().expect("a bitwise tokenizer");
    let dims = bits.dims();
    let n: usize = dims.iter().product();
    let flips: Vec<bool> = (0..n).map(|_| rng.random_bool(fraction)).collect();
    let flips = Tensor::<5, Bool>::from_data(TensorData::new(flips, dims), &bits.device());
    let flipped = bits.clone().neg().add_scalar(1);
    Codes::Bits(bits.mask_where(flips, flipped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Int};
    use rand::SeedableRng;
    use rand_chacha::ChaCha12Rng;

    #[test]
    fn flips_the_share_asked_for() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let zeros = Codes::Bits(Tensor::<5, Int>::zeros([4, 16, 1, 20, 20], &Device::flex()));
        let flipped = flip(&zeros, 0.2, &mut rng).bits().unwrap();
        let ones = flipped.sum().into_scalar::<i64>() as f64;
        assert!((ones / 25_600.0 - 0.2).abs() < 0.01);
        let ones = Codes::Bits(Tensor::<5, Int>::ones([1, 16, 1, 2, 2], &Device::flex()));
        let flipped = flip(&ones, 1.0, &mut rng).bits().unwrap();
        assert_eq!(flipped.sum().into_scalar::<i64>(), 0);
    }
}
