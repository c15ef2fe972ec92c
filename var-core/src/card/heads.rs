//! Products of a layer as the heads of queries, keys or values.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use nextscale_tokenizer::card::memory::{elem, empty, readable};

/// Planes of a cube; each works on one head of one token.
const PLANES: usize = 8;

/// The largest factor that a head learns.
const MAX_LOGARITHM: f32 = 4.605_170_2;

/// How heads are made of a product.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// `[b, h, l, d]`: images, heads, tokens, numbers of a head: 32, 64 or 128.
    pub shape: [usize; 4],
    /// Whether the bias counts.
    pub biased: bool,
    /// Whether the head is divided by its length.
    pub unit: bool,
    /// Whether the head is multiplied by the exponential of its logarithm, at most 100.
    pub learned: bool,
    /// Another factor.
    pub scale: f32,
    /// The type of the heads.
    pub dtype: DType,
}

/// Heads of a product `x`, `[b l, h d]`, with its bias, `[h d]`, and the logarithms of the heads' factors, `[1, h, 1, 1]`, all of one
/// type; rotated by `[cos, sin]`, `[l, d]` each in f32. What does not count may be any tensor of the type.
pub(super) fn heads(
    x: CubeTensor,
    bias: CubeTensor,
    logarithm: CubeTensor,
    rotary: Option<[CubeTensor; 2]>,
    rule: Rule,
) -> CubeTensor {
    let out = empty(&x, Shape::from(rule.shape), rule.dtype);
    write_heads(x, bias, logarithm, rotary, rule, &out, 0);
    out
}

/// Writes [`heads`] over the tokens of `out`, `[b, h, capacity, d]`, from `start` on.
pub(super) fn write_heads(
    x: CubeTensor,
    bias: CubeTensor,
    logarithm: CubeTensor,
    rotary: Option<[CubeTensor; 2]>,
    rule: Rule,
    out: &CubeTensor,
    start: usize,
) {
    let [b, h, l, d] = rule.shape;
    let capacity = out.shape()[2];
    let vector = d / 32;
    let stored = x.dtype;
    let [x, bias] = [x, bias].map(|x| readable(x, vector));
    let rotated = rotary.is_some();
    let [cos, sin] = match rotary {
        Some(tables) => tables.map(|x| readable(x, vector)),
        None => [out.clone(), out.clone()],
    };
    let count = b * l * h;
    // SAFETY: planes after the last head end at once, and tables that do not count are not read.
    unsafe {
        heads_kernel::launch_unchecked(
            &out.client,
            CubeCount::Static(count.div_ceil(PLANES) as u32, 1, 1),
            CubeDim::new_2d(32, PLANES as u32),
            vector,
            x.into_tensor_arg(),
            bias.into_tensor_arg(),
            logarithm.into_tensor_arg(),
            cos.into_tensor_arg(),
            sin.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            count,
            l,
            start,
            capacity,
            rule.scale,
            h,
            rule.biased,
            rule.unit,
            rule.learned,
            rotated,
            elem(stored),
            elem(rule.dtype),
        );
    }
}

#[cube(launch_unchecked)]
fn heads_kernel<D: Float, T: Float, N: Size>(
    x: &Tensor<Vector<D, N>>,
    bias: &Tensor<Vector<D, N>>,
    logarithm: &Tensor<D>,
    cos: &Tensor<Vector<f32, N>>,
    sin: &Tensor<Vector<f32, N>>,
    out: &mut Tensor<Vector<T, N>>,
    count: usize,
    tokens: usize,
    start: usize,
    capacity: usize,
    scale: f32,
    #[comptime] heads: usize,
    #[comptime] biased: bool,
    #[comptime] unit: bool,
    #[comptime] learned: bool,
    #[comptime] rotated: bool,
    #[define(D)] _stored: ElemType,
    #[define(T)] _made: ElemType,
) {
    let index = CUBE_POS_X as usize * PLANES + UNIT_POS_Y as usize;
    if index >= count {
        terminate!();
    }
    let lane = UNIT_POS_X as usize;
    let (row, head) = (index / heads, index % heads);
    let (image, token) = (row / tokens, row % tokens);
    let column = head * 32 + lane;
    let mut value = Vector::<f32, N>::cast_from(x[row * x.stride(0) / N::value() + column]);
    if comptime!(biased) {
        value += Vector::<f32, N>::cast_from(bias[column]);
    }
    let mut factor = scale;
    if comptime!(learned) {
        factor *= f32::cast_from(logarithm[head]).min(MAX_LOGARITHM).exp();
    }
    if comptime!(unit) {
        let square = value * value;
        let mut own = 0.0f32;
        #[unroll]
        for i in 0..N::value() {
            own += square.extract(i);
        }
        let length = plane_sum(own).max(1e-24).sqrt();
        factor /= length;
    }
    value *= Vector::<f32, N>::new(factor);
    if comptime!(rotated) {
        let at = token * 32 + lane;
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
    let place = ((image * heads + head) * capacity + start + token) * 32 + lane;
    out[place] = Vector::<T, N>::cast_from(value);
}
