//! Resizing with one matrix per axis: differentiable, identical on every device, with the same results as PyTorch.
//!
//! Frames, rows and columns are resized one after the other by a product with a small weight matrix, so no mode needs a
//! kernel of its own (`torch.nn.functional.interpolate` with `align_corners=False`,
//! `antialias=False`).

use std::sync::{Mutex, PoisonError};

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::cpu::is_cpu;
use crate::exact::product;
use crate::schedule::Scale;

/// How to resample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resize {
    /// Adaptive average pooling: output cell i is the mean of input cells `floor(i n / m) .. ceil((i + 1) n / m)`. Bins
    /// overlap if m does not divide n.
    Area,
    /// Two taps at half-pixel centres, borders repeated: bilinear for images, trilinear for clips.
    Linear,
    /// Four taps at half-pixel centres with a = -0.75, borders repeated.
    Bicubic,
}

/// Resizes `x`, `[b, c, t, h, w]`, to `[b, c, to.t, to.h, to.w]`. An axis that keeps its length is not touched.
///
/// Works in f32 and returns the dtype of `x`. Bicubic does not touch the frames if there is only one, as for images.
pub fn resize(x: Tensor<5>, to: Scale, mode: Resize) -> Tensor<5> {
    let [b, c, t, h, w] = x.dims();
    if (t, h, w) == (to.t, to.h, to.w) {
        return x;
    }
    let dtype = x.dtype();
    let device = x.device();
    let mut x = x.cast(DType::F32);
    if w != to.w {
        let m = kept_matrix(w, to.w, mode, &device).transpose(); // [w, to.w]
        let rows = x.reshape([1, b * c * t * h, w]);
        x = product(rows, m.unsqueeze()).reshape([b, c, t, h, to.w]);
    }
    if h != to.h {
        let m = kept_matrix(h, to.h, mode, &device).unsqueeze::<3>();
        let m = m.expand([b * c * t, to.h, h]);
        x = product(m, x.reshape([b * c * t, h, to.w])).reshape([b, c, t, to.h, to.w]);
    }
    if t != to.t {
        let m = kept_matrix(t, to.t, mode, &device).unsqueeze::<3>();
        let m = m.expand([b * c, to.t, t]);
        x = product(m, x.reshape([b * c, t, to.h * to.w])).reshape([b, c, to.t, to.h, to.w]);
    }
    x.cast(dtype)
}

/// Resizes the rows and columns of tokens `x`, `[b, t h w, c]`, from one grid to another, as [`resize`] does with maps.
///
/// # Panics
/// If the grids have different numbers of frames, or `x` is not on the first one.
pub fn resize_tokens(x: Tensor<3>, from: Scale, to: Scale, mode: Resize) -> Tensor<3> {
    let ([b, n, c], device) = (x.dims(), x.device());
    assert_eq!(n, from.tokens(), "tokens of a grid of {from}");
    assert_eq!(from.t, to.t, "frames");
    let frames = b * from.t;
    let rows = kept_matrix(from.h, to.h, mode, &device).unsqueeze::<3>();
    let x = x.reshape([frames, from.h, from.w * c]);
    let x = product(rows.expand([frames, to.h, from.h]), x);
    let columns = kept_matrix(from.w, to.w, mode, &device).unsqueeze::<3>();
    let x = x.reshape([frames * to.h, from.w, c]);
    let x = product(columns.expand([frames * to.h, to.w, from.w]), x);
    x.reshape([b, to.tokens(), c])
}

/// The matrices that are on a card already: every scale of every image needs the same ones.
static KEPT: Mutex<Vec<(Key, Tensor<2>)>> = Mutex::new(Vec::new());

/// Lengths before and after, how they are resampled, and the device.
type Key = (usize, usize, Resize, Device);

/// [`matrix`], which a card keeps.
fn kept_matrix(from: usize, to: usize, mode: Resize, device: &Device) -> Tensor<2> {
    if is_cpu(device) || device.is_autodiff() {
        return matrix(from, to, mode, device);
    }
    let key = (from, to, mode, device.clone());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, found)) = kept.iter().find(|(other, _)| *other == key) {
        return found.clone();
    }
    let made = matrix(from, to, mode, device);
    kept.push((key, made.clone()));
    made
}

/// The weights that resample an axis of length `from` to length `to`: `[to, from]`, with rows that sum to 1.
pub fn matrix(from: usize, to: usize, mode: Resize, device: &Device) -> Tensor<2> {
    let weights = weights(from, to, mode);
    Tensor::from_data(TensorData::new(weights, [to, from]), (device, DType::F32))
}

