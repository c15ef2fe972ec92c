//! Layers and functions that the blocks of every model share. Everything but matrix products runs in f32.

use crate::dtype::{cast, f32, value};
use crate::fused::{self, TANH_DOWN, TANH_MOST, TANH_UP};
use crate::int8::Int8;
use crate::matmul::{Precision, matmul, matmul_bf16, recorded_product};
use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{DType, Device, Tensor, activation::sigmoid, module},
};
use nextscale_tokenizer::cpu::is_cpu;
use nextscale_tokenizer::{Scale, product};

/// Epsilon of every norm of the model.
pub const EPS: f64 = 1e-6;

/// A linear layer, `x w + bias`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[input, output]`. If the weights are stored as int8, this is a placeholder of NaN that takes no memory.
    pub weight: Param<Tensor<2>>,
    /// `[output]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// The weights as int8, if they are stored so.
    #[module(skip)]
    pub int8: Option<Int8>,
    /// What is added to the layer while an adapter is trained.
    #[module(skip)]
    pub low_rank: Option<LowRank>,
}

/// What a low-rank adapter adds to a linear layer: `scale (x down) up`.
#[derive(Clone, Debug)]
pub struct LowRank {
    /// `[input, r]`.
    pub down: Tensor<2>,
    /// `[r, output]`.
    pub up: Tensor<2>,
    /// The factor.
    pub scale: f32,
}

impl LowRank {
    /// What is added for `x`, `[m, input]`: `[m, output]` in f32.
    fn product(&self, x: Tensor<2>) -> Tensor<2> {
        let inner = matmul(f32(x), self.down.clone(), Precision::F32);
        matmul(inner, self.up.clone(), Precision::F32) * self.scale
    }
}

/// `y`, the product of `x` and `layer`, with what an adapter adds.
fn adapted(y: Tensor<2>, x: Option<Tensor<2>>, layer: &Linear) -> Tensor<2> {
    match (x, &layer.low_rank) {
        (Some(x), Some(low_rank)) => y + low_rank.product(x),
        _ => y,
    }
}

impl Linear {
    /// Stores the weights as int8 on `device` from now on, and drops the floating-point ones.
    pub(crate) fn quantize(&mut self, device: &Device) {
        let weight = Int8::quantize(self.weight.val(), device);
        self.store(weight);
    }

    /// Takes these weights.
    pub(crate) fn store(&mut self, weight: Int8) {
        self.weight = placeholder([1, 1], DType::F32, &Device::flex());
        self.int8 = Some(weight);
    }

    /// Gives the placeholder of int8 weights their shape and the dtype in which they are multiplied.
    pub(crate) fn restore_shape(&mut self, dtype: DType, device: &Device) {
        if let Some(int8) = &self.int8 {
            self.weight = placeholder(int8.dims(), dtype, device);
        }
    }
}

/// A matrix of NaN, all of them the same number in memory.
fn placeholder(shape: [usize; 2], dtype: DType, device: &Device) -> Param<Tensor<2>> {
    let one = Tensor::<2>::full([1, 1], f32::NAN, (device, dtype));
    Param::from_tensor(one.expand(shape)).set_require_grad(false)
}

/// A linear layer with normal weights of standard deviation `std` and, if `bias` is set, a bias of zeros.
pub fn linear(input: usize, output: usize, bias: bool, std: f64, device: &Device) -> Linear {
    let normal = Initializer::Normal { mean: 0.0, std };
    Linear {
        weight: normal.init([input, output], device),
        bias: bias.then(|| Initializer::Zeros.init([output], device)),
        int8: None,
        low_rank: None,
    }
}

/// Standard deviation of fresh output projections in a model of `depth` blocks whose other weights have `std`.
pub fn out_std(std: f64, depth: usize) -> f64 {
    std / (2.0 * depth as f64).sqrt()
}

