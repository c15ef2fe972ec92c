//! What is done with the rows of the residual stream between two matrix products.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::card::cube::{PLANES, UNITS, total};
use crate::layers::EPS;
use nextscale_tokenizer::card::memory::{elem, empty, readable};

/// Numbers that a unit reads at once.
const VECTOR: usize = 4;

/// A norm, as far as it has no weights.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// What is added to the scale.
    pub plus: f32,
    /// Whether the mean is taken off first; without it, rows are divided by the root of their mean square.
    pub centred: bool,
}

/// What follows the norm of `x`: `norm(x) * (plus + scale) + shift`. Scale and shift are `[r, c]` in f32; each of their rows
/// serves as many rows of `x`.
pub(super) struct Affine {
    pub scale: CubeTensor,
    pub shift: CubeTensor,
    pub rule: Rule,
}

/// What is added to the residual stream: `(y + bias) * gain`. `y` is `[n, c]` and `bias`, if there is one, `[c]`, both of one type;
/// `gain` is `[r, c]` in f32.
pub(super) struct Branch {
    pub y: CubeTensor,
    pub bias: Option<CubeTensor>,
    pub gain: CubeTensor,
}

/// `norm(x) * (plus + scale) + shift` of `x`, `[n, c]` in f32, in another type.
pub(super) fn norm(x: CubeTensor, affine: Affine, dtype: DType) -> CubeTensor {
    let shape = x.shape();
    let [n, width] = [shape[0], shape[1] / VECTOR];
    let out = empty(&x, shape, dtype);
    let [x, scale, shift] = [x, affine.scale, affine.shift].map(|x| readable(x, VECTOR));
    // SAFETY: every unit keeps to its row and to the width of the rows.
    unsafe {
        norm_kernel::launch_unchecked(
            &out.client,
            CubeCount::Static(n as u32, 1, 1),
            CubeDim::new_2d(32, PLANES as u32),
            VECTOR,
            x.into_tensor_arg(),
            scale.into_tensor_arg(),
            shift.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            affine.rule.plus,
            n,
            affine.rule.centred,
            width,
            elem(dtype),
        );
    }
    out
}

/// `x + (y + bias) * gain`, in f32, and the norm of that as [`norm`], in the type of `y`.
pub(super) fn add_norm(x: CubeTensor, branch: Branch, affine: Affine) -> (CubeTensor, CubeTensor) {
    let (shape, dtype) = (x.shape(), branch.y.dtype);
    let [n, width] = [shape[0], shape[1] / VECTOR];
    let sum = empty(&x, shape.clone(), DType::F32);
    let out = empty(&x, shape, dtype);
    let Branch { y, bias, gain } = branch;
    let biased = bias.is_some();
    let bias = bias.unwrap_or_else(|| y.clone());
    let [x, y, bias, gain] = [x, y, bias, gain].map(|x| readable(x, VECTOR));
    let [scale, shift] = [affine.scale, affine.shift].map(|x| readable(x, VECTOR));
    // SAFETY: every unit keeps to its row and to the width of the rows.
    unsafe {
        add_norm_kernel::launch_unchecked(
            &out.client,
            CubeCount::Static(n as u32, 1, 1),
            CubeDim::new_2d(32, PLANES as u32),
            VECTOR,
            x.into_tensor_arg(),
            y.into_tensor_arg(),
            bias.into_tensor_arg(),
            gain.into_tensor_arg(),
            scale.into_tensor_arg(),
            shift.into_tensor_arg(),
            sum.clone().into_tensor_arg(),
            out.clone().into_tensor_arg(),
            affine.rule.plus,
            n,
            affine.rule.centred,
            biased,
            width,
            elem(dtype),
        );
    }
    (sum, out)
}

/// `x + (y + bias) * gain` of `x`, `[n, c]` in f32.
pub(super) fn add(x: CubeTensor, branch: Branch) -> CubeTensor {
    let (shape, dtype) = (x.shape(), branch.y.dtype);
    let [n, width] = [shape[0], shape[1] / VECTOR];
    let sum = empty(&x, shape, DType::F32);
    let Branch { y, bias, gain } = branch;
    let biased = bias.is_some();
    let bias = bias.unwrap_or_else(|| y.clone());
    let [x, y, bias, gain] = [x, y, bias, gain].map(|x| readable(x, VECTOR));
    let vectors = n * width;
    // SAFETY: units after the last vector end at once.
    unsafe {
        add_kernel::launch_unchecked(
            &sum.client,
            CubeCount::Static(vectors.div_ceil(UNITS) as u32, 1, 1),
            CubeDim::new_2d(32, PLANES as u32),
            VECTOR,
            x.into_tensor_arg(),
            y.into_tensor_arg(),
            bias.into_tensor_arg(),
            gain.into_tensor_arg(),
            sum.clone().into_tensor_arg(),
            n,
            biased,
            width,
            elem(dtype),
        );
    }
    sum
}

#[cube(launch_unchecked)]
fn norm_kernel<D: Float, N: Size>(
    x: &Tensor<Vector<f32, N>>,
    scale: &Tensor<Vector<f32, N>>,
    shift: &Tensor<Vector<f32, N>>,
    out: &mut Tensor<Vector<D, N>>,
    plus: f32,
    rows: usize,
    #[comptime] centred: bool,
    #[comptime] width: usize,
    #[define(D)] _dtype: ElemType,
) {
    let row = CUBE_POS_X as usize;
    let count = comptime!(width.div_ceil(UNITS));
    let mut values = Array::<Vector<f32, N>>::new(count);
    let start = row * x.stride(0) / N::value();
    #[unroll]
    for i in 0..count {
        let at = UNIT_POS as usize + i * UNITS;
        values[i] = Vector::<f32, N>::new(0.0);
        if at < width {
            values[i] = x[start + at];
        }
    }
    write_norm::<D, N>(
        &mut values,
        scale,
        shift,
        out,
        plus,
        row,
        rows,
        centred,
        width,
    );
}

