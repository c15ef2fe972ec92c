//! The kernel of the product, one unit for each number.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// Units of a cube.
const UNITS: usize = 256;

/// `a b` of `[r, m, k]` and `[r, k, n]` in f32, all of whose strides are free.
pub(super) fn product(a: CubeTensor, b: CubeTensor) -> CubeTensor {
    let ([rows, m, k], n) = (a.shape().dims(), b.shape()[2]);
    let shape = Shape::new([rows, m, n]);
    let out = empty_device_contiguous_dtype(a.client.clone(), a.device.clone(), shape, DType::F32);
    let count = rows * m * n;
    // SAFETY: units after the last number end at once.
    unsafe {
        product_kernel::launch_unchecked(
            &out.client,
            CubeCount::Static(count.div_ceil(UNITS) as u32, 1, 1),
            CubeDim::new_1d(UNITS as u32),
            a.into_tensor_arg(),
            b.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            count,
            k,
        );
    }
    out
}

#[cube(launch_unchecked)]
fn product_kernel(
    a: &Tensor<f32>,
    b: &Tensor<f32>,
    out: &mut Tensor<f32>,
    count: usize,
    inner: usize,
) {
    let at = CUBE_POS_X as usize * UNITS + UNIT_POS as usize;
    if at >= count {
        terminate!();
    }
    let (m, n) = (out.shape(1), out.shape(2));
    let (row, column) = (at / n % m, at % n);
    let matrix = at / (m * n);
    let from_a = matrix * a.stride(0) + row * a.stride(1);
    let from_b = matrix * b.stride(0) + column * b.stride(2);
    let mut sum = 0.0f32;
    for i in 0..inner {
        sum += a[from_a + i * a.stride(2)] * b[from_b + i * b.stride(1)];
    }
    out[at] = sum;
}