/// The feed-forward layers of a block: linear, GELU, linear.
#[derive(Module, Debug)]
pub struct FeedForward {
    /// Width to hidden.
    pub fc1: Linear,
    /// Hidden to width, after a GELU.
    pub fc2: Linear,
}

impl FeedForward {
    /// Fresh layers of a model of `depth` blocks.
    pub fn init(width: usize, hidden: usize, std: f64, depth: usize, device: &Device) -> Self {
        Self {
            fc1: linear(width, hidden, true, std, device),
            fc2: linear(hidden, width, true, out_std(std, depth), device),
        }
    }

    /// `[b, l, c]` to `[b, l, c]`.
    pub fn forward(&self, x: Tensor<3>, precision: Precision) -> Tensor<3> {
        let hidden = gelu(project_in(x, &self.fc1, precision));
        project_in(hidden, &self.fc2, precision)
    }

    /// As [`FeedForward::forward`] on a card: of `rows`, `[n, c]` in the weights' dtype, without the output's bias.
    #[cfg(feature = "cuda")]
    pub fn on_card(&self, rows: Tensor<2>) -> Tensor<2> {
        crate::card::product(crate::card::gelu(rows, &self.fc1), &self.fc2)
    }
}

/// Applies `layer` to `x`, `[.., input]` in f32, in the dtype of its weights; the result is f32 again.
pub fn project<const D: usize>(x: Tensor<D>, layer: &Linear) -> Tensor<D> {
    project_in(x, layer, Precision::F32)
}

/// The running feature map on the grid of `scale`, `[b, n, c]`, as tokens `[rows, n, C]`: each image serves `rows / b` rows.
///
/// # Panics
/// If the input does not have the tokens of the scale.
pub fn embed_scale(input: Tensor<3>, scale: Scale, layer: &Linear, rows: usize) -> Tensor<3> {
    let [b, n, _] = input.dims();
    assert_eq!(
        n,
        scale.tokens(),
        "the input does not have the tokens of scale {scale}"
    );
    project(f32(input), layer).repeat_dim(0, rows / b)
}

/// As [`project`], with f32 weights multiplied in `precision`.
pub fn project_in<const D: usize>(x: Tensor<D>, layer: &Linear, precision: Precision) -> Tensor<D> {
    let mut dims = x.dims();
    let rows = dims[..D - 1].iter().product::<usize>();
    let y = project_raw_in(x.reshape([rows, dims[D - 1]]), layer, precision);
    dims[D - 1] = y.dims()[1];
    f32(y).reshape(dims)
}

/// As [`project`], but in f32 whatever the dtype of the weights: modulation and head.
pub fn project_f32<const D: usize>(x: Tensor<D>, layer: &Linear) -> Tensor<D> {
    let mut dims = x.dims();
    let rows = dims[..D - 1].iter().product::<usize>();
    let x = x.reshape([rows, dims[D - 1]]);
    #[cfg(feature = "cuda")]
    if crate::card::runs(&x)
        && let Some(y) = crate::card::in_f32(&x, layer)
    {
        dims[D - 1] = y.dims()[1];
        return y.reshape(dims);
    }
    let bias = layer.bias.as_ref().map(value);
    let input = layer.low_rank.as_ref().map(|_| x.clone());
    let y = adapted(affine(x, value(&layer.weight), bias), input, layer);
    dims[D - 1] = y.dims()[1];
    y.reshape(dims)
}

/// The dtype of the input and output of [`project_raw`]: that of the weights, but f32 on the CPU, which computes in f32 and
/// stores 16-bit weights only to save memory.
pub fn working_dtype(layer: &Linear) -> DType {
    if is_cpu(&layer.weight.device()) {
        DType::F32
    } else {
        layer.weight.dtype()
    }
}

/// As [`project`], but the result stays in the [`working_dtype`].
pub fn project_raw(x: Tensor<2>, layer: &Linear) -> Tensor<2> {
    let input = layer.low_rank.as_ref().map(|_| x.clone());
    adapted(plain_project(x, layer), input, layer)
}

