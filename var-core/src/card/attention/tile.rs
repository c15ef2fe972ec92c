//! Tiles of queries, keys and values, from the card's memory to that of a cube.

use burn_cubecl::cubecl;
use cubecl::prelude::*;
use nextscale_tokenizer::card::fragment::VECTOR;

/// Planes of a cube; each has 16 rows of queries.
pub(super) const PLANES: usize = 4;

/// Units of a cube.
pub(super) const UNITS: usize = 32 * PLANES;

/// Queries of a cube.
pub(super) const QUERIES: usize = 16 * PLANES;

/// Keys of a tile, as many as queries.
pub(super) const KEYS: usize = QUERIES;

/// This unit's part of a tile of keys or values, of the first set or of the second.
#[cube]
pub(super) fn read_keys<E: Float, N: Size>(
    from: &Tensor<Vector<E, N>>,
    more: &Tensor<Vector<E, N>>,
    image: usize,
    group: usize,
    tile: usize,
    keys: usize,
    more_keys: usize,
    to: &mut Array<Vector<E, N>>,
    #[comptime] d: usize,
    #[comptime] split: bool,
) {
    let start = (image * from.stride(0) + group * from.stride(1)) / VECTOR;
    if comptime!(split) {
        let of_first = keys.div_ceil(KEYS);
        if tile < of_first {
            read_tile::<E, N>(from, start, tile * KEYS, keys, to, d);
        } else {
            let start = (image * more.stride(0) + group * more.stride(1)) / VECTOR;
            read_tile::<E, N>(more, start, (tile - of_first) * KEYS, more_keys, to, d);
        }
    } else {
        read_tile::<E, N>(from, start, tile * KEYS, keys, to, d);
    }
}

/// This unit's part of 64 rows from `first` on, zeros after row `limit`.
#[cube]
pub(super) fn read_tile<E: Float, N: Size>(
    from: &Tensor<Vector<E, N>>,
    start: usize,
    first: usize,
    limit: usize,
    to: &mut Array<Vector<E, N>>,
    #[comptime] d: usize,
) {
    let pieces = comptime!(d / VECTOR);
    let pitch = from.stride(2) / VECTOR;
    #[unroll]
    for i in 0..comptime!(KEYS * d / VECTOR / UNITS) {
        let at = UNIT_POS as usize + i * UNITS;
        let row = first + at / pieces;
        to[i] = Vector::<E, N>::new(E::from_int(0));
        if row < limit {
            to[i] = from[start + row * pitch + at % pieces];
        }
    }
}

/// Puts what [`read_tile`] read where all units of the cube see it.
#[cube]
pub(super) fn write_tile<E: Float, N: Size>(
    from: &Array<Vector<E, N>>,
    to: &mut Shared<[Vector<E, N>]>,
    #[comptime] d: usize,
) {
    let pieces = comptime!(d / VECTOR);
    let pitch = comptime!(d / VECTOR + 1);
    #[unroll]
    for i in 0..comptime!(KEYS * d / VECTOR / UNITS) {
        let at = UNIT_POS as usize + i * UNITS;
        to[at / pieces * pitch + at % pieces] = from[i];
    }
}
