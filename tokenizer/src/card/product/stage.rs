//! From the card's memory through that of a cube into the sums of a plane.

use burn_cubecl::cubecl;
use cubecl::cmma::{MatrixIdent, MmaDefinition};
use cubecl::prelude::*;

use crate::card::fragment::{VECTOR, multiply};
use crate::card::product::tile::Tile;

/// Adds the products of what is at two places in shared memory to the sums of this unit.
#[cube]
pub(crate) fn multiply_stage<E: Float, N: Size, P: Size>(
    def: &MmaDefinition<E, E, f32>,
    stage_a: &Shared<[Vector<E, N>]>,
    stage_b: &Shared<[Vector<E, N>]>,
    to_a: usize,
    to_b: usize,
    sums: &mut Sequence<Array<Vector<f32, P>>>,
    #[comptime] tile: Tile,
) {
    let (pitch_a, pitch_b) = comptime!((tile.depth() / VECTOR + 1, tile.width() / VECTOR + 1));
    let lane = UNIT_POS_X as usize;
    let (plane_m, plane_n, plane_k) = places(tile);
    #[unroll]
    for half in 0..2usize {
        let mut rows = Sequence::<Array<Vector<E, P>>>::new();
        #[unroll]
        for i in 0..comptime!(tile.rows) {
            let at = (plane_m * comptime!(16 * tile.rows) + i * 16 + lane % 16) * pitch_a;
            let at = to_a + at + plane_k * 4 + half * 2 + lane / 16;
            rows.push(def.load_matrix::<Vector<E, N>, P>(
                &stage_a[at..at + 1],
                MatrixIdent::A,
                4usize,
                false,
            ));
        }
        #[unroll]
        for pair in 0..comptime!(tile.columns / 2) {
            let at = (plane_k * 32 + half * 16 + lane % 16) * pitch_b;
            let at = to_b + at + plane_n * tile.columns + pair * 2 + lane / 16;
            let both = def.load_matrix::<Vector<E, N>, P>(
                &stage_b[at..at + 1],
                MatrixIdent::B,
                4usize,
                true,
            );
            #[unroll]
            for i in 0..comptime!(tile.rows) {
                #[unroll]
                for j in 0..2usize {
                    let place = comptime!(i * tile.columns + pair * 2 + j);
                    multiply::<E, P>(def, rows.index(i), &both, j, sums.index_mut(place));
                }
            }
        }
    }
}

/// The place of this unit's plane along the rows, the columns and the inner axis.
#[cube]
pub(crate) fn places(#[comptime] tile: Tile) -> (usize, usize, usize) {
    let plane = UNIT_POS_Y as usize;
    let [planes_m, planes_n, _] = comptime!(tile.planes);
    (
        plane % planes_m,
        plane / planes_m % planes_n,
        plane / comptime!(planes_m * planes_n),
    )
}

/// Adds the sums of all planes that share an inner axis to those of the first.
#[cube]
pub(crate) fn add_planes<P: Size>(
    sums: &mut Sequence<Array<Vector<f32, P>>>,
    plane: usize,
    #[comptime] tile: Tile,
) {
    let count = comptime!(tile.rows * tile.columns);
    let planes = comptime!(tile.planes[2]);
    // Planes with different rows or columns of the tile.
    let others = comptime!(tile.planes[0] * tile.planes[1]);
    let mut scratch =
        Shared::<[Vector<f32, P>]>::new_slice(comptime!((planes - 1) * others * count * 2 * 32));
    let lane = UNIT_POS_X as usize;
    let own = UNIT_POS_Y as usize % others;
    if plane > 0 {
        #[unroll]
        for i in 0..count {
            #[unroll]
            for half in 0..2usize {
                let at = ((((plane - 1) * others + own) * count + i) * 2 + half) * 32 + lane;
                scratch[at] = sums.index(i)[half];
            }
        }
    }
    sync_cube();
    if plane == 0 {
        #[unroll]
        for i in 0..count {
            #[unroll]
            for half in 0..2usize {
                let mut sum = sums.index(i)[half];
                #[unroll]
                for other in 0..comptime!(planes - 1) {
                    sum += scratch[(((other * others + own) * count + i) * 2 + half) * 32 + lane];
                }
                sums.index_mut(i)[half] = sum;
            }
        }
    }
}

/// This unit's part of a piece of a matrix, `height` x `width` from a place on, as numbers of another type; zeros outside `rows` x
/// `columns`.
#[cube]
pub(crate) fn read<S: Numeric, E: Float, N: Size>(
    from: &Tensor<Vector<S, N>>,
    row: usize,
    column: usize,
    rows: usize,
    columns: usize,
    to: &mut Array<Vector<E, N>>,
    #[comptime] height: usize,
    #[comptime] width: usize,
    #[comptime] units: usize,
) {
    let pieces = comptime!(width / VECTOR);
    let pitch = from.stride(0) / VECTOR;
    #[unroll]
    for i in 0..comptime!(height * width / VECTOR / units) {
        let at = UNIT_POS as usize + i * units;
        let row = row + at / pieces;
        let column = column + at % pieces * VECTOR;
        to[i] = Vector::<E, N>::new(E::from_int(0));
        if row < rows && column < columns {
            to[i] = Vector::<E, N>::cast_from(from[row * pitch + column / VECTOR]);
        }
    }
}

/// Puts what [`read`] read where all units of the cube see it.
#[cube]
pub(crate) fn write<E: Float, N: Size>(
    from: &Array<Vector<E, N>>,
    to: &mut Shared<[Vector<E, N>]>,
    start: usize,
    #[comptime] height: usize,
    #[comptime] width: usize,
    #[comptime] units: usize,
) {
    let pieces = comptime!(width / VECTOR);
    #[unroll]
    for i in 0..comptime!(height * width / VECTOR / units) {
        let at = UNIT_POS as usize + i * units;
        to[start + at / pieces * comptime!(pieces + 1) + at % pieces] = from[i];
    }
}