#[cube(launch_unchecked)]
fn add_norm_kernel<D: Float, N: Size>(
    x: &Tensor<Vector<f32, N>>,
    y: &Tensor<Vector<D, N>>,
    bias: &Tensor<Vector<D, N>>,
    gain: &Tensor<Vector<f32, N>>,
    scale: &Tensor<Vector<f32, N>>,
    shift: &Tensor<Vector<f32, N>>,
    sum: &mut Tensor<Vector<f32, N>>,
    out: &mut Tensor<Vector<D, N>>,
    plus: f32,
    rows: usize,
    #[comptime] centred: bool,
    #[comptime] biased: bool,
    #[comptime] width: usize,
    #[define(D)] _dtype: ElemType,
) {
    let row = CUBE_POS_X as usize;
    let count = comptime!(width.div_ceil(UNITS));
    let mut values = Array::<Vector<f32, N>>::new(count);
    let start = row * x.stride(0) / N::value();
    let branch = row * y.stride(0) / N::value();
    let gains = row * gain.shape(0) / rows * gain.stride(0) / N::value();
    #[unroll]
    for i in 0..count {
        let at = UNIT_POS as usize + i * UNITS;
        values[i] = Vector::<f32, N>::new(0.0);
        if at < width {
            let mut added = Vector::<f32, N>::cast_from(y[branch + at]);
            if comptime!(biased) {
                added += Vector::<f32, N>::cast_from(bias[at]);
            }
            let value = x[start + at] + added * gain[gains + at];
            sum[row * width + at] = value;
            values[i] = value;
        }
    }
    write_norm::<D, N>(
        &mut values,
        scale,
        shift,
        out,
        plus,
        row,
        rows,
        centred,
        width,
    );
}

#[cube(launch_unchecked)]
fn add_kernel<D: Float, N: Size>(
    x: &Tensor<Vector<f32, N>>,
    y: &Tensor<Vector<D, N>>,
    bias: &Tensor<Vector<D, N>>,
    gain: &Tensor<Vector<f32, N>>,
    sum: &mut Tensor<Vector<f32, N>>,
    rows: usize,
    #[comptime] biased: bool,
    #[comptime] width: usize,
    #[define(D)] _dtype: ElemType,
) {
    let at = CUBE_POS_X as usize * UNITS + UNIT_POS as usize;
    if at >= rows * width {
        terminate!();
    }
    let (row, column) = (at / width, at % width);
    let gains = row * gain.shape(0) / rows * gain.stride(0) / N::value();
    let mut added = Vector::<f32, N>::cast_from(y[row * y.stride(0) / N::value() + column]);
    if comptime!(biased) {
        added += Vector::<f32, N>::cast_from(bias[column]);
    }
    sum[at] = x[row * x.stride(0) / N::value() + column] + added * gain[gains + column];
}

/// Writes the norm of a row whose numbers the units of the cube hold.
#[cube]
fn write_norm<D: Float, N: Size>(
    values: &mut Array<Vector<f32, N>>,
    scale: &Tensor<Vector<f32, N>>,
    shift: &Tensor<Vector<f32, N>>,
    out: &mut Tensor<Vector<D, N>>,
    plus: f32,
    row: usize,
    rows: usize,
    #[comptime] centred: bool,
    #[comptime] width: usize,
) {
    let count = comptime!(width.div_ceil(UNITS));
    let length = comptime!((width * VECTOR) as f32);
    let mut sums = Shared::<[f32]>::new_slice(PLANES);
    let mut mean = Vector::<f32, N>::new(0.0);
    if comptime!(centred) {
        let mut total = Vector::<f32, N>::new(0.0);
        #[unroll]
        for i in 0..count {
            total += values[i];
        }
        mean = Vector::<f32, N>::new(sum_of_cube::<N>(total, &mut sums) / length);
    }
    let mut squares = Vector::<f32, N>::new(0.0);
    #[unroll]
    for i in 0..count {
        if UNIT_POS as usize + i * UNITS < width {
            let centred = values[i] - mean;
            values[i] = centred;
            squares += centred * centred;
        }
    }
    let variance = sum_of_cube::<N>(squares, &mut sums) / length;
    let factor = 1.0 / (variance + comptime!(EPS as f32)).sqrt();
    let factor = Vector::<f32, N>::new(factor);
    let condition = row * scale.shape(0) / rows;
    let scales = condition * scale.stride(0) / N::value();
    let shifts = row * shift.shape(0) / rows * shift.stride(0) / N::value();
    #[unroll]
    for i in 0..count {
        let at = UNIT_POS as usize + i * UNITS;
        if at < width {
            let gain = scale[scales + at] + Vector::<f32, N>::new(plus);
            let value = values[i] * factor * gain + shift[shifts + at];
            out[row * width + at] = Vector::<D, N>::cast_from(value);
        }
    }
}

/// The sum over all units of a cube; every unit gets it.
#[cube]
fn sum_of_cube<N: Size>(value: Vector<f32, N>, sums: &mut Shared<[f32]>) -> f32 {
    let mut own = 0.0f32;
    #[unroll]
    for i in 0..N::value() {
        own += value.extract(i);
    }
    total(own, sums)
}
