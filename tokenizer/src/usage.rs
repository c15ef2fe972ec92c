//! Statistics of codes: counts and perplexity.

use crate::quantizer::Codes;

/// How often each code occurs at each scale: K lists of `vocabulary` counts.
///
/// # Panics
/// If the codes are bits, or indices of a larger codebook.
pub fn count(codes: &[Codes], vocabulary: usize) -> Vec<Vec<u32>> {
    codes
        .iter()
        .map(|codes| {
            let indices = codes.clone().indices().expect("indices of a codebook");
            let mut counts = vec![0; vocabulary];
            for index in indices.into_data().iter::<i64>() {
                counts[index as usize] += 1;
            }
            counts
        })
        .collect()
}

/// Perplexity of a distribution, `exp` of its entropy: the equivalent number of equally frequent codes. `weights` need not
/// sum to 1; without weights it is 1.
pub fn perplexity(weights: impl Iterator<Item = f64> + Clone) -> f64 {
    let total: f64 = weights.clone().sum();
    let entropy: f64 = weights
        .filter(|&weight| weight > 0.0)
        .map(|weight| -(weight / total) * (weight / total).ln())
        .sum();
    entropy.exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Int, Tensor};

    #[test]
    fn codes_are_counted_per_scale() {
        let device = Device::flex();
        let scale = |rows: [[[[i32; 2]; 1]; 1]; 2]| {
            Codes::Indices(Tensor::<4, Int>::from_ints(rows, &device))
        };
        let codes = [
            scale([[[[0, 2]]], [[[2, 2]]]]),
            scale([[[[1, 1]]], [[[1, 1]]]]),
        ];
        assert_eq!(count(&codes, 4), [[1, 0, 3, 0], [0, 4, 0, 0]]);
    }
}
