//! Products of tensors.

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, Int, Tensor, bf16, f16};

use super::matrix::{Matrix, product};
use super::pack::Numbers;
use crate::cpu;

/// `x w` for tensors on the CPU without gradients, with `x` `[m, k]` in f32 and `w` `[k, n]` in f32, bf16 or f16; none for others.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul(x: &Tensor<2>, w: &Tensor<2>) -> Option<Tensor<2>> {
    if x.dtype() != DType::F32 {
        return None;
    }
    let w = Stored::new(&cpu::plain(w)?);
    let count = w.tensor.shape().num_elements();
    let numbers = match w.tensor.dtype() {
        DType::F32 => Numbers::F32(cpu::numbers(&w.tensor)),
        DType::BF16 => Numbers::Bf16(&w.tensor.storage::<bf16>()[..count]),
        DType::F16 => Numbers::F16(&w.tensor.storage::<f16>()[..count]),
        _ => return None,
    };
    by(&cpu::plain(x)?, w.matrix(numbers))
}

/// As [`matmul`], for a matrix of int8.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul_int8(x: &Tensor<2>, w: &Tensor<2, Int>) -> Option<Tensor<2>> {
    if [x.dtype(), w.dtype()] != [DType::F32, DType::I8] {
        return None;
    }
    let w = Stored::new(&w.clone().try_into_primitive::<Flex>().ok()?);
    let numbers = Numbers::Int8(&w.tensor.storage::<i8>()[..w.tensor.shape().num_elements()]);
    by(&cpu::plain(x)?, w.matrix(numbers))
}

fn by(x: &FlexTensor, w: Matrix) -> Option<Tensor<2>> {
    let x = Stored::new(x);
    let left = x.matrix(Numbers::F32(cpu::numbers(&x.tensor)));
    let shape = [left.shape()[0], w.shape()[1]];
    let y = product(left, w);
    Some(Tensor::from_primitive::<Flex>(cpu::tensor(y, shape)))
}

/// A factor as it is stored: a transposed one is read where it is, and only others are copied.
struct Stored {
    /// Row by row.
    tensor: FlexTensor,
    /// The factor has its rows as columns.
    turned: bool,
}

impl Stored {
    fn new(factor: &FlexTensor) -> Self {
        let other = factor.transpose(0, 1);
        let starts = factor.layout().start_offset() == 0;
        let turned = starts && other.is_contiguous() && !factor.is_contiguous();
        let tensor = if turned {
            other
        } else {
            factor.to_contiguous()
        };
        Self { tensor, turned }
    }

    fn matrix<'a>(&self, numbers: Numbers<'a>) -> Matrix<'a> {
        let shape = self.tensor.shape();
        let matrix = Matrix::new(numbers, [shape[0], shape[1]]);
        if self.turned {
            matrix.transposed()
        } else {
            matrix
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn tensors() {
        let device = Device::flex();
        let x = Tensor::<2>::from_data([[1.0f32, 2.0], [3.0, 4.0], [5.0, 6.0]], &device);
        let w = Tensor::<2>::from_data([[1.0f32, -1.0], [0.5, 2.0]], &device);
        let expected = x.clone().matmul(w.clone()).into_data();
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let y = matmul(&x, &w.clone().cast(dtype)).unwrap();
            assert_eq!(y.into_data(), expected, "{dtype:?}");
        }
        let turned = matmul(&x.clone().transpose(), &x).unwrap();
        assert_eq!(
            turned.into_data(),
            x.clone().transpose().matmul(x.clone()).into_data()
        );
        // Part of a transposed one, which is copied.
        let part = x.clone().transpose().slice([0..2, 1..3]);
        assert_eq!(
            matmul(&part, &w).unwrap().into_data(),
            part.matmul(w.clone()).into_data()
        );
        assert!(matmul(&x.clone().cast(DType::F16), &w).is_none());
        assert!(matmul(&Tensor::from_inner(x), &Tensor::from_inner(w)).is_none());
    }
}
