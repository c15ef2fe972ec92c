//! Products of a layer as the heads of queries, keys or values.

use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::layers::EPS;
use nextscale_tokenizer::card::memory::{elem, empty, readable};

/// Planes of a cube; each works on one head of one token.
const PLANES: usize = 8;

/// The largest factor that a head learns.
const MAX_LOGARITHM: f32 = 4.605_170_2;

/// What a head is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeadNorm {
    /// Nothing.
    Nothing,
    /// Its length.
    Length,
    /// The root of its mean square.
    MeanSquare,
}

/// What is done with the numbers of a head, as far as the kernel is made for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Steps {
    /// Whether the bias counts.
    pub biased: bool,
    /// What the head is divided by.
    pub norm: HeadNorm,
    /// Whether the head is multiplied by the exponential of its logarithm, at most 100.
    pub learned: bool,
    /// Whether each number is multiplied by a weight of its own, the same in all heads.
    pub weighted: bool,
    /// Whether the head is rotated.
    pub rotated: bool,
    /// Whether each image has positions of its own.
    pub own_positions: bool,
}

/// How heads are made of a product.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// `[b, h, l, d]`: images, heads, tokens, numbers of a head: 32, 64 or 128.
    pub shape: [usize; 4],
    /// What is done with them.
    pub steps: Steps,
    /// Another factor.
    pub scale: f32,
    /// The type of the heads.
    pub dtype: DType,
}

/// What heads are made with: the bias of their product, `[h d]`, the logarithms of their factors, `[1, h, 1, 1]`, and the weights of
/// their numbers, `[d]`, all of the product's type. What does not count may be any tensor of the type.
#[derive(Clone)]
pub(super) struct With {
    pub bias: CubeTensor,
    pub logarithm: CubeTensor,
    pub weight: CubeTensor,
}

impl With {
    fn readable(self, vector: usize) -> Self {
        let [bias, weight] = [self.bias, self.weight].map(|x| readable(x, vector));
        Self {
            bias,
            weight,
            ..self
        }
    }
}

/// Where heads are written: tensors `[b, h, capacity, d]`, from a token on.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub out: &'a CubeTensor,
    pub start: usize,
}

/// Heads of a product `x`, `[b l, h d]`; rotated by `[cos, sin]`, `[l, d]` or `[b l, d]` each in f32.
pub(super) fn heads(
    x: CubeTensor,
    with: With,
    rotary: Option<[CubeTensor; 2]>,
    rule: Rule,
) -> CubeTensor {
    let [b, h, l, d] = rule.shape;
    let out = empty(&x, Shape::from(rule.shape), rule.dtype);
    let vector = d / 32;
    let stored = x.dtype;
    let x = readable(x, vector);
    let with = with.readable(vector);
    let [cos, sin] = tables(rotary, &out, vector);
    let count = b * l * h;
    // SAFETY: planes after the last head end at once, and what does not count is not read.
    unsafe {
        heads_kernel::launch_unchecked(
            &out.client,
            CubeCount::Static(count.div_ceil(PLANES) as u32, 1, 1),
            CubeDim::new_2d(32, PLANES as u32),
            vector,
            x.into_tensor_arg(),
            with.bias.into_tensor_arg(),
            with.logarithm.into_tensor_arg(),
            with.weight.into_tensor_arg(),
            cos.into_tensor_arg(),
            sin.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            count,
            l,
            rule.scale,
            h,
            rule.steps,
            elem(stored),
            elem(rule.dtype),
        );
    }
    out
}

