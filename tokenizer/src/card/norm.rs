//! Group norm and SiLU of cells `[n, c]`, row by row: moments of parts of an image, then of all of it, then the result.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::card::memory::{elem, empty};

/// Units of a cube.
const UNITS: usize = 256;

/// Channels that a unit reads at once.
const VECTOR: usize = 4;

/// Rows of cells that a unit reads, one after the other, for the moments of a part.
const DEEP: usize = 16;

/// Epsilon of the norm.
const EPS: f32 = 1e-6;

/// The shapes of a group norm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// Images.
    pub images: usize,
    /// Groups of channels.
    pub groups: usize,
}

/// Whether the kernels take so many channels.
pub(super) fn takes(channels: usize) -> bool {
    channels.is_multiple_of(VECTOR) && channels / VECTOR <= UNITS
}

/// SiLU of the group norm of `x`, `[n, c]` in f32, with weight and bias `[c]` in f32, in another type.
pub(super) fn norm_silu(
    x: CubeTensor,
    weight: CubeTensor,
    bias: CubeTensor,
    rule: Rule,
    dtype: DType,
) -> CubeTensor {
    let [cells, channels] = x.shape().dims();
    let Rule { images, groups } = rule;
    let each = cells / images;
    let x = into_contiguous(x);
    let wide = channels / VECTOR;
    let part = UNITS / wide * DEEP;
    let parts = each.div_ceil(part);
    let moments = empty(&x, Shape::new([images, parts, 2, channels]), DType::F32);
    let affine = empty(&x, Shape::new([images, 2, channels]), DType::F32);
    let out = empty(&x, Shape::new([cells, channels]), dtype);
    let vectors = cells * wide;
    // SAFETY: units keep to the cells and channels that there are.
    unsafe {
        moments_kernel::launch_unchecked(
            &out.client,
            CubeCount::Static(parts as u32, images as u32, 1),
            CubeDim::new_1d(UNITS as u32),
            VECTOR,
            x.clone().into_tensor_arg(),
            moments.clone().into_tensor_arg(),
            each,
            wide,
        );
        affine_kernel::launch_unchecked(
            &out.client,
            CubeCount::Static(groups as u32, images as u32, 1),
            CubeDim::new_1d(UNITS as u32),
            moments.into_tensor_arg(),
            weight.into_tensor_arg(),
            bias.into_tensor_arg(),
            affine.clone().into_tensor_arg(),
            each,
            parts,
            part,
            groups,
            channels,
        );
        apply_kernel::launch_unchecked(
            &out.client,
            CubeCount::Static(vectors.div_ceil(UNITS) as u32, 1, 1),
            CubeDim::new_1d(UNITS as u32),
            VECTOR,
            x.into_tensor_arg(),
            affine.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            vectors,
            each,
            wide,
            elem(dtype),
        );
    }
    out
}

/// Mean, and sum of the squared distances from it, of each channel of a part of an image.
#[cube(launch_unchecked)]
fn moments_kernel<N: Size>(
    x: &Tensor<Vector<f32, N>>,
    moments: &mut Tensor<Vector<f32, N>>,
    each: usize,
    #[comptime] wide: usize,
) {
    let lines = comptime!(UNITS / wide);
    let (part, image) = (CUBE_POS_X as usize, CUBE_POS_Y as usize);
    let unit = UNIT_POS as usize;
    let (line, column) = (unit / wide, unit % wide);
    let first = part * comptime!(lines * DEEP) + line;
    let mut values = Array::<Vector<f32, N>>::new(DEEP);
    let mut sum = Vector::<f32, N>::new(0.0);
    #[unroll]
    for i in 0..DEEP {
        let cell = first + i * lines;
        values[i] = Vector::<f32, N>::new(0.0);
        if cell < each && line < lines {
            values[i] = x[(image * each + cell) * wide + column];
        }
        sum += values[i];
    }
    let cells = (each - part * comptime!(lines * DEEP)).min(comptime!(lines * DEEP));
    let count = Vector::<f32, N>::new(f32::cast_from(cells));
    let mut sums = Shared::<[Vector<f32, N>]>::new_slice(UNITS);
    sums[unit] = sum;
    sync_cube();
    let mean = of_lines::<N>(&sums, column, lines, wide) / count;
    let mut squares = Vector::<f32, N>::new(0.0);
    #[unroll]
    for i in 0..DEEP {
        if first + i * lines < each && line < lines {
            let centred = values[i] - mean;
            squares += centred * centred;
        }
    }
    sync_cube();
    sums[unit] = squares;
    sync_cube();
    if line == 0 {
        let place = (image * CUBE_COUNT_X as usize + part) * comptime!(2 * wide) + column;
        moments[place] = mean;
        moments[place + wide] = of_lines::<N>(&sums, column, lines, wide);
    }
}

