//! How well an auto-encoder reconstructs: the part of the loss that all tokenizers share, and PSNR.

use burn::tensor::Tensor;

/// The error of reconstructed images.
pub(crate) struct ReconstructionError {
    /// The weighted sum, `[1]`.
    pub total: Tensor<1>,
    /// Mean squared error, `[1]`, detached.
    pub l2: Tensor<1>,
}

impl ReconstructionError {
    /// Weighs the mean absolute error, the mean squared error and the mean absolute error of the differences between
    /// neighbours of `error`, `[b, 3, h, w]`.
    pub(crate) fn new(error: Tensor<4>, l1: f64, l2: f64, edge: f64) -> Self {
        let square = error.clone().square().mean();
        let mut total = error.clone().abs().mean() * l1 + square.clone() * l2;
        if edge > 0.0 {
            total = total + edge_error(error) * edge;
        }
        Self {
            total,
            l2: square.detach(),
        }
    }
}

/// Mean absolute error of horizontal and vertical differences.
fn edge_error(error: Tensor<4>) -> Tensor<1> {
    let [_, _, h, w] = error.dims();
    let across = error.clone().narrow(3, 1, w - 1) - error.clone().narrow(3, 0, w - 1);
    let down = error.clone().narrow(2, 1, h - 1) - error.narrow(2, 0, h - 1);
    across.abs().mean() + down.abs().mean()
}

/// PSNR in dB, for pixels in 0..=1, of the mean squared error over all `batches` of pixels in [-1, 1], for each way in
/// which `reconstruct` reconstructs them.
pub(crate) fn psnr<const D: usize, const N: usize>(
    batches: impl Iterator<Item = Tensor<D>>,
    mut reconstruct: impl FnMut(Tensor<D>) -> [Tensor<D>; N],
) -> [f64; N] {
    let (mut sums, mut count) = ([0.0; N], 0.0);
    for pixels in batches {
        let n = pixels.dims().iter().product::<usize>() as f64;
        for (sum, reconstructed) in sums.iter_mut().zip(reconstruct(pixels.clone())) {
            let error = (reconstructed - pixels.clone()) * 0.5;
            *sum += f64::from(error.square().mean().into_scalar::<f32>()) * n;
        }
        count += n;
    }
    sums.map(|sum| -10.0 * (sum / count).log10())
}