/// Heads of queries, keys and values, whose products are side by side in `x`, `[b l, (h + 2 g) d]`.
pub(super) fn write_heads(
    x: CubeTensor,
    with: [With; 3],
    rotary: Option<[CubeTensor; 2]>,
    rules: [Rule; 3],
    targets: [Target; 3],
) {
    let [b, h, l, d] = rules[0].shape;
    let groups = rules[1].shape[1];
    let vector = d / 32;
    let stored = x.dtype;
    let x = readable(x, vector);
    let [queries, keys, values] = with.map(|with| with.readable(vector));
    let [cos, sin] = tables(rotary, targets[0].out, vector);
    let count = b * l * (h + 2 * groups);
    let [to_q, to_k, to_v] = targets.map(|target| target.out.clone().into_tensor_arg());
    // SAFETY: planes after the last head end at once, and what does not count is not read.
    unsafe {
        all_heads_kernel::launch_unchecked(
            &targets[0].out.client,
            CubeCount::Static(count.div_ceil(PLANES) as u32, 1, 1),
            CubeDim::new_2d(32, PLANES as u32),
            vector,
            x.into_tensor_arg(),
            queries.bias.into_tensor_arg(),
            queries.logarithm.into_tensor_arg(),
            queries.weight.into_tensor_arg(),
            keys.bias.into_tensor_arg(),
            keys.weight.into_tensor_arg(),
            values.bias.into_tensor_arg(),
            cos.into_tensor_arg(),
            sin.into_tensor_arg(),
            to_q,
            to_k,
            to_v,
            count,
            l,
            targets[1].start,
            rules[0].scale,
            h,
            groups,
            rules.map(|rule| rule.steps),
            elem(stored),
            elem(rules[0].dtype),
        );
    }
}

/// The tables of a rotation, or any tensors in their place.
fn tables(rotary: Option<[CubeTensor; 2]>, any: &CubeTensor, vector: usize) -> [CubeTensor; 2] {
    match rotary {
        Some(tables) => tables.map(|x| readable(x, vector)),
        None => [any.clone(), any.clone()],
    }
}

#[cube(launch_unchecked)]
fn heads_kernel<D: Float, T: Float, N: Size>(
    x: &Tensor<Vector<D, N>>,
    bias: &Tensor<Vector<D, N>>,
    logarithm: &Tensor<D>,
    weight: &Tensor<Vector<D, N>>,
    cos: &Tensor<Vector<f32, N>>,
    sin: &Tensor<Vector<f32, N>>,
    out: &mut Tensor<Vector<T, N>>,
    count: usize,
    tokens: usize,
    scale: f32,
    #[comptime] heads: usize,
    #[comptime] steps: Steps,
    #[define(D)] _stored: ElemType,
    #[define(T)] _made: ElemType,
) {
    let index = CUBE_POS_X as usize * PLANES + UNIT_POS_Y as usize;
    if index >= count {
        terminate!();
    }
    let (row, head) = (index / heads, index % heads);
    let (image, token) = (row / tokens, row % tokens);
    let from = row * x.stride(0) / N::value() + head * 32;
    let position = position(row, token, steps);
    let value = head_of::<D, N>(
        x, bias, logarithm, weight, cos, sin, from, head, position, scale, steps,
    );
    let place = ((image * heads + head) * tokens + token) * 32 + UNIT_POS_X as usize;
    out[place] = Vector::<T, N>::cast_from(value);
}

