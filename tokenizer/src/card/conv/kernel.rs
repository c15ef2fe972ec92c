//! The kernel: a cube computes a tile of the result.

use burn_cubecl::cubecl;
use cubecl::cmma::MmaDefinition;
use cubecl::prelude::*;

use crate::card::fragment::{VECTOR, zeros};
use crate::card::product::stage::{add_planes, multiply_stage, places, read, write};
use crate::card::product::tile::Tile;

#[cube(launch_unchecked)]
pub(super) fn convolve_kernel<E: Float, N: Size>(
    x: &Tensor<Vector<E, N>>,
    weight: &Tensor<Vector<E, N>>,
    bias: &Tensor<f32>,
    residual: &Tensor<f32>,
    out: &mut Tensor<f32>,
    images: usize,
    frames: usize,
    rows: usize,
    columns: usize,
    factor: f32,
    steps: usize,
    #[comptime] channels: usize,
    #[comptime] made: usize,
    #[comptime] side: usize,
    #[comptime] taps: usize,
    #[comptime] up: bool,
    #[comptime] added: bool,
    #[comptime] tile: Tile,
    #[define(E)] _operand: ElemType,
) {
    let size!(P) = 2usize;
    let def = MmaDefinition::<E, E, f32>::new(16usize, 8usize, 16usize);
    let (height, width, depth) = comptime!((tile.height(), tile.width(), tile.depth()));
    let (size_a, size_b) = comptime!((height * (depth / VECTOR + 1), depth * (width / VECTOR + 1)));
    let mut stage_a = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(2 * size_a), 16usize);
    let mut stage_b = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(2 * size_b), 16usize);
    let units = comptime!(tile.units());
    let count = comptime!(height * depth / VECTOR / units);
    let mut next_a = Array::<Vector<E, N>>::new(count);
    let mut next_b = Array::<Vector<E, N>>::new(comptime!(depth * width / VECTOR / units));

    let lane = UNIT_POS_X as usize;
    let (plane_m, plane_n, plane_k) = places(tile);
    let (first, column) = (CUBE_POS_X as usize * height, CUBE_POS_Y as usize * width);
    let cells = images * rows * columns;
    let inner = comptime!(taps * side * side * channels);

    // The cells of the result that this unit gathers for: the first image under the kernel, row and column of each.
    let mut image_of = Array::<u32>::new(count);
    let mut row_of = Array::<i32>::new(count);
    let mut column_of = Array::<i32>::new(count);
    #[unroll]
    for i in 0..count {
        let cell = first + (UNIT_POS as usize + i * units) / comptime!(depth / VECTOR);
        let image = cell / (rows * columns);
        image_of[i] = (image + image / frames * comptime!(taps - 1)) as u32;
        row_of[i] = (cell / columns % rows) as i32;
        column_of[i] = (cell % columns) as i32;
        if cell >= cells {
            // No row of any kernel reaches it.
            row_of[i] = -1000i32;
        }
    }

    let mut sums = Sequence::<Array<Vector<f32, P>>>::new();
    #[unroll]
    for _ in 0..comptime!(tile.rows * tile.columns) {
        sums.push(zeros::<P>());
    }

    gather::<E, N>(
        x,
        &image_of,
        &row_of,
        &column_of,
        0usize,
        rows,
        columns,
        &mut next_a,
        channels,
        side,
        taps,
        up,
        tile,
    );
    read::<E, E, N>(
        weight,
        0usize,
        column,
        inner,
        made,
        &mut next_b,
        depth,
        width,
        units,
    );
    for step in 0..steps {
        let (to_a, to_b) = (step % 2 * size_a, step % 2 * size_b);
        write::<E, N>(&next_a, &mut stage_a, to_a, height, depth, units);
        write::<E, N>(&next_b, &mut stage_b, to_b, depth, width, units);
        sync_cube();
        let from = (step + 1) * depth;
        gather::<E, N>(
            x,
            &image_of,
            &row_of,
            &column_of,
            from,
            rows,
            columns,
            &mut next_a,
            channels,
            side,
            taps,
            up,
            tile,
        );
        read::<E, E, N>(
            weight,
            from,
            column,
            inner,
            made,
            &mut next_b,
            depth,
            width,
            units,
        );
        multiply_stage::<E, N, P>(&def, &stage_a, &stage_b, to_a, to_b, &mut sums, tile);
    }

    if comptime!(tile.planes[2] > 1) {
        add_planes::<P>(&mut sums, plane_k, tile);
    }
    if plane_k == 0 {
        let row = first + plane_m * comptime!(16 * tile.rows) + lane / 4;
        let column = column + plane_n * comptime!(8 * tile.columns) + lane % 4 * 2;
        write_sums::<P>(
            &sums, bias, residual, out, row, column, cells, factor, made, added, tile,
        );
    }
}

