//! When the passes over a scale have converged.
//!
//! Every pass adds codes of one length: `+-1/sqrt(d)` in each of `d` components. Where more than that is missing, the next pass over
//! the same scale goes on in the same direction, and its bit is that of the pass before. Where less is missing, it goes back: its
//! bit is the other one, and the two cancel. So the share of bits that repeat is what two passes have added together, as a mean
//! square, relative to the most that they could have added:
//!
//! ```text
//! share = |c_{r-1} + c_r|^2 / |2 c_r|^2
//! ```

use burn::tensor::{Int, Tensor};

/// The largest share, over the videos of a batch, of `bits`, `[b, d, t, h, w]`, that are those of the pass `before`; from 0 to 1.
///
/// # Panics
/// If the shapes differ.
pub(super) fn repeated_share(before: Tensor<5, Int>, bits: Tensor<5, Int>) -> f64 {
    let [b, d, t, h, w] = bits.dims();
    assert_eq!(before.dims(), bits.dims(), "bits of passes over one scale");
    let same = before.equal(bits).float().reshape([b, d * t * h * w]);
    let share: f32 = same.mean_dim(1).max().into_scalar();
    f64::from(share)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use nextscale_bitwise::Bsq;
    use nextscale_tokenizer::{Codes, Quantizer as _};

    use super::*;

    fn bits(rows: [[i64; 4]; 2]) -> Tensor<5, Int> {
        Tensor::<2, Int>::from_ints(rows, &Device::flex()).reshape([2, 2, 1, 1, 2])
    }

    #[test]
    fn the_video_that_changes_most_counts() {
        let before = bits([[0, 1, 1, 0], [1, 1, 1, 1]]);
        let share = |rows| repeated_share(before.clone(), bits(rows));
        assert_eq!(share([[0, 1, 1, 0], [0, 0, 0, 0]]), 1.0);
        assert_eq!(share([[1, 0, 0, 1], [0, 0, 0, 1]]), 0.25);
        assert_eq!(share([[1, 0, 0, 1], [0, 0, 0, 0]]), 0.0);
    }

    /// The equation above.
    #[test]
    fn bits_that_repeat_are_what_two_passes_add() {
        let (before, now) = (
            bits([[0, 1, 1, 0], [1, 1, 1, 1]]).slice_dim(0, 0..1),
            bits([[0, 1, 0, 0], [1, 1, 1, 1]]).slice_dim(0, 0..1),
        );
        let code = |bits: &Tensor<5, Int>| Bsq::new(2).embed(&Codes::Bits(bits.clone()));
        let length = |x: Tensor<5>| -> f32 { x.square().sum().into_scalar() };
        let added = length(code(&before) + code(&now)) / length(code(&now) * 2.0);
        let share = repeated_share(before, now);
        assert!((f64::from(added) - share).abs() < 1e-6, "{added} {share}");
    }
}