#[cube(launch_unchecked)]
fn all_heads_kernel<D: Float, T: Float, N: Size>(
    x: &Tensor<Vector<D, N>>,
    bias_q: &Tensor<Vector<D, N>>,
    logarithm: &Tensor<D>,
    weight_q: &Tensor<Vector<D, N>>,
    bias_k: &Tensor<Vector<D, N>>,
    weight_k: &Tensor<Vector<D, N>>,
    bias_v: &Tensor<Vector<D, N>>,
    cos: &Tensor<Vector<f32, N>>,
    sin: &Tensor<Vector<f32, N>>,
    queries: &mut Tensor<Vector<T, N>>,
    keys: &mut Tensor<Vector<T, N>>,
    values: &mut Tensor<Vector<T, N>>,
    count: usize,
    tokens: usize,
    start: usize,
    scale: f32,
    #[comptime] heads: usize,
    #[comptime] groups: usize,
    #[comptime] steps: [Steps; 3],
    #[define(D)] _stored: ElemType,
    #[define(T)] _made: ElemType,
) {
    let index = CUBE_POS_X as usize * PLANES + UNIT_POS_Y as usize;
    if index >= count {
        terminate!();
    }
    let (of_q, of_k, of_v) = comptime!((steps[0], steps[1], steps[2]));
    let all = comptime!(heads + 2 * groups);
    let (row, place) = (index / all, index % all);
    let (image, token) = (row / tokens, row % tokens);
    let from = row * x.stride(0) / N::value() + place * 32;
    let lane = UNIT_POS_X as usize;
    if place < heads {
        let at = position(row, token, of_q);
        let value = head_of::<D, N>(
            x, bias_q, logarithm, weight_q, cos, sin, from, place, at, scale, of_q,
        );
        let at = ((image * heads + place) * tokens + token) * 32 + lane;
        queries[at] = Vector::<T, N>::cast_from(value);
    } else if place < comptime!(heads + groups) {
        let head = place - heads;
        let at = position(row, token, of_k);
        let value = head_of::<D, N>(
            x, bias_k, logarithm, weight_k, cos, sin, from, head, at, 1.0f32, of_k,
        );
        let at = ((image * groups + head) * keys.shape(2) + start + token) * 32 + lane;
        keys[at] = Vector::<T, N>::cast_from(value);
    } else {
        let head = place - comptime!(heads + groups);
        let value = head_of::<D, N>(
            x, bias_v, logarithm, weight_k, cos, sin, from, head, token, 1.0f32, of_v,
        );
        let at = ((image * groups + head) * values.shape(2) + start + token) * 32 + lane;
        values[at] = Vector::<T, N>::cast_from(value);
    }
}

/// The row of the tables for a token of an image, which is in a row of the product.
#[cube]
fn position(row: usize, token: usize, #[comptime] steps: Steps) -> usize {
    if comptime!(steps.own_positions) {
        row
    } else {
        token
    }
}

/// This unit's numbers of a head, whose product starts at a place of `x`.
#[cube]
fn head_of<D: Float, N: Size>(
    x: &Tensor<Vector<D, N>>,
    bias: &Tensor<Vector<D, N>>,
    logarithm: &Tensor<D>,
    weight: &Tensor<Vector<D, N>>,
    cos: &Tensor<Vector<f32, N>>,
    sin: &Tensor<Vector<f32, N>>,
    from: usize,
    head: usize,
    position: usize,
    scale: f32,
    #[comptime] steps: Steps,
) -> Vector<f32, N> {
    let lane = UNIT_POS_X as usize;
    let mut value = Vector::<f32, N>::cast_from(x[from + lane]);
    if comptime!(steps.biased) {
        value += Vector::<f32, N>::cast_from(bias[head * 32 + lane]);
    }
    let mut factor = scale;
    if comptime!(steps.learned) {
        factor *= f32::cast_from(logarithm[head]).min(MAX_LOGARITHM).exp();
    }
    if comptime!(steps.norm != HeadNorm::Nothing) {
        let square = value * value;
        let mut own = 0.0f32;
        #[unroll]
        for i in 0..N::value() {
            own += square.extract(i);
        }
        let sum = plane_sum(own);
        if comptime!(steps.norm == HeadNorm::Length) {
            factor /= sum.max(1e-24).sqrt();
        } else {
            let size = N::value();
            let count = comptime!((32 * size) as f32);
            factor /= (sum / count + comptime!(EPS as f32)).sqrt();
        }
    }
    value *= Vector::<f32, N>::new(factor);
    if comptime!(steps.weighted) {
        value *= Vector::<f32, N>::cast_from(weight[lane]);
    }
    if comptime!(steps.rotated) {
        let at = position * 32 + lane;
        let mut swapped = value;
        let size = N::value();
        if comptime!(size == 1) {
            swapped = plane_shuffle_xor(value, 1u32);
        } else {
            #[unroll]
            for i in 0..N::value() {
                swapped.insert(i, value.extract(comptime!(i ^ 1)));
            }
        }
        value = value * cos[at] + swapped * sin[at];
    }
    value
}
