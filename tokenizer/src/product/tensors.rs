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
    let w = cpu::plain(w)?.to_contiguous();
    let count = w.shape().num_elements();
    let numbers = match w.dtype() {
        DType::F32 => Numbers::F32(&w.storage::<f32>()[..count]),
        DType::BF16 => Numbers::Bf16(&w.storage::<bf16>()[..count]),
        DType::F16 => Numbers::F16(&w.storage::<f16>()[..count]),
        _ => return None,
    };
    by_numbers(&cpu::plain(x)?, numbers, w.shape()[1])
}

/// As [`matmul`], for a matrix of int8.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul_int8(x: &Tensor<2>, w: &Tensor<2, Int>) -> Option<Tensor<2>> {
    if [x.dtype(), w.dtype()] != [DType::F32, DType::I8] {
        return None;
    }
    let [_, n] = w.dims();
    let w = w.clone().try_into_primitive::<Flex>().ok()?.to_contiguous();
    let numbers = Numbers::Int8(&w.storage::<i8>()[..w.shape().num_elements()]);
    by_numbers(&cpu::plain(x)?, numbers, n)
}

fn by_numbers(x: &FlexTensor, w: Numbers, n: usize) -> Option<Tensor<2>> {
    let x = x.to_contiguous();
    let shape = x.shape();
    let (m, k) = (shape[0], shape[1]);
    let left = Matrix::new(Numbers::F32(cpu::numbers(&x)), [m, k]);
    let y = product(left, Matrix::new(w, [k, n]));
    Some(Tensor::from_primitive::<Flex>(cpu::tensor(y, [m, n])))
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
        assert!(matmul(&x.clone().cast(DType::F16), &w).is_none());
        assert!(matmul(&Tensor::from_inner(x), &Tensor::from_inner(w)).is_none());
    }
}