/// Writes what the unit has summed up, from its row and column on, with the bias and the residual.
#[cube]
fn write_sums<P: Size>(
    sums: &Sequence<Array<Vector<f32, P>>>,
    bias: &Tensor<f32>,
    residual: &Tensor<f32>,
    out: &mut Tensor<f32>,
    row: usize,
    column: usize,
    cells: usize,
    factor: f32,
    #[comptime] made: usize,
    #[comptime] added: bool,
    #[comptime] tile: Tile,
) {
    #[unroll]
    for i in 0..comptime!(tile.rows) {
        #[unroll]
        for half in 0..2usize {
            let row = row + i * 16 + half * 8;
            #[unroll]
            for j in 0..comptime!(tile.columns) {
                let two = sums.index(comptime!(i * tile.columns + j))[half];
                let column = column + j * 8;
                if row < cells && column < made {
                    #[unroll]
                    for e in 0..2usize {
                        let at = row * made + column + e;
                        let mut value = two.extract(e) * factor + bias[column + e];
                        if comptime!(added) {
                            value += residual[at];
                        }
                        out[at] = value;
                    }
                }
            }
        }
    }
}

/// This unit's part of the rows of the first factor, from a place of the inner axis on: which runs over the frames, rows and columns
/// of the kernel, then over the channels. Zeros outside the image.
#[cube]
fn gather<E: Float, N: Size>(
    x: &Tensor<Vector<E, N>>,
    image_of: &Array<u32>,
    row_of: &Array<i32>,
    column_of: &Array<i32>,
    from: usize,
    rows: usize,
    columns: usize,
    to: &mut Array<Vector<E, N>>,
    #[comptime] channels: usize,
    #[comptime] side: usize,
    #[comptime] taps: usize,
    #[comptime] up: bool,
    #[comptime] tile: Tile,
) {
    let pieces = comptime!(tile.depth() / VECTOR);
    let units = comptime!(tile.units());
    let pitch = x.stride(0) / VECTOR;
    #[unroll]
    for i in 0..comptime!(tile.height() * tile.depth() / VECTOR / units) {
        let inner = from + (UNIT_POS as usize + i * units) % pieces * VECTOR;
        let tap = inner / channels;
        let row = row_of[i] + (tap / side % side) as i32 - comptime!(side as i32 / 2);
        let column = column_of[i] + (tap % side) as i32 - comptime!(side as i32 / 2);
        to[i] = Vector::<E, N>::new(E::from_int(0));
        let inside = row >= 0i32 && row < rows as i32 && column >= 0i32 && column < columns as i32;
        if inside && tap < comptime!(taps * side * side) {
            let mut row = row as usize;
            let mut column = column as usize;
            let mut rows = rows;
            let mut columns = columns;
            if comptime!(up) {
                row /= 2;
                column /= 2;
                rows /= 2;
                columns /= 2;
            }
            let image = image_of[i] as usize + tap / comptime!(side * side);
            let cell = (image * rows + row) * columns + column;
            to[i] = x[cell * pitch + inner % channels / VECTOR];
        }
    }
}