/// [`project_raw`] without an adapter.
fn plain_project(x: Tensor<2>, layer: &Linear) -> Tensor<2> {
    let (stored, working) = (layer.weight.dtype(), working_dtype(layer));
    #[cfg(feature = "cuda")]
    if crate::card::runs(&x) {
        let y = crate::card::product(cast(x, working), layer);
        return match &layer.bias {
            Some(bias) => y + cast(bias.val(), working).unsqueeze(),
            None => y,
        };
    }
    let y = match &layer.int8 {
        Some(int8) => int8.product(x, working),
        None if stored == working => {
            let bias = layer.bias.as_ref().map(Param::val);
            return affine(cast(x, working), layer.weight.val(), bias);
        }
        None => matmul_bf16(f32(x), layer.weight.val()),
    };
    match &layer.bias {
        Some(bias) => y + cast(bias.val(), working).unsqueeze(),
        None => y,
    }
}

/// `x w`, plus the bias if there is one.
fn affine(x: Tensor<2>, w: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let y = product::matmul(&x, &w).or_else(|| recorded_product(&x, &w));
    match (y, bias) {
        (Some(y), Some(bias)) => y + bias.unsqueeze(),
        (Some(y), None) => y,
        (None, bias) => module::linear(x, w, bias),
    }
}

/// As [`project_raw`], with f32 weights multiplied in `precision`.
pub fn project_raw_in(x: Tensor<2>, layer: &Linear, precision: Precision) -> Tensor<2> {
    let plain = layer.int8.is_none() && layer.weight.dtype() == DType::F32;
    if precision == Precision::F32 || !plain {
        return project_raw(x, layer);
    }
    let input = layer.low_rank.as_ref().map(|_| x.clone());
    let y = matmul(f32(x), layer.weight.val(), precision);
    let y = match &layer.bias {
        Some(bias) => y + bias.val().unsqueeze(),
        None => y,
    };
    adapted(y, input, layer)
}

/// Layer norm without weights, over the last axis of `[b, l, c]`.
pub fn normalize(x: Tensor<3>) -> Tensor<3> {
    let centred = x.clone() - x.mean_dim(2);
    let variance = (centred.clone() * centred.clone()).mean_dim(2);
    centred * (variance + EPS).sqrt().recip()
}

/// `1 / max(|x|, 1e-12)` along the last axis of `[b, l, h, d]`.
pub fn inverse_norm(x: Tensor<4>) -> Tensor<4> {
    let square = (x.clone() * x).sum_dim(3);
    square.clamp_min(1e-24).sqrt().recip()
}

/// Gains, scales and shifts of a block, `[b, 1, c]` each: of attention, then of the feed-forward layers.
#[derive(Debug, Clone)]
pub struct AdaLn {
    /// Factors on what is added to the residual stream.
    pub gains: [Tensor<3>; 2],
    /// Scales after the norms, less 1.
    pub scales: [Tensor<3>; 2],
    /// Shifts after the norms.
    pub shifts: [Tensor<3>; 2],
}

impl AdaLn {
    /// From `[b, 1, 6, c]`: both gains, both scales, both shifts.
    pub fn new(all: &Tensor<4>) -> Self {
        let [b, _, _, c] = all.dims();
        let pick = |i: usize| {
            let one = all.clone().slice_dim(2, i..i + 1);
            one.reshape([b, 1, c])
        };
        Self {
            gains: [pick(0), pick(1)],
            scales: [pick(2), pick(3)],
            shifts: [pick(4), pick(5)],
        }
    }

    /// Those of the first `rows` of the batch.
    pub fn rows(&self, rows: usize) -> Self {
        let first = |both: &[Tensor<3>; 2]| {
            let [a, b] = both;
            [a, b].map(|x| x.clone().slice_dim(0, 0..rows))
        };
        Self {
            gains: first(&self.gains),
            scales: first(&self.scales),
            shifts: first(&self.shifts),
        }
    }

