//! Norms and sums over rows of the residual stream.

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::Tensor;
use nextscale_tokenizer::cpu::{numbers, tensor};
use nextscale_tokenizer::widest;

use super::pieces::{contiguous, in_pieces, sum};

/// Numbers that all rows of an image share: `[b, 1, c]`, or `[1, 1, c]` for all images.
struct Shared {
    numbers: FlexTensor,
    /// Rows of an image, and numbers of a row.
    image: [usize; 2],
}

impl Shared {
    /// None if the tensor has another shape than `x`, `[b, l, c]`, asks for, or is not in f32 on the CPU.
    fn new(shared: &Tensor<3>, [b, l, c]: [usize; 3]) -> Option<Self> {
        let [rows, one, width] = shared.dims();
        let fits = (rows == b || rows == 1) && one == 1 && width == c && c > 0;
        Some(Self {
            numbers: contiguous(shared).filter(|_| fits)?,
            image: [l, c],
        })
    }

    /// Those of a row of the batch.
    fn of(&self, row: usize) -> &[f32] {
        let [l, c] = self.image;
        let image = match self.numbers.shape()[0] {
            1 => 0,
            _ => row / l,
        };
        &numbers(&self.numbers)[image * c..][..c]
    }
}

/// Layer norm of `x`, `[b, l, c]`, times `base + scale` plus `shift`, which are `[b, 1, c]` or `[1, 1, c]`.
pub(crate) fn norm(
    x: &Tensor<3>,
    [scale, shift]: [&Tensor<3>; 2],
    base: f32,
    eps: f64,
) -> Option<Tensor<3>> {
    let [b, l, c] = x.dims();
    let (scale, shift) = (
        Shared::new(scale, [b, l, c])?,
        Shared::new(shift, [b, l, c])?,
    );
    let x = contiguous(x)?;
    let mut out = vec![0.0; b * l * c];
    in_pieces(&mut out, c, |first, piece| {
        for (row, to) in (first..).zip(piece.chunks_exact_mut(c)) {
            let own = &numbers(&x)[row * c..][..c];
            norm_row(own, scale.of(row), shift.of(row), base, eps as f32, to);
        }
    });
    Some(Tensor::from_primitive::<Flex>(tensor(out, [b, l, c])))
}

widest!(
    norm_row,
    norm_body,
    (x: &[f32], scale: &[f32], shift: &[f32], base: f32, eps: f32, to: &mut [f32])
);

#[inline(always)]
fn norm_body(x: &[f32], scale: &[f32], shift: &[f32], base: f32, eps: f32, to: &mut [f32]) {
    let count = x.len() as f32;
    let mean = sum(x, 0.0, false) / count;
    let variance = sum(x, mean, true) / count;
    let factor = 1.0 / (variance + eps).sqrt();
    for (((to, &x), &scale), &shift) in to.iter_mut().zip(x).zip(scale).zip(shift) {
        *to = (x - mean) * factor * (scale + base) + shift;
    }
}

/// `x + y gain`, with `gain` `[b, 1, c]` or `[1, 1, c]`.
pub(crate) fn add_scaled(x: &Tensor<3>, y: &Tensor<3>, gain: &Tensor<3>) -> Option<Tensor<3>> {
    let [b, l, c] = x.dims();
    if y.dims() != [b, l, c] {
        return None;
    }
    let gain = Shared::new(gain, [b, l, c])?;
    let (x, y) = (contiguous(x)?, contiguous(y)?);
    let mut out = vec![0.0; b * l * c];
    in_pieces(&mut out, c, |first, piece| {
        for (row, to) in (first..).zip(piece.chunks_exact_mut(c)) {
            let [x, y] = [&x, &y].map(|x| &numbers(x)[row * c..][..c]);
            add_row(x, y, gain.of(row), to);
        }
    });
    Some(Tensor::from_primitive::<Flex>(tensor(out, [b, l, c])))
}

widest!(add_row, add_body, (x: &[f32], y: &[f32], gain: &[f32], to: &mut [f32]));

#[inline(always)]
fn add_body(x: &[f32], y: &[f32], gain: &[f32], to: &mut [f32]) {
    for (((to, &x), &y), &gain) in to.iter_mut().zip(x).zip(y).zip(gain) {
        *to = x + y * gain;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{DType, Device, Distribution, Tolerance};

    fn random(shape: [usize; 3]) -> Tensor<3> {
        Tensor::random(shape, Distribution::Normal(0.3, 2.0), &Device::flex())
    }

    /// Compared with the operations written out; rows of one and of several pieces.
    #[test]
    fn the_same_as_written_out() {
        for [b, l, c] in [[1, 1, 7], [2, 3, 40], [3, 50, 768], [1, 2, 9000]] {
            let x = random([b, l, c]);
            for rows in [1, b] {
                let [scale, shift] = [random([rows, 1, c]), random([rows, 1, c])];
                let centred = x.clone() - x.clone().mean_dim(2);
                let variance = (centred.clone() * centred.clone()).mean_dim(2);
                let normed = centred / (variance + 1e-6).sqrt();
                let expected = normed * (scale.clone() + 1.0) + shift.clone();
                let ours = norm(&x, [&scale, &shift], 1.0, 1e-6).unwrap();
                let tolerance = Tolerance::<f32>::absolute(2e-5);
                ours.into_data()
                    .assert_approx_eq(&expected.into_data(), tolerance);
                let y = random([b, l, c]);
                let expected = x.clone() + y.clone() * scale.clone();
                let ours = add_scaled(&x, &y, &scale).unwrap();
                ours.into_data()
                    .assert_approx_eq(&expected.into_data(), tolerance);
            }
        }
    }

    /// Tensors of other kinds are left to the tensor library.
    #[test]
    fn only_f32_without_gradients() {
        let x = random([1, 2, 4]);
        let gain = random([1, 1, 4]);
        assert!(add_scaled(&x.clone().cast(DType::F16), &x, &gain).is_none());
        let [recorded, both] = [&x, &gain].map(|x| Tensor::from_inner(x.clone()));
        assert!(norm(&recorded, [&both, &both], 0.0, 1e-6).is_none());
        assert!(add_scaled(&x, &x, &random([1, 2, 4])).is_none());
    }
}
