//! Conversion between floating-point formats, without a copy if there is nothing to convert.

use burn::{
    module::Param,
    tensor::{DType, Tensor},
};

/// `x` in `dtype`; returned as it is if it has that dtype.
pub fn cast<const D: usize>(x: Tensor<D>, dtype: DType) -> Tensor<D> {
    if x.dtype() == dtype { x } else { x.cast(dtype) }
}

/// `x` in f32.
pub fn f32<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    cast(x, DType::F32)
}

/// The value of a parameter in f32.
pub fn value<const D: usize>(param: &Param<Tensor<D>>) -> Tensor<D> {
    f32(param.val())
}
