//! The product on a card, number by number in f32.

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::CubeBackend;

use crate::exact::kernel;

/// `a b` of `[r, m, k]` and `[r, k, n]` in f32, all of whose strides are free.
pub(super) fn product(a: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    let [a, b] = [a, b].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::exact_product(a, b))
}

#[backend_extension(Cube, Fusion)]
pub(super) trait ExactOps: Backend {
    #[fusion(meta = |a, b| {
        let shape = Shape::new([a.shape[0], a.shape[1], b.shape[2]]);
        TensorSpec::new(shape, DType::F32)
    })]
    fn exact_product(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl ExactOps for CubeBackend {
    fn exact_product(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        kernel::product(a, b)
    }
}
