//! The kernel: a cube computes a tile of the result.

use burn_cubecl::cubecl;
use cubecl::cmma::MmaDefinition;
use cubecl::prelude::*;

use crate::card::fragment::{VECTOR, zeros};
use crate::card::product::stage::{add_planes, multiply_stage, places, read, write};
use crate::card::product::tile::Tile;

/// What is done with a product before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Finish {
    /// Nothing.
    Plain,
    /// The bias is added, then GELU in the tanh approximation.
    Gelu,
}

/// Columns of each of the second factors.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct Columns {
    pub first: usize,
    pub second: usize,
    pub third: usize,
}

#[cube(launch_unchecked)]
pub(super) fn product_kernel<E: Float, S: Numeric, O: Float, N: Size>(
    a: &Tensor<Vector<E, N>>,
    first: &Tensor<Vector<S, N>>,
    second: &Tensor<Vector<S, N>>,
    third: &Tensor<Vector<S, N>>,
    bias: &Tensor<E>,
    factors: &Tensor<f32>,
    out: &mut Tensor<O>,
    all_rows: usize,
    columns: &Columns,
    inner: usize,
    #[comptime] several: bool,
    #[comptime] scaled: bool,
    #[comptime] tile: Tile,
    #[comptime] finish: Finish,
    #[define(E)] _operand: ElemType,
    #[define(S)] _stored: ElemType,
    #[define(O)] _result: ElemType,
) {
    let size!(P) = 2usize;
    let def = MmaDefinition::<E, E, f32>::new(16usize, 8usize, 16usize);
    let (height, width, depth) = comptime!((tile.height(), tile.width(), tile.depth()));
    let (pitch_a, pitch_b) = comptime!((depth / VECTOR + 1, width / VECTOR + 1));
    let (size_a, size_b) = comptime!((height * pitch_a, depth * pitch_b));
    let mut stage_a = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(2 * size_a), 16usize);
    let mut stage_b = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(2 * size_b), 16usize);
    let units = comptime!(tile.units());
    let mut next_a = Array::<Vector<E, N>>::new(comptime!(height * depth / VECTOR / units));
    let mut next_b = Array::<Vector<E, N>>::new(comptime!(depth * width / VECTOR / units));

    let lane = UNIT_POS_X as usize;
    let (plane_m, plane_n, plane_k) = places(tile);
    let row = CUBE_POS_X as usize * height;

    // Which of the second factors the cube multiplies, and where its columns are in that one and in the result.
    let mut which = 0usize;
    let mut place = CUBE_POS_Y as usize;
    let mut before = 0usize;
    let mut all_columns = columns.first;
    if comptime!(several) {
        let tiles = columns.first.div_ceil(width);
        if place >= tiles {
            place -= tiles;
            which = 1usize;
            before = columns.first;
            all_columns = columns.second;
            let tiles = columns.second.div_ceil(width);
            if place >= tiles {
                place -= tiles;
                which = 2usize;
                before += columns.second;
                all_columns = columns.third;
            }
        }
    }
    let column = place * width;
    let pitch = columns.first + columns.second + columns.third;

    let mut sums = Sequence::<Array<Vector<f32, P>>>::new();
    #[unroll]
    for _ in 0..comptime!(tile.rows * tile.columns) {
        sums.push(zeros::<P>());
    }

    read::<E, E, N>(
        a,
        row,
        0usize,
        all_rows,
        inner,
        &mut next_a,
        height,
        depth,
        units,
    );
    read_one::<S, E, N>(
        first,
        second,
        third,
        which,
        0usize,
        column,
        inner,
        all_columns,
        &mut next_b,
        several,
        tile,
    );
    let steps = inner.div_ceil(depth);
    for step in 0..steps {
        let (to_a, to_b) = (step % 2 * size_a, step % 2 * size_b);
        write::<E, N>(&next_a, &mut stage_a, to_a, height, depth, units);
        write::<E, N>(&next_b, &mut stage_b, to_b, depth, width, units);
        sync_cube();
        let from = (step + 1) * depth;
        read::<E, E, N>(
            a,
            row,
            from,
            all_rows,
            inner,
            &mut next_a,
            height,
            depth,
            units,
        );
        read_one::<S, E, N>(
            first,
            second,
            third,
            which,
            from,
            column,
            inner,
            all_columns,
            &mut next_b,
            several,
            tile,
        );
        multiply_stage::<E, N, P>(&def, &stage_a, &stage_b, to_a, to_b, &mut sums, tile);
    }

    if comptime!(tile.planes[2] > 1) {
        add_planes::<P>(&mut sums, plane_k, tile);
    }
    if plane_k == 0 {
        let row = row + plane_m * comptime!(16 * tile.rows) + lane / 4;
        let column = column + plane_n * comptime!(8 * tile.columns) + lane % 4 * 2;
        write_sums::<E, O, P>(
            &sums,
            bias,
            factors,
            out,
            row,
            column,
            all_rows,
            all_columns,
            before,
            pitch,
            scaled,
            tile,
            finish,
        );
    }
}

/// [`read`] of one of the second factors, where there are several.
#[cube]
fn read_one<S: Numeric, E: Float, N: Size>(
    first: &Tensor<Vector<S, N>>,
    second: &Tensor<Vector<S, N>>,
    third: &Tensor<Vector<S, N>>,
    which: usize,
    row: usize,
    column: usize,
    rows: usize,
    columns: usize,
    to: &mut Array<Vector<E, N>>,
    #[comptime] several: bool,
    #[comptime] tile: Tile,
) {
    let (height, width, units) = comptime!((tile.depth(), tile.width(), tile.units()));
    if comptime!(several) {
        if which == 0 {
            read::<S, E, N>(first, row, column, rows, columns, to, height, width, units);
        } else if which == 1 {
            read::<S, E, N>(second, row, column, rows, columns, to, height, width, units);
        } else {
            read::<S, E, N>(third, row, column, rows, columns, to, height, width, units);
        }
    } else {
        read::<S, E, N>(first, row, column, rows, columns, to, height, width, units);
    }
}

/// Writes what the unit has summed up, from its row and column on; columns of the factor come after `before` others in the result.
#[cube]
fn write_sums<E: Float, O: Float, P: Size>(
    sums: &Sequence<Array<Vector<f32, P>>>,
    bias: &Tensor<E>,
    factors: &Tensor<f32>,
    out: &mut Tensor<O>,
    row: usize,
    column: usize,
    all_rows: usize,
    all_columns: usize,
    before: usize,
    pitch: usize,
    #[comptime] scaled: bool,
    #[comptime] tile: Tile,
    #[comptime] finish: Finish,
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
                if row < all_rows && column < all_columns {
                    #[unroll]
                    for e in 0..2usize {
                        let mut value = two.extract(e);
                        if comptime!(scaled) {
                            value *= factors[column + e];
                        }
                        if comptime!(finish == Finish::Gelu) {
                            value = gelu(value + f32::cast_from(bias[column + e]));
                        }
                        out[row * pitch + before + column + e] = O::cast_from(value);
                    }
                }
            }
        }
    }
}

/// `x h` with `h = 1 / (1 + exp(-2 z))` and `z = sqrt(2/pi) (x + 0.044715 x^3)`.
#[cube]
fn gelu(x: f32) -> f32 {
    let z = (x * x * comptime!(0.797_884_6f32 * 0.044_715f32) + 0.797_884_6f32) * x;
    x / (1.0f32 + (z * -2.0f32).exp())
}