    /// The same, with factors on the gains of attention and feed-forward, `[b, 1, 1]` each, if there are any.
    #[must_use]
    pub fn with_factors(self, factors: Option<[Tensor<3>; 2]>) -> Self {
        let Some([attention, feed_forward]) = factors else {
            return self;
        };
        let [first, second] = self.gains;
        Self {
            gains: [first * attention, second * feed_forward],
            ..self
        }
    }

    /// AdaLN before the attention (0) or the feed-forward layers (1).
    pub fn norm(&self, x: Tensor<3>, which: usize) -> Tensor<3> {
        modulate(x, self.scales[which].clone(), self.shifts[which].clone())
    }

    /// The gain of the attention (0) or the feed-forward layers (1).
    pub fn gain(&self, which: usize) -> Tensor<3> {
        self.gains[which].clone()
    }
}

/// AdaLN: `normalize(x) * (1 + scale) + shift`, with scale and shift `[b, 1, c]`.
pub fn modulate(x: Tensor<3>, scale: Tensor<3>, shift: Tensor<3>) -> Tensor<3> {
    fused::norm(&x, [&scale, &shift], 1.0, EPS)
        .unwrap_or_else(|| normalize(x) * (scale + 1.0) + shift)
}

/// Layer norm with weights `gamma` and `beta`, `[c]`.
pub fn layer_norm(x: Tensor<3>, gamma: Tensor<1>, beta: Option<Tensor<1>>) -> Tensor<3> {
    let gamma: Tensor<3> = gamma.unsqueeze();
    let beta: Option<Tensor<3>> = beta.map(Tensor::unsqueeze);
    let shift = beta.clone().unwrap_or_else(|| gamma.zeros_like());
    match (fused::norm(&x, [&gamma, &shift], 0.0, EPS), beta) {
        (Some(y), _) => y,
        (None, Some(beta)) => normalize(x) * gamma + beta,
        (None, None) => normalize(x) * gamma,
    }
}

/// `x + y gain`: what a layer adds to the residual stream, with `gain` `[b, 1, c]`.
pub fn add_scaled(x: Tensor<3>, y: Tensor<3>, gain: Tensor<3>) -> Tensor<3> {
    fused::add_scaled(&x, &y, &gain).unwrap_or_else(|| x + y * gain)
}

/// `sqrt(2 / pi)`, and the weight of the cube, in the tanh approximation of GELU.
const GELU_SLOPE: f64 = 0.797_884_560_802_865_4;
const GELU_CUBE: f64 = 0.044715;

/// GELU with the tanh approximation, `x h` with `h = (1 + tanh z) / 2` and `z = sqrt(2/pi) (x + 0.044715 x^3)`.
///
/// The hidden units are the largest tensors of a step, and written out this takes 20 passes over them for the gradient
/// alone. So for autodiff the derivative `h + e` is computed along with the value: on the CPU in one pass.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let cube = GELU_SLOPE * GELU_CUBE;
    fused::gelu(&x, GELU_SLOPE, cube)
        .or_else(|| fused::recorded_gelu(&x, GELU_SLOPE, cube))
        .unwrap_or_else(|| gelu_on_card(x))
}

/// As [`gelu`], by operations of the tensor library. The tape records only `x (h + e) - x e`, whose second term is a constant: the
/// value is `x h`, the gradient `h + e`.
fn gelu_on_card<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !x.is_autodiff() {
        let z = gelu_argument(x.clone(), x.clone() * x.clone());
        return x * sigmoid(z * 2.0);
    }
    let value = x.clone().inner();
    let square = value.clone() * value.clone();
    let t = tanh(gelu_argument(value.clone(), square.clone()));
    let h = t.clone() * 0.5 + 0.5;
    let slope = square * (1.5 * GELU_SLOPE * GELU_CUBE) + 0.5 * GELU_SLOPE;
    let e = (t.clone() * t * -1.0 + 1.0) * slope * value.clone();
    let constant = value * e.clone();
    x * Tensor::from_inner(h + e) - Tensor::from_inner(constant)
}