fn weights(from: usize, to: usize, mode: Resize) -> Vec<f32> {
    let mut weights = vec![0.0; to * from];
    for (i, row) in weights.chunks_exact_mut(from).enumerate() {
        match mode {
            Resize::Area => area(row, i, from, to),
            Resize::Linear => linear(row, i, from, to),
            Resize::Bicubic => bicubic(row, i, from, to),
        }
    }
    weights
}

fn area(row: &mut [f32], i: usize, from: usize, to: usize) {
    let start = i * from / to;
    let end = ((i + 1) * from).div_ceil(to);
    row[start..end].fill(1.0 / (end - start) as f32);
}

/// The position of output cell `i` in the input, with cell centres at half pixels. In f32, as PyTorch computes it.
fn source(i: usize, from: usize, to: usize) -> f32 {
    (from as f32 / to as f32) * (i as f32 + 0.5) - 0.5
}

fn linear(row: &mut [f32], i: usize, from: usize, to: usize) {
    let at = source(i, from, to).max(0.0);
    let left = (at as usize).min(from - 1);
    let part = (at - left as f32).min(1.0);
    row[left] += 1.0 - part;
    row[(left + 1).min(from - 1)] += part;
}

fn bicubic(row: &mut [f32], i: usize, from: usize, to: usize) {
    const A: f32 = -0.75;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let at = source(i, from, to);
    let part = at - at.floor();
    let taps = [
        far(part + 1.0),
        near(part),
        near(1.0 - part),
        far(2.0 - part),
    ];
    for (offset, tap) in (-1..).zip(taps) {
        let index = (at.floor() as isize + offset).clamp(0, from as isize - 1);
        row[index as usize] += tap;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[f32], to: usize, mode: Resize) -> Vec<f32> {
        let device = Device::flex();
        let x = Tensor::<1>::from_floats(values, &device).reshape([1, 1, 1, 1, values.len()]);
        resize(x, Scale::image(1, to), mode)
            .into_data()
            .iter()
            .collect()
    }

    #[test]
    fn area_bins_overlap() {
        assert_eq!(row(&[0.0, 3.0, 6.0], 2, Resize::Area), vec![1.5, 4.5]);
        assert_eq!(row(&[1.0, 3.0, 5.0, 7.0], 2, Resize::Area), vec![2.0, 6.0]);
    }

    #[test]
    fn linear_has_half_pixel_centres() {
        assert_eq!(
            row(&[0.0, 4.0], 4, Resize::Linear),
            vec![0.0, 1.0, 3.0, 4.0]
        );
        assert_eq!(
            row(&[0.0, 1.0, 2.0, 3.0], 2, Resize::Linear),
            vec![0.5, 2.5]
        );
    }

    #[test]
    fn constants_stay() {
        for mode in [Resize::Area, Resize::Linear, Resize::Bicubic] {
            for (from, to) in [(1, 7), (5, 3), (3, 8), (6, 6)] {
                for y in row(&vec![2.0; from], to, mode) {
                    assert!((y - 2.0).abs() < 3e-6, "{mode:?} {from} -> {to}: {y}");
                }
            }
        }
    }

    #[test]
    fn tokens_are_resized_as_maps() {
        let device = Device::flex();
        let (from, to) = (Scale::new(2, 3, 2), Scale::new(2, 4, 5));
        let maps = Tensor::<1, burn::tensor::Int>::arange(0..2 * 3 * 12, &device).float();
        let maps = maps.reshape([2, 3, 2, 3, 2]);
        let tokens = maps.clone().reshape([2, 3, 12]).swap_dims(1, 2);
        let resized = resize_tokens(tokens, from, to, Resize::Area);
        let expected = resize(maps, to, Resize::Area).reshape([2, 3, 40]);
        let off = (resized.swap_dims(1, 2) - expected).abs().max();
        assert!(off.into_scalar::<f32>() < 1e-4);
    }

    #[test]
    fn axes_are_independent() {
        let device = Device::flex();
        let x = Tensor::<1>::from_floats([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], &device)
            .reshape([1, 1, 2, 2, 2]);
        let y = resize(x, Scale::new(1, 1, 2), Resize::Area);
        let y: Vec<f32> = y.into_data().iter().collect();
        assert_eq!(y, vec![3.0, 4.0]);
    }
}
