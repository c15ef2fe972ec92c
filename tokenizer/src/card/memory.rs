//! Tensors as kernels take them.

use burn::backend::TensorMetadata;
use burn::backend::cubecl::dtype_to_storage_type;
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// The type of a tensor's numbers in a kernel.
pub fn elem(dtype: DType) -> ElemType {
    dtype_to_storage_type(dtype)
}

/// A tensor of the same device without values.
pub fn empty(like: &CubeTensor, shape: Shape, dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape, dtype)
}

/// The tensor, copied if its numbers cannot be read `vector` at a time: its last axis is not consecutive, or another one
/// steps by another number.
pub fn readable(x: CubeTensor, vector: usize) -> CubeTensor {
    let strides = x.meta.strides();
    let last = strides.len() - 1;
    let shape = x.shape();
    let axis = |(i, stride): (usize, &usize)| shape[i] == 1 || stride.is_multiple_of(vector);
    let fits = strides[last] == 1 && strides[..last].iter().enumerate().all(axis);
    if fits { x } else { into_contiguous(x) }
}
