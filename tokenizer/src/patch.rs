//! Patches of 2 x 2 cells folded into channels, for transformers that work at half the resolution of the latent.

use burn::tensor::{Tensor, kind::Basic};

/// Folds each 2 x 2 patch of cells into channels: `[b, c, t, h, w]` to `[b, 4c, t, h/2, w/2]`.
///
/// Channel `c * 4 + dy * 2 + dx` holds cell `(dy, dx)` of the patch, PyTorch's pixel-unshuffle order.
///
/// # Panics
/// If `h` or `w` is odd.
pub fn patchify<K: Basic>(x: Tensor<5, K>) -> Tensor<5, K> {
    let [b, c, t, h, w] = x.dims();
    assert!(
        h % 2 == 0 && w % 2 == 0,
        "patchify needs even sides, got {h}x{w}"
    );
    x.reshape([b, c, t, h / 2, 2, w / 2, 2])
        .permute([0, 1, 4, 6, 2, 3, 5]) // [b, c, dy, dx, t, h/2, w/2]
        .reshape([b, 4 * c, t, h / 2, w / 2])
}

/// The inverse of [`patchify`]: `[b, 4c, t, h, w]` to `[b, c, t, 2h, 2w]`.
///
/// # Panics
/// If the number of channels is not a multiple of 4.
pub fn unpatchify<K: Basic>(x: Tensor<5, K>) -> Tensor<5, K> {
    let [b, c, t, h, w] = x.dims();
    assert!(
        c % 4 == 0,
        "unpatchify needs a multiple of 4 channels, got {c}"
    );
    x.reshape([b, c / 4, 2, 2, t, h, w])
        .permute([0, 1, 4, 5, 2, 6, 3]) // [b, c/4, t, h, dy, w, dx]
        .reshape([b, c / 4, t, 2 * h, 2 * w])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Int};

    #[test]
    fn order_is_channel_row_column() {
        let x = Tensor::<1, Int>::arange(0..8, &Device::flex()).reshape([1, 2, 1, 2, 2]);
        let y = patchify(x.clone());
        assert_eq!(y.dims(), [1, 8, 1, 1, 1]);
        assert_eq!(
            y.clone().into_data().iter::<i64>().collect::<Vec<_>>(),
            (0..8).collect::<Vec<_>>()
        );
        assert_eq!(unpatchify(y).into_data(), x.into_data());
    }

    #[test]
    fn there_and_back() {
        let x = Tensor::<1, Int>::arange(0..96, &Device::flex()).reshape([2, 2, 1, 4, 6]);
        assert_eq!(
            unpatchify(patchify(x.clone())).into_data(),
            x.clone().into_data()
        );
        let y = patchify(x).float();
        assert_eq!(y.dims(), [2, 8, 1, 2, 3]);
        // sample 0, channel 1, rows 2..4, columns 4..6
        let patch: Vec<f32> = y
            .slice([0..1, 4..8, 0..1, 1..2, 2..3])
            .into_data()
            .iter()
            .collect();
        assert_eq!(patch, vec![40.0, 41.0, 46.0, 47.0]);
    }
}