/// The sum of a column over all lines.
#[cube]
fn of_lines<N: Size>(
    sums: &Shared<[Vector<f32, N>]>,
    column: usize,
    #[comptime] lines: usize,
    #[comptime] wide: usize,
) -> Vector<f32, N> {
    let mut total = Vector::<f32, N>::new(0.0);
    #[unroll]
    for line in 0..lines {
        total += sums[line * wide + column];
    }
    total
}

/// The scale and shift of the channels of one group of one image, from the moments of all parts.
#[cube(launch_unchecked)]
fn affine_kernel(
    moments: &Tensor<f32>,
    weight: &Tensor<f32>,
    bias: &Tensor<f32>,
    affine: &mut Tensor<f32>,
    each: usize,
    parts: usize,
    part: usize,
    #[comptime] groups: usize,
    #[comptime] channels: usize,
) {
    let (group, image) = (CUBE_POS_X as usize, CUBE_POS_Y as usize);
    let unit = UNIT_POS as usize;
    let size = comptime!(channels / groups);
    // Counts, means and squares of the channels of parts that this unit takes together.
    let mut count = 0.0f32;
    let mut mean = 0.0f32;
    let mut squares = 0.0f32;
    let mut i = unit;
    while i < parts * size {
        let (of, channel) = (i / size, group * size + i % size);
        let at = (image * parts + of) * comptime!(2 * channels) + channel;
        let other = f32::cast_from((each - of * part).min(part));
        let away = moments[at] - mean;
        let both = count + other;
        mean += away * other / both;
        squares += moments[at + channels] + away * away * count * other / both;
        count = both;
        i += UNITS;
    }
    let mut counts = Shared::<[f32]>::new_slice(UNITS);
    let mut means = Shared::<[f32]>::new_slice(UNITS);
    let mut distances = Shared::<[f32]>::new_slice(UNITS);
    counts[unit] = count;
    means[unit] = mean;
    distances[unit] = squares;
    sync_cube();
    let mut half = comptime!(UNITS / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = counts[unit + half];
            let away = means[unit + half] - means[unit];
            let both = counts[unit] + other;
            if other > 0.0 {
                distances[unit] +=
                    distances[unit + half] + away * away * counts[unit] * other / both;
                means[unit] += away * other / both;
                counts[unit] = both;
            }
        }
        sync_cube();
        half /= 2;
    }
    let factor = 1.0f32 / (distances[0] / counts[0] + EPS).sqrt();
    let mut channel = unit;
    while channel < size {
        let at = group * size + channel;
        let scale = weight[at] * factor;
        affine[image * 2 * channels + at] = scale;
        affine[(image * 2 + 1) * channels + at] = bias[at] - means[0] * scale;
        channel += UNITS;
    }
}

/// SiLU of `x` times the scale plus the shift of each channel.
#[cube(launch_unchecked)]
fn apply_kernel<D: Float, N: Size>(
    x: &Tensor<Vector<f32, N>>,
    affine: &Tensor<Vector<f32, N>>,
    out: &mut Tensor<Vector<D, N>>,
    vectors: usize,
    each: usize,
    #[comptime] wide: usize,
    #[define(D)] _made: ElemType,
) {
    let at = CUBE_POS_X as usize * UNITS + UNIT_POS as usize;
    if at >= vectors {
        terminate!();
    }
    let (image, column) = (at / (each * wide), at % wide);
    let scale = affine[image * 2 * wide + column];
    let shift = affine[(image * 2 + 1) * wide + column];
    let value = x[at] * scale + shift;
    let one = Vector::<f32, N>::new(1.0);
    let zero = Vector::<f32, N>::new(0.0);
    out[at] = Vector::<D, N>::cast_from(value / (one + (zero - value).exp()));
}
