//! Attention without writing the scores to memory: a tile of queries meets one tile of keys and values after the other, with a
//! running maximum and sum of the softmax (FlashAttention-2, arXiv 2307.08691). Products are of 16-bit numbers with sums in f32.

mod kernel;
mod softmax;
mod tile;

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use nextscale_tokenizer::card::fragment::VECTOR;
use nextscale_tokenizer::card::memory::{elem, empty, readable};

use crate::card::attention::kernel::StepsLaunch;
use crate::card::attention::tile::{PLANES, QUERIES};

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
        kernel::attention_kernel::launch_unchecked(
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
            StepsLaunch::new(mask[0], mask[1], mask[2], mask[3]),
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
