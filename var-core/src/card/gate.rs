//! The gate of a feed-forward layer.

use burn::backend::TensorMetadata;
use burn::tensor::Shape;
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::card::cube::{PLANES, UNITS};
use nextscale_tokenizer::card::memory::{elem, empty, readable};

/// Numbers that a unit reads at once.
const VECTOR: usize = 4;

/// `silu(gate) * up` of rows `[n, 2 h]`, in which `gate` comes before `up`: `[n, h]` of the same type.
pub(super) fn gated(x: CubeTensor) -> CubeTensor {
    let [n, both] = x.shape().dims();
    let (width, dtype) = (both / 2 / VECTOR, x.dtype);
    let out = empty(&x, Shape::new([n, both / 2]), dtype);
    let x = readable(x, VECTOR);
    let vectors = n * width;
    // SAFETY: units after the last vector end at once.
    unsafe {
        gate_kernel::launch_unchecked(
            &out.client,
            CubeCount::Static(vectors.div_ceil(UNITS) as u32, 1, 1),
            CubeDim::new_2d(32, PLANES as u32),
            VECTOR,
            x.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            vectors,
            width,
            elem(dtype),
        );
    }
    out
}

#[cube(launch_unchecked)]
fn gate_kernel<D: Float, N: Size>(
    x: &Tensor<Vector<D, N>>,
    out: &mut Tensor<Vector<D, N>>,
    vectors: usize,
    #[comptime] width: usize,
    #[define(D)] _dtype: ElemType,
) {
    let at = CUBE_POS_X as usize * UNITS + UNIT_POS as usize;
    if at >= vectors {
        terminate!();
    }
    let from = at / width * (2 * width) + at % width;
    let gate = Vector::<f32, N>::cast_from(x[from]);
    let up = Vector::<f32, N>::cast_from(x[from + width]);
    let one = Vector::<f32, N>::new(1.0);
    let zero = Vector::<f32, N>::new(0.0);
    out[at] = Vector::<D, N>::cast_from(gate / (one + (zero - gate).exp()) * up);
}
