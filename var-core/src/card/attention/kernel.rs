//! The kernel: a cube has a tile of queries and meets one tile of keys after the other.

use burn_cubecl::cubecl;
use cubecl::cmma::{MatrixIdent, MmaDefinition};
use cubecl::prelude::*;
use nextscale_tokenizer::card::fragment::{VECTOR, zeros};

use crate::card::attention::softmax::{LOWEST, add_values, scores, soften, write_rows};
use crate::card::attention::tile::{KEYS, QUERIES, UNITS, read_keys, read_tile, write_tile};

/// Which number of `hidden` belongs to a score: how far it is from one image, head, row and key to the next.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct Steps {
    pub image: usize,
    pub head: usize,
    pub row: usize,
    pub key: usize,
}

#[cube(launch_unchecked)]
pub(super) fn attention_kernel<E: Float, O: Float, B: Numeric, N: Size>(
    q: &Tensor<Vector<E, N>>,
    k: &Tensor<Vector<E, N>>,
    v: &Tensor<Vector<E, N>>,
    more_k: &Tensor<Vector<E, N>>,
    more_v: &Tensor<Vector<E, N>>,
    hidden: &Tensor<B>,
    out: &mut Tensor<O>,
    queries: usize,
    keys: usize,
    more_keys: usize,
    steps: &Steps,
    #[comptime] heads: usize,
    #[comptime] d: usize,
    #[comptime] masked: bool,
    #[comptime] split: bool,
    #[define(E)] _operand: ElemType,
    #[define(O)] _result: ElemType,
    #[define(B)] _truth: ElemType,
) {
    let size!(P) = 2usize;
    let def = MmaDefinition::<E, E, f32>::new(16usize, 8usize, 16usize);
    let pitch = comptime!(d / VECTOR + 1);
    let mut stage_k = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(KEYS * pitch), 16usize);
    let mut stage_v = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(KEYS * pitch), 16usize);
    let loads = comptime!(KEYS * d / VECTOR / UNITS);
    let mut next = Array::<Vector<E, N>>::new(loads);
    let mut held = Array::<Vector<E, N>>::new(loads);

    let (lane, plane) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    let (image, head) = (CUBE_POS_Y as usize / heads, CUBE_POS_Y as usize % heads);
    let group = head * k.shape(1) / heads;
    let first = CUBE_POS_X as usize * QUERIES;
    let own = first + plane * 16;

    // The queries of this plane, as fragments.
    let start = (image * q.stride(0) + head * q.stride(1)) / VECTOR;
    read_tile::<E, N>(q, start, first, queries, &mut next, d);
    write_tile::<E, N>(&next, &mut stage_k, d);
    sync_cube();
    let mut rows = Sequence::<Array<Vector<E, P>>>::new();
    #[unroll]
    for step in 0..comptime!(d / 16) {
        let at = (plane * 16 + lane % 16) * pitch + step * 2 + lane / 16;
        rows.push(def.load_matrix::<Vector<E, N>, P>(
            &stage_k[at..at + 1],
            MatrixIdent::A,
            4usize,
            false,
        ));
    }

    let mut sums = Sequence::<Array<Vector<f32, P>>>::new();
    #[unroll]
    for _ in 0..comptime!(d / 8) {
        sums.push(zeros::<P>());
    }
    // Of the two rows of which this unit has numbers.
    let mut highest = Array::<f32>::new(2usize);
    let mut weights = Array::<f32>::new(2usize);
    #[unroll]
    for half in 0..2usize {
        highest[half] = LOWEST;
        weights[half] = 0.0;
    }

    let of_first = keys.div_ceil(KEYS);
    let mut tiles = of_first;
    if comptime!(split) {
        tiles += more_keys.div_ceil(KEYS);
    }
    read_keys::<E, N>(
        k, more_k, image, group, 0usize, keys, more_keys, &mut next, d, split,
    );
    sync_cube();
    for tile in 0..tiles {
        write_tile::<E, N>(&next, &mut stage_k, d);
        sync_cube();
        read_keys::<E, N>(
            v, more_v, image, group, tile, keys, more_keys, &mut held, d, split,
        );

        let mut scores = scores::<E, N, P>(&def, &rows, &stage_k, d);

        write_tile::<E, N>(&held, &mut stage_v, d);
        sync_cube();
        read_keys::<E, N>(
            k,
            more_k,
            image,
            group,
            tile + 1,
            keys,
            more_keys,
            &mut next,
            d,
            split,
        );

        let mut local = tile;
        let mut limit = keys;
        if comptime!(split) && tile >= of_first {
            local = tile - of_first;
            limit = more_keys;
        }
        let partly = local * KEYS + KEYS > limit;
        if partly || comptime!(masked) {
            let start = image * steps.image + head * steps.head;
            hide::<B, P>(
                &mut scores,
                hidden,
                start,
                steps,
                own,
                queries,
                local * KEYS,
                limit,
                masked,
            );
        }

        soften::<P>(&mut scores, &mut sums, &mut highest, &mut weights, d);
        add_values::<E, N, P>(&def, &scores, &stage_v, &mut sums, d);
    }

    write_rows::<O, P>(&sums, &weights, out, image, head, own, queries, heads, d);
}

/// Puts the scores of keys after the last one, and of those that are hidden, below all others. `first` is the first query of the
/// plane, `from` the first key of the tile.
#[cube]
fn hide<B: Numeric, P: Size>(
    scores: &mut Sequence<Array<Vector<f32, P>>>,
    hidden: &Tensor<B>,
    start: usize,
    steps: &Steps,
    first: usize,
    queries: usize,
    from: usize,
    limit: usize,
    #[comptime] masked: bool,
) {
    let lane = UNIT_POS_X as usize;
    #[unroll]
    for j in 0..comptime!(KEYS / 8) {
        #[unroll]
        for half in 0..2usize {
            #[unroll]
            for e in 0..2usize {
                let key = from + j * 8 + lane % 4 * 2 + e;
                let mut hide = key >= limit;
                if comptime!(masked) {
                    let row = first + lane / 4 + half * 8;
                    if row < queries && key < limit {
                        let at = start + row * steps.row + key * steps.key;
                        hide = hidden[at] != B::from_int(0);
                    }
                }
                if hide {
                    let mut two = scores.index(j)[half];
                    two.insert(e, LOWEST);
                    scores.index_mut(j)[half] = two;
                }
            }
        }
    }
}
