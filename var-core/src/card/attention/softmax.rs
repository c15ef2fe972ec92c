//! What a plane does with the scores of its 16 rows of queries. Each unit has numbers of two of the rows.

use burn_cubecl::cubecl;
use cubecl::cmma::{MatrixIdent, MmaDefinition};
use cubecl::prelude::*;
use nextscale_tokenizer::card::fragment::{VECTOR, multiply, zeros};

use crate::card::attention::tile::KEYS;

/// Below every score.
pub(super) const LOWEST: f32 = -1e30;

/// The scores of a plane's queries with the keys of a tile.
#[cube]
pub(super) fn scores<E: Float, N: Size, P: Size>(
    def: &MmaDefinition<E, E, f32>,
    rows: &Sequence<Array<Vector<E, P>>>,
    keys: &Shared<[Vector<E, N>]>,
    #[comptime] d: usize,
) -> Sequence<Array<Vector<f32, P>>> {
    let lane = UNIT_POS_X as usize;
    let pitch = comptime!(d / VECTOR + 1);
    let mut scores = Sequence::<Array<Vector<f32, P>>>::new();
    #[unroll]
    for j in 0..comptime!(KEYS / 8) {
        let mut score = zeros::<P>();
        #[unroll]
        for pair in 0..comptime!(d / 32) {
            let at = (j * 8 + lane % 8) * pitch + pair * 4 + lane / 8;
            let both = def.load_matrix::<Vector<E, N>, P>(
                &keys[at..at + 1],
                MatrixIdent::B,
                4usize,
                false,
            );
            #[unroll]
            for half in 0..2usize {
                let step = comptime!(pair * 2 + half);
                multiply::<E, P>(def, rows.index(step), &both, half, &mut score);
            }
        }
        scores.push(score);
    }
    scores
}

/// Takes the scores of a tile into the softmax so far: they become weights, and the sums shrink by as much as the maximum grew.
#[cube]
pub(super) fn soften<P: Size>(
    scores: &mut Sequence<Array<Vector<f32, P>>>,
    sums: &mut Sequence<Array<Vector<f32, P>>>,
    highest: &mut Array<f32>,
    weights: &mut Array<f32>,
    #[comptime] d: usize,
) {
    #[unroll]
    for half in 0..2usize {
        let mut top = highest[half];
        #[unroll]
        for j in 0..comptime!(KEYS / 8) {
            let two = scores.index(j)[half];
            top = top.max(two.extract(0usize)).max(two.extract(1usize));
        }
        top = top.max(plane_shuffle_xor(top, 1u32));
        top = top.max(plane_shuffle_xor(top, 2u32));
        let shrink = (highest[half] - top).exp();
        highest[half] = top;
        let mut weight = 0.0f32;
        let base = Vector::<f32, P>::new(top);
        #[unroll]
        for j in 0..comptime!(KEYS / 8) {
            let two = (scores.index(j)[half] - base).exp();
            scores.index_mut(j)[half] = two;
            weight += two.extract(0usize) + two.extract(1usize);
        }
        weights[half] = weights[half] * shrink + weight;
        let shrink = Vector::<f32, P>::new(shrink);
        #[unroll]
        for j in 0..comptime!(d / 8) {
            let two = sums.index(j)[half] * shrink;
            sums.index_mut(j)[half] = two;
        }
    }
}

/// Adds the values of a tile times their weights to the sums.
#[cube]
pub(super) fn add_values<E: Float, N: Size, P: Size>(
    def: &MmaDefinition<E, E, f32>,
    scores: &Sequence<Array<Vector<f32, P>>>,
    values: &Shared<[Vector<E, N>]>,
    sums: &mut Sequence<Array<Vector<f32, P>>>,
    #[comptime] d: usize,
) {
    let lane = UNIT_POS_X as usize;
    let pitch = comptime!(d / VECTOR + 1);
    #[unroll]
    for step in 0..comptime!(KEYS / 16) {
        let mut part = Array::<Vector<E, P>>::new(4usize);
        part[0] = Vector::cast_from(scores.index(comptime!(2 * step))[0]);
        part[1] = Vector::cast_from(scores.index(comptime!(2 * step))[1]);
        part[2] = Vector::cast_from(scores.index(comptime!(2 * step + 1))[0]);
        part[3] = Vector::cast_from(scores.index(comptime!(2 * step + 1))[1]);
        #[unroll]
        for pair in 0..comptime!(d / 16) {
            let at = (step * 16 + lane % 16) * pitch + pair * 2 + lane / 16;
            let both = def.load_matrix::<Vector<E, N>, P>(
                &values[at..at + 1],
                MatrixIdent::B,
                4usize,
                true,
            );
            #[unroll]
            for half in 0..2usize {
                let j = comptime!(pair * 2 + half);
                multiply::<E, P>(def, &part, &both, half, sums.index_mut(j));
            }
        }
    }
}

/// Writes the sums over the weights: `out` is `[b, n, h, d]`, and `first` the first query of the plane.
#[cube]
pub(super) fn write_rows<O: Float, P: Size>(
    sums: &Sequence<Array<Vector<f32, P>>>,
    weights: &Array<f32>,
    out: &mut Tensor<O>,
    image: usize,
    head: usize,
    first: usize,
    queries: usize,
    #[comptime] heads: usize,
    #[comptime] d: usize,
) {
    let lane = UNIT_POS_X as usize;
    #[unroll]
    for half in 0..2usize {
        let mut weight = weights[half];
        weight += plane_shuffle_xor(weight, 1u32);
        weight += plane_shuffle_xor(weight, 2u32);
        let factor = 1.0 / weight;
        let row = first + lane / 4 + half * 8;
        if row < queries {
            let start = ((image * queries + row) * heads + head) * d + lane % 4 * 2;
            #[unroll]
            for j in 0..comptime!(d / 8) {
                let two = sums.index(j)[half];
                #[unroll]
                for e in 0..2usize {
                    out[start + j * 8 + e] = O::cast_from(two.extract(e) * factor);
                }
            }
        }
    }
}
