//! GELU, and its gradient.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, Tensor, TensorData};
use nextscale_tokenizer::cpu::{differentiable, numbers, tensor, tracked};
use nextscale_tokenizer::widest;

use super::pieces::{contiguous, in_pieces, in_two_pieces};

/// GELU with the tanh approximation, where `z = (cube x^2 + slope) x`.
pub(crate) fn gelu<const D: usize>(x: &Tensor<D>, slope: f64, cube: f64) -> Option<Tensor<D>> {
    let shape = x.dims();
    let x = contiguous(x)?;
    let from = numbers(&x);
    let mut out = vec![0.0; from.len()];
    in_pieces(&mut out, 1, |first, piece| {
        let from = &from[first..][..piece.len()];
        gelu_piece(from, slope as f32, cube as f32, piece);
    });
    Some(Tensor::from_primitive::<Flex>(tensor(out, shape)))
}

widest!(gelu_piece, gelu_body, (x: &[f32], slope: f32, cube: f32, to: &mut [f32]));

#[inline(always)]
fn gelu_body(x: &[f32], slope: f32, cube: f32, to: &mut [f32]) {
    for (to, &x) in to.iter_mut().zip(x) {
        let z = (x * x * cube + slope) * x;
        *to = x * (tanh(z) * 0.5 + 0.5);
    }
}

/// As [`gelu`], of a tensor that may have a gradient. The derivative is computed along with the value.
pub(crate) fn recorded_gelu<const D: usize>(
    x: &Tensor<D>,
    slope: f64,
    cube: f64,
) -> Option<Tensor<D>> {
    let shape = x.dims();
    let input = tracked(x).filter(|_| x.dtype() == DType::F32)?;
    let x = input.primitive().to_contiguous();
    let from = numbers(&x);
    let (mut out, mut derivative) = (vec![0.0; from.len()], vec![0.0; from.len()]);
    in_two_pieces([&mut out, &mut derivative], |first, [to, derivative]| {
        let from = &from[first..][..to.len()];
        recorded_piece(from, slope as f32, cube as f32, to, derivative);
    });
    let [out, derivative] = [out, derivative].map(|values| tensor(values, shape));
    Some(differentiable(Slope, [&input], derivative, out))
}

widest!(
    recorded_piece,
    recorded_body,
    (x: &[f32], slope: f32, cube: f32, to: &mut [f32], derivative: &mut [f32])
);

#[inline(always)]
fn recorded_body(x: &[f32], slope: f32, cube: f32, to: &mut [f32], derivative: &mut [f32]) {
    for ((to, derivative), &x) in to.iter_mut().zip(derivative).zip(x) {
        let t = tanh((x * x * cube + slope) * x);
        let half = t * 0.5 + 0.5;
        *to = x * half;
        *derivative = half + (1.0 - t * t) * (x * x * (1.5 * cube) + 0.5 * slope) * x;
    }
}

/// An operation on each number, which keeps its derivative.
#[derive(Debug)]
struct Slope;

impl Backward<Flex, 1> for Slope {
    type State = FlexTensor;

    fn backward(self, ops: Ops<FlexTensor, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [node] = ops.parents;
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let Some(node) = node else { return };
        let mut product = vec![0.0; numbers(&grad).len()];
        in_pieces(&mut product, 1, |first, piece| {
            let both = [&grad, &ops.state].map(|x| &numbers(x)[first..][..piece.len()]);
            let both = both[0].iter().zip(both[1]);
            piece
                .iter_mut()
                .zip(both)
                .for_each(|(to, (a, b))| *to = a * b);
        });
        let product = TensorData::new(product, grad.shape());
        grads.register::<Flex>(node.id, FlexTensor::from_data(product));
    }
}

/// Coefficients of [`tanh`]: the rational approximation of degree 13 over 6 in Eigen's `generic_fast_tanh_float`.
pub(crate) const TANH_UP: [f64; 7] = [
    -2.760_768_477_423_55e-16,
    2.000_187_904_824_77e-13,
    -8.604_671_522_137_35e-11,
    5.122_297_090_371_14e-8,
    1.485_722_357_178_79e-5,
    6.372_619_288_754_36e-4,
    4.893_524_558_917_86e-3,
];
/// Those of its denominator.
pub(crate) const TANH_DOWN: [f64; 4] = [
    1.198_258_394_667_02e-6,
    1.185_347_056_866_54e-4,
    2.268_434_632_439e-3,
    4.893_525_185_543_85e-3,
];
/// Beyond this it is 1 in f32.
pub(crate) const TANH_MOST: f64 = 7.9;

/// Hyperbolic tangent, accurate to a few units in the last place. What is no number stays none.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let most = TANH_MOST as f32;
    let x = if x > most { most } else { x };
    let x = if x < -most { -most } else { x };
    let square = x * x;
    let mut up = TANH_UP[0] as f32;
    for c in &TANH_UP[1..] {
        up = up * square + *c as f32;
    }
    let mut down = TANH_DOWN[0] as f32;
    for c in &TANH_DOWN[1..] {
        down = down * square + *c as f32;
    }
    up * x / down
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    /// What is no number stays none, and infinities do not spread.
    #[test]
    fn gelu_of_all_numbers() {
        let x = [f32::NAN, f32::INFINITY, -30.0, 0.0, 30.0];
        let x = Tensor::<1>::from_floats(x, &Device::flex());
        let y: Vec<f32> = gelu(&x, 0.797_884_6, 0.035_677_4)
            .unwrap()
            .into_data()
            .iter()
            .collect();
        assert!(y[0].is_nan());
        assert_eq!((y[1], y[3]), (f32::INFINITY, 0.0));
        assert!(y[2].abs() < 1e-5 && (y[4] - 30.0).abs() < 1e-5, "{y:?}");
    }
}