/// `z` of [`gelu`].
fn gelu_argument<const D: usize>(x: Tensor<D>, square: Tensor<D>) -> Tensor<D> {
    (square * (GELU_SLOPE * GELU_CUBE) + GELU_SLOPE) * x
}

/// Hyperbolic tangent as a rational function, accurate to a few units in the last place of f32. Sums and products are
/// vectorised everywhere; the exponential is not.
fn tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let x = x.clamp(-TANH_MOST, TANH_MOST);
    let square = x.clone() * x.clone();
    let horner = |coefficients: &[f64]| {
        let first = square.clone() * coefficients[0] + coefficients[1];
        let rest = coefficients[2..].iter();
        rest.fold(first, |sum, &c| sum * square.clone() + c)
    };
    horner(&TANH_UP) * x / horner(&TANH_DOWN)
}

/// `x sigmoid(x)`.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone() * sigmoid(x)
}

/// Heads first: `[b, l, h * d]` to `[b, h, l, d]`.
pub fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [b, l, c] = x.dims();
    x.reshape([b, l, heads, c / heads]).swap_dims(1, 2)
}

/// The inverse of [`split_heads`]: `[b, h, l, d]` to `[b, l, h * d]`.
pub fn merge_heads(x: Tensor<4>) -> Tensor<3> {
    let [b, h, l, d] = x.dims();
    x.swap_dims(1, 2).reshape([b, l, h * d])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GELU and its derivative in f64.
    fn exact(x: f64) -> (f64, f64) {
        let z = GELU_SLOPE * (x + GELU_CUBE * x.powi(3));
        let t = z.tanh();
        let slope = GELU_SLOPE * (1.0 + 3.0 * GELU_CUBE * x * x);
        let derivative = 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope;
        (0.5 * x * (1.0 + t), derivative)
    }

    #[test]
    fn gelu_and_its_gradient() {
        let device = Device::flex().autodiff();
        let points: Vec<f32> = (-120..=120).map(|i| i as f32 * 0.1).collect();
        let x = Tensor::<1>::from_floats(points.as_slice(), &device).require_grad();
        for (name, y) in [
            ("fused", gelu(x.clone())),
            ("written out", gelu_on_card(x.clone())),
        ] {
            check_gelu(name, &points, &x, y);
        }
        let plain = Tensor::<1>::from_floats(points.as_slice(), &Device::flex());
        for y in [gelu(plain.clone()), gelu_on_card(plain)] {
            let y: Vec<f32> = y.into_data().iter().collect();
            for (&x, y) in points.iter().zip(y) {
                let far = (f64::from(y) - exact(f64::from(x)).0).abs();
                assert!(far < 1e-6 * (1.0 + f64::from(x.abs())), "{x}: {y}");
            }
        }
    }

    /// Compares `y`, of `x` at these points, and its gradient with the exact ones.
    fn check_gelu(name: &str, points: &[f32], x: &Tensor<1>, y: Tensor<1>) {
        let gradient: Vec<f32> = x
            .grad(&y.clone().sum().backward())
            .unwrap()
            .into_data()
            .iter()
            .collect();
        let taped: Vec<f32> = y.into_data().iter().collect();
        for (i, &x) in points.iter().enumerate() {
            let (value, derivative) = exact(f64::from(x));
            let near = |ours: f32, exact: f64, most: f64| {
                let far = (f64::from(ours) - exact).abs();
                assert!(
                    far < most * (1.0 + f64::from(x.abs())),
                    "{name}, {x}: {ours} for {exact}"
                );
            };
            near(taped[i], value, 1e-6);
            near(gradient[i], derivative, 1e-5);
        }
    }
}
