//! How well an auto-encoder repaints: the part of the loss that every tokenizer shares, and its measure.

use burn::tensor::{Device, Tensor, TensorData};

use crate::batches::images::held_out_batch;
use nextscale_data::Dataset;

/// Planes in [-1, 1] as pictures `[b, 3, size, size]`.
pub fn tensor(pixels: Vec<f32>, size: usize, device: &Device) -> Tensor<4> {
    let shape = [pixels.len() / (3 * size * size), 3, size, size];
    Tensor::from_data(TensorData::new(pixels, shape), device)
}

/// The error of repainted pictures.
pub struct Repainting {
    /// The weighted sum, on the tape.
    pub total: Tensor<1>,
    /// Mean squared error, off the tape.
    pub l2: Tensor<1>,
}

/// Weighs the mean absolute, the mean squared and the mean absolute error of differences between neighbours of
/// `error`, `[b, 3, h, w]`.
pub fn repainting(error: Tensor<4>, l1: f64, l2: f64, edge: f64) -> Repainting {
    let square = error.clone().square().mean();
    let mut total = error.clone().abs().mean() * l1 + square.clone() * l2;
    if edge > 0.0 {
        total = total + edge_error(error) * edge;
    }
    Repainting {
        total,
        l2: square.detach(),
    }
}

/// Mean absolute error of horizontal and vertical differences.
fn edge_error(error: Tensor<4>) -> Tensor<1> {
    let [_, _, h, w] = error.dims();
    let across = error.clone().narrow(3, 1, w - 1) - error.clone().narrow(3, 0, w - 1);
    let down = error.clone().narrow(2, 1, h - 1) - error.narrow(2, 0, h - 1);
    across.abs().mean() + down.abs().mean()
}

/// Pictures that training does not see.
pub struct HeldOut {
    pixels: Vec<f32>,
    size: usize,
}

impl HeldOut {
    /// At most `count` of them, spread over the set.
    pub fn new(set: &Dataset, count: usize) -> Self {
        Self {
            pixels: held_out_batch(set, count).1,
            size: set.size(),
        }
    }

    /// PSNR in dB, for pixels in 0..=1, of the mean squared error over all pictures, for each way in which `repaint`
    /// repaints them.
    pub fn psnr<const N: usize>(
        &self,
        device: &Device,
        mut repaint: impl FnMut(Tensor<4>) -> [Tensor<4>; N],
    ) -> [f64; N] {
        let (mut sums, mut count) = ([0.0; N], 0.0);
        for chunk in self.pixels.chunks(32 * 3 * self.size * self.size) {
            let pixels = tensor(chunk.to_vec(), self.size, device);
            let n = chunk.len() as f64;
            for (sum, painted) in sums.iter_mut().zip(repaint(pixels.clone())) {
                let error = (painted - pixels.clone()) * 0.5;
                *sum += f64::from(error.square().mean().into_scalar::<f32>()) * n;
            }
            count += n;
        }
        sums.map(|sum| -10.0 * (sum / count).log10())
    }
}
