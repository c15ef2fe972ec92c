//! Norm over the channels of each cell, scale and shift from a coarser grid, and SiLU.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::card::memory::{elem, empty, readable};

/// Planes of a cube; each takes one cell.
const PLANES: usize = 8;

/// The smallest length by which a cell is divided.
const LEAST: f32 = 1e-12;

/// The shapes of a norm over channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// Clips, frames, rows and columns.
    pub grid: [usize; 4],
    /// The grid of scale and shift, if they count, and whether its first frame stands for one frame.
    pub coarse: Option<([usize; 4], bool)>,
}

/// Frames, rows and columns of a grid.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct Sides {
    frames: usize,
    rows: usize,
    columns: usize,
}

/// SiLU of `x`, `[n, c]` in f32, times `sqrt(c) gamma / max(|x|, 1e-12)`, times the scale plus the shift, `[m, c]` in f32 each.
pub(super) fn norm_silu(
    x: CubeTensor,
    gamma: CubeTensor,
    [scale, shift]: [CubeTensor; 2],
    rule: Rule,
    dtype: DType,
) -> CubeTensor {
    let [cells, channels] = x.shape().dims();
    let out = empty(&x, Shape::new([cells, channels]), dtype);
    let [_, frames, rows, columns] = rule.grid;
    let fine = SidesLaunch::new(frames, rows, columns);
    let (grid, first) = rule.coarse.unwrap_or((rule.grid, false));
    let coarse = SidesLaunch::new(grid[1], grid[2], grid[3]);
    let alone = usize::from(first);
    // Frames for which each frame after the first one stands.
    let each = (frames - alone) / (grid[1] - alone).max(1);
    let [x, scale, shift] = [x, scale, shift].map(|x| readable(x, 1));
    // SAFETY: planes after the last cell end at once, and a scale and shift that do not count are not read.
    unsafe {
        norm_kernel::launch_unchecked(
            &out.client,
            CubeCount::Static(cells.div_ceil(PLANES) as u32, 1, 1),
            CubeDim::new_2d(32, PLANES as u32),
            x.into_tensor_arg(),
            gamma.into_tensor_arg(),
            scale.into_tensor_arg(),
            shift.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            cells,
            fine,
            coarse,
            alone,
            each.max(1),
            channels,
            rule.coarse.is_some(),
            elem(dtype),
        );
    }
    out
}

#[cube(launch_unchecked)]
fn norm_kernel<D: Float>(
    x: &Tensor<f32>,
    gamma: &Tensor<f32>,
    scale: &Tensor<f32>,
    shift: &Tensor<f32>,
    out: &mut Tensor<D>,
    cells: usize,
    fine: &Sides,
    coarse: &Sides,
    alone: usize,
    each: usize,
    #[comptime] channels: usize,
    #[comptime] conditioned: bool,
    #[define(D)] _made: ElemType,
) {
    let cell = CUBE_POS_X as usize * PLANES + UNIT_POS_Y as usize;
    if cell >= cells {
        terminate!();
    }
    let lane = UNIT_POS_X as usize;
    let count = comptime!(channels.div_ceil(32));
    let mut values = Array::<f32>::new(count);
    let mut squares = 0.0f32;
    #[unroll]
    for i in 0..count {
        let channel = lane + i * 32;
        values[i] = 0.0f32;
        if channel < channels {
            values[i] = x[cell * x.stride(0) + channel];
        }
        squares += values[i] * values[i];
    }
    let length = plane_sum(squares).sqrt().max(LEAST);
    let factor = comptime!((channels as f32).sqrt()) / length;

    let mut condition = 0usize;
    if comptime!(conditioned) {
        let column = cell % fine.columns * coarse.columns / fine.columns;
        let row = cell / fine.columns % fine.rows * coarse.rows / fine.rows;
        let frame = cell / (fine.columns * fine.rows) % fine.frames;
        let clip = cell / (fine.columns * fine.rows * fine.frames);
        let mut from = frame;
        if frame >= alone {
            from = alone + (frame - alone) / each;
        }
        condition = ((clip * coarse.frames + from) * coarse.rows + row) * coarse.columns + column;
    }
    #[unroll]
    for i in 0..count {
        let channel = lane + i * 32;
        if channel < channels {
            let mut value = values[i] * factor * gamma[channel];
            if comptime!(conditioned) {
                value = value * scale[condition * scale.stride(0) + channel]
                    + shift[condition * shift.stride(0) + channel];
            }
            out[cell * channels + channel] = D::cast_from(value / (1.0f32 + (-value).exp()));
        }
    }
}
