//! Attention without writing the scores to memory: a tile of queries meets one tile of keys and values after the other, with a
//! running maximum and sum of the softmax (FlashAttention-2, arXiv 2307.08691). Products are of 16-bit numbers with sums in f32.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::cmma::{MatrixIdent, MmaDefinition};
use cubecl::prelude::*;

use nextscale_tokenizer::card::fragment::{VECTOR, multiply, zeros};
use nextscale_tokenizer::card::memory::{elem, empty, readable};

/// Planes of a cube; each has 16 rows of queries.
const PLANES: usize = 4;

/// Units of a cube.
const UNITS: usize = 32 * PLANES;

/// Queries of a cube.
const QUERIES: usize = 16 * PLANES;

/// Keys of a tile.
const KEYS: usize = 64;

/// Below every score.
const LOWEST: f32 = -1e30;

/// Keys and values, `[b, g, capacity, d]` each, of which the first `len` tokens count.
#[derive(Clone)]
pub(super) struct Keys {
    pub k: CubeTensor,
    pub v: CubeTensor,
    pub len: usize,
}

impl Keys {
    /// All tokens of two tensors.
    pub fn all(k: CubeTensor, v: CubeTensor) -> Self {
        let len = k.shape()[2];
        Self { k, v, len }
    }

    fn readable(self) -> Self {
        let [k, v] = [self.k, self.v].map(|x| readable(x, VECTOR));
        Self { k, v, ..self }
    }
}

/// `softmax(q k^T) v`, without a scale, `[b, n, h, d]` in another type.
///
/// `q` is `[b, h, n, d]`; the number of key heads divides h; all are of one 16-bit type; `d` is a multiple of 32, at most 128. Queries
/// attend to the keys of the first set, then to those of the second. `hidden` broadcasts to `[b, h, n, m]` of a single set and is true
/// where a query must not attend.
pub(super) fn attention(
    q: CubeTensor,
    first: Keys,
    second: Option<Keys>,
    hidden: Option<CubeTensor>,
    dtype: DType,
) -> CubeTensor {
    let (queries, stored) = (q.shape(), q.dtype);
    let [b, h, n, d] = [0, 1, 2, 3].map(|axis| queries[axis]);
    let out = empty(&q, Shape::new([b, n, h, d]), dtype);
    let q = readable(q, VECTOR);
    let first = first.readable();
    let (split, masked) = (second.is_some(), hidden.is_some());
    let second = second.map_or_else(
        || Keys {
            len: 0,
            ..first.clone()
        },
        Keys::readable,
    );
    let (hidden, mask) = match hidden {
        Some(hidden) => {
            let (dims, strides) = (hidden.shape(), hidden.meta.strides().clone());
            let step = |axis: usize| if dims[axis] == 1 { 0 } else { strides[axis] };
            (hidden.clone(), [0, 1, 2, 3].map(step))
        }
        None => (q.clone(), [0; 4]),
    };
    let truth = elem(hidden.dtype);
    // SAFETY: rows after the last query are not written, keys after the last are not read, and a mask that does not count is not
    // read.
    unsafe {
        attention_kernel::launch_unchecked(
            &out.client,
            CubeCount::Static(n.div_ceil(QUERIES) as u32, (b * h) as u32, 1),
            CubeDim::new_2d(32, PLANES as u32),
            VECTOR,
            q.into_tensor_arg(),
            first.k.into_tensor_arg(),
            first.v.into_tensor_arg(),
            second.k.into_tensor_arg(),
            second.v.into_tensor_arg(),
            hidden.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            n,
            first.len,
            second.len,
            mask[0],
            mask[1],
            mask[2],
            mask[3],
            h,
            d,
            masked,
            split,
            elem(stored),
            elem(dtype),
            truth,
        );
    }
    out
}

#[cube(launch_unchecked)]
fn attention_kernel<E: Float, O: Float, B: Numeric, N: Size>(
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
    mask_image: usize,
    mask_head: usize,
    mask_row: usize,
    mask_key: usize,
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

        let mut scores = Sequence::<Array<Vector<f32, P>>>::new();
        #[unroll]
        for j in 0..comptime!(KEYS / 8) {
            let mut score = zeros::<P>();
            #[unroll]
            for pair in 0..comptime!(d / 32) {
                let at = (j * 8 + lane % 8) * pitch + pair * 4 + lane / 8;
                let both = def.load_matrix::<Vector<E, N>, P>(
                    &stage_k[at..at + 1],
                    MatrixIdent::B,
                    4usize,
                    false,
                );
                #[unroll]
                for half in 0..2usize {
                    let step = comptime!(pair * 2 + half);
                    multiply::<E, P>(&def, rows.index(step), &both, half, &mut score);
                }
            }
            scores.push(score);
        }

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

        // Keys that a query must not attend to.
        let mut local = tile;
        let mut limit = keys;
        if comptime!(split) && tile >= of_first {
            local = tile - of_first;
            limit = more_keys;
        }
        let partly = local * KEYS + KEYS > limit;
        if partly || comptime!(masked) {
            #[unroll]
            for j in 0..comptime!(KEYS / 8) {
                #[unroll]
                for half in 0..2usize {
                    #[unroll]
                    for e in 0..2usize {
                        let key = local * KEYS + j * 8 + lane % 4 * 2 + e;
                        let mut hide = key >= limit;
                        if comptime!(masked) {
                            let row = first + plane * 16 + lane / 4 + half * 8;
                            if row < queries && key < limit {
                                let at = image * mask_image
                                    + head * mask_head
                                    + row * mask_row
                                    + key * mask_key;
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

        // The softmax so far, of each of the two rows.
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
                    &stage_v[at..at + 1],
                    MatrixIdent::B,
                    4usize,
                    true,
                );
                #[unroll]
                for half in 0..2usize {
                    let j = comptime!(pair * 2 + half);
                    multiply::<E, P>(&def, &part, &both, half, sums.index_mut(j));
                }
            }
        }
    }

    #[unroll]
    for half in 0..2usize {
        let mut weight = weights[half];
        weight += plane_shuffle_xor(weight, 1u32);
        weight += plane_shuffle_xor(weight, 2u32);
        let factor = 1.0 / weight;
        let row = first + plane * 16 + lane / 4 + half * 8;
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

/// This unit's part of a tile of keys or values, of the first set or of the second.
#[cube]
fn read_keys<E: Float, N: Size>(
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
fn read_tile<E: Float, N: Size>(
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
fn write_tile<E: Float, N: Size>(
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
