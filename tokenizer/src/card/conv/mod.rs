//! Convolution as a product: each row of the first factor is gathered from the cells around one cell of the result.

mod kernel;

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::card::fragment::VECTOR;
use crate::card::memory::{elem, empty, readable};
use crate::card::product::tile::Tile;

/// The shapes of a convolution with stride 1 that keeps the numbers of rows and columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// Clips, frames, rows and columns of the result. An image is a clip of one frame.
    pub grid: [usize; 4],
    /// Side of the kernel, odd.
    pub side: usize,
    /// Frames under the kernel; the input has so many less one before the first one of the result.
    pub taps: usize,
    /// Whether each cell of the input stands for 2 x 2 cells.
    pub up: bool,
    /// Factor on the product, before the bias.
    pub factor: f32,
    /// Whether the residual counts.
    pub residual: bool,
}

/// The convolution of `x`, cells `[n, c]` in f16, row by row, with `[taps side side c, c']` in f16 and a bias `[c']` in f32, plus the
/// residual, `[n', c']` in f32: `[n', c']` in f32. Both numbers of channels are multiples of 8.
pub(super) fn convolve(
    x: CubeTensor,
    weight: CubeTensor,
    bias: CubeTensor,
    residual: CubeTensor,
    rule: Rule,
) -> CubeTensor {
    let [clips, frames, rows, columns] = rule.grid;
    let (channels, made) = (x.shape()[1], weight.shape()[1]);
    let images = clips * frames;
    let cells = images * rows * columns;
    let out = empty(&x, Shape::new([cells, made]), DType::F32);
    let [x, weight] = [x, weight].map(|x| readable(x, VECTOR));
    let residual = if rule.residual {
        readable(residual, 1)
    } else {
        bias.clone()
    };
    let tile = Tile::of(cells, made);
    let stored = elem(x.dtype);
    // SAFETY: nothing outside the input and the result is read or written, and a residual that does not count is not read.
    unsafe {
        kernel::convolve_kernel::launch_unchecked(
            &out.client,
            CubeCount::Static(
                cells.div_ceil(tile.height()) as u32,
                made.div_ceil(tile.width()) as u32,
                1,
            ),
            CubeDim::new_2d(32, tile.units() as u32 / 32),
            VECTOR,
            x.into_tensor_arg(),
            weight.into_tensor_arg(),
            bias.into_tensor_arg(),
            residual.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            images,
            frames,
            rows,
            columns,
            rule.factor,
            // Not a constant of the kernel: its loop would be unrolled into thousands of instructions.
            (rule.taps * rule.side * rule.side * channels).div_ceil(tile.depth()),
            channels,
            made,
            rule.side,
            rule.taps,
            rule.up,
            rule.residual,
            tile,
            stored,
        );
    }
    out
}
