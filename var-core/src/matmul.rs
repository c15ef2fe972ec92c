//! Matrix products in a chosen precision.
//!
//! Training spends half its time in matrix products. CPUs with AVX512-BF16 multiply pairs of bf16 numbers at twice the
//! rate of f32, those with AMX at sixteen times, and accumulate in f32: mixed precision, with weights, gradients and everything else in f32. The tensor
//! library has no path for it on the CPU, so here it is one differentiable operation.

mod recorded;
#[cfg(target_arch = "x86_64")]
mod words;

use burn::tensor::{Int, Tensor};
use nextscale_tokenizer::product::{self, bf16};
use serde::{Deserialize, Serialize};

/// The precision in which the factors of a matrix product are multiplied. Sums are always f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// f32.
    #[default]
    F32,
    /// bf16 where the CPU is faster with it, f32 everywhere else.
    Bf16,
}

/// `x w`, with `x` `[m, k]` and `w` `[k, n]`.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul(x: Tensor<2>, w: Tensor<2>, precision: Precision) -> Tensor<2> {
    if precision == Precision::Bf16
        && let Some(y) = fast(&x, &w)
    {
        return y;
    }
    recorded::product(&x, &w).unwrap_or_else(|| x.matmul(w))
}

/// `x w` with `x` `[m, k]` in f32 and `w` `[k, n]` in a 16-bit format, accumulated in f32: `[m, n]` in f32.
///
/// For 16-bit weights on a CPU; nothing is copied. If it has AVX512-BF16 and `w` is bf16, `x` is rounded to bf16; otherwise `w` is
/// converted to f32 block by block.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul_bf16(x: Tensor<2>, w: Tensor<2>) -> Tensor<2> {
    fast_bf16(&x, &w)
        .or_else(|| product::matmul(&x, &w))
        .unwrap_or_else(|| x.matmul(w.cast(burn::tensor::DType::F32)))
}

/// `x w` with `x` `[m, k]` in f32 and `w` `[k, n]` in int8, accumulated in f32: `[m, n]` in f32.
///
/// Nothing is copied. If the CPU has AVX512-BF16, `x` is rounded to bf16; otherwise `w` is converted to f32 block by block.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul_int8(x: Tensor<2>, w: Tensor<2, Int>) -> Tensor<2> {
    fast_int8(&x, &w)
        .or_else(|| product::matmul_int8(&x, &w))
        .unwrap_or_else(|| x.matmul(w.cast(burn::tensor::FloatDType::F32)))
}

pub(crate) use self::recorded::product as recorded_product;
#[cfg(target_arch = "x86_64")]
pub(crate) use self::words::Panels;

/// Whether the CPU multiplies int8 weights as integers: if it has AVX2, and not AVX512-BF16, which is as fast with the weights as
/// they are.
#[cfg(target_arch = "x86_64")]
pub(crate) fn multiplies_int8() -> bool {
    words::is_available() && !bf16::is_available()
}

/// What this CPU multiplies with, for weights of each number type, in words.
///
/// It depends on the instructions that the CPU has and on nothing that is measured, so that the same machine always computes the
/// same numbers.
pub fn kernels() -> String {
    let f32 = product::kernel();
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(kernel) = bf16::kernel() {
            return format!("f32 with {f32}, bf16 and int8 with {kernel}");
        }
        if words::is_available() {
            return format!("f32 and bf16 with {f32}, int8 with AVX2 in integers of 16 bits");
        }
    }
    format!("f32, bf16 and int8 with {f32} in f32")
}

/// `x w` with `x` `[m, k]` in f32 on the CPU, whose rows are rounded to integers of 16 bits, times the factors of the columns: `[m, n]`.
///
/// # Panics
/// If the shapes do not fit, or the CPU lacks the instructions ([`multiplies_int8`]).
#[cfg(target_arch = "x86_64")]
pub(crate) fn product_int8(x: Tensor<2>, w: &Panels, factors: &[f32]) -> Tensor<2> {
    use burn::backend::Flex;
    use nextscale_tokenizer::cpu::{numbers, plain, tensor};
    let ([m, k], [rows, n]) = (x.dims(), w.dims());
    assert_eq!(k, rows, "the inner axes of a product");
    let x = plain(&x)
        .expect("a tensor on the CPU without gradients")
        .to_contiguous();
    let y = words::product(numbers(&x), w, factors);
    Tensor::from_primitive::<Flex>(tensor(y, [m, n]))
}

#[cfg(not(target_arch = "x86_64"))]
fn fast(_: &Tensor<2>, _: &Tensor<2>) -> Option<Tensor<2>> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
fn fast_bf16(_: &Tensor<2>, _: &Tensor<2>) -> Option<Tensor<2>> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
fn fast_int8(_: &Tensor<2>, _: &Tensor<2, Int>) -> Option<Tensor<2>> {
    None
}

#[cfg(target_arch = "x86_64")]
use x86::{fast, fast_bf16, fast_int8};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use burn::{
        backend::{
            Flex, TensorMetadata,
            autodiff::{
                checkpoint::base::Checkpointer,
                grads::Gradients,
                ops::{Backward, Ops},
            },
            flex::FlexTensor,
        },
        tensor::{DType, Int, Tensor, bf16 as Bf16},
    };
    use nextscale_tokenizer::cpu::{self, numbers, tensor};
    use nextscale_tokenizer::product::bf16::{self, Factor};

    /// The f32 product on the CPU; none where the backend has to compute it.
    pub(super) fn fast(x: &Tensor<2>, w: &Tensor<2>) -> Option<Tensor<2>> {
        let ([_, k], [rows, _]) = (x.dims(), w.dims());
        if k != rows || [x.dtype(), w.dtype()] != [DType::F32; 2] || !bf16::is_available() {
            return None;
        }
        plain(x, w).or_else(|| tracked(x, w))
    }

    /// The product with bf16 weights on the CPU; none where the backend has to compute it.
    pub(super) fn fast_bf16(x: &Tensor<2>, w: &Tensor<2>) -> Option<Tensor<2>> {
        let ([m, k], [rows, n]) = (x.dims(), w.dims());
        if k != rows || [x.dtype(), w.dtype()] != [DType::F32, DType::BF16] || !bf16::is_available()
        {
            return None;
        }
        let x = cpu::plain(x)?.to_contiguous();
        let w = cpu::plain(w)?.to_contiguous();
        let w = Factor::Bf16(&w.storage::<Bf16>()[..k * n]);
        let y = bf16::product([m, n, k], Factor::Rows(numbers(&x)), w);
        Some(Tensor::from_primitive::<Flex>(tensor(y, [m, n])))
    }

    /// The product with int8 weights on the CPU; none where the backend has to compute it.
    pub(super) fn fast_int8(x: &Tensor<2>, w: &Tensor<2, Int>) -> Option<Tensor<2>> {
        let ([m, k], [rows, n]) = (x.dims(), w.dims());
        let types = [x.dtype(), w.dtype()];
        if k != rows || types != [DType::F32, DType::I8] || !bf16::is_available() {
            return None;
        }
        let x = cpu::plain(x)?.to_contiguous();
        let w = w.clone().try_into_primitive::<Flex>().ok()?.to_contiguous();
        let w = Factor::Int8(&w.storage::<i8>()[..k * n]);
        let y = bf16::product([m, n, k], Factor::Rows(numbers(&x)), w);
        Some(Tensor::from_primitive::<Flex>(tensor(y, [m, n])))
    }

    fn plain(x: &Tensor<2>, w: &Tensor<2>) -> Option<Tensor<2>> {
        let y = run(&cpu::plain(x)?, &cpu::plain(w)?);
        Some(Tensor::from_primitive::<Flex>(y))
    }

    fn tracked(x: &Tensor<2>, w: &Tensor<2>) -> Option<Tensor<2>> {
        let inputs = [&cpu::tracked(x)?, &cpu::tracked(w)?];
        let [x, w] = inputs.map(|input| input.primitive().to_contiguous());
        let y = run(&x, &w);
        Some(cpu::differentiable(Product, inputs, (x, w), y))
    }

    fn run(x: &FlexTensor, w: &FlexTensor) -> FlexTensor {
        let (x, w) = (x.to_contiguous(), w.to_contiguous());
        let ([m, k], [_, n]) = (dims(&x), dims(&w));
        let y = bf16::product(
            [m, n, k],
            Factor::Rows(numbers(&x)),
            Factor::Columns(numbers(&w)),
        );
        tensor(y, [m, n])
    }

    fn dims(x: &FlexTensor) -> [usize; 2] {
        let shape = x.shape();
        [shape[0], shape[1]]
    }

    #[derive(Debug)]
    struct Product;

    impl Backward<Flex, 2> for Product {
        type State = (FlexTensor, FlexTensor);

        fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
            let [node_x, node_w] = ops.parents;
            let (x, w) = ops.state;
            let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
            let ([m, k], n) = (dims(&x), dims(&w)[1]);
            let g = numbers(&grad);
            if let Some(node) = node_x {
                let values = bf16::product([m, k, n], Factor::Rows(g), Factor::Rows(numbers(&w)));
                grads.register::<Flex>(node.id, tensor(values, [m, k]));
            }
            if let Some(node) = node_w {
                let x = Factor::Columns(numbers(&x));
                let values = bf16::product([k, n, m], x, Factor::Columns(g));
                grads.register::<Flex>(node.id, tensor(values, [k, n]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution, TensorData};

    fn off(a: Tensor<2>, b: Tensor<2>) -> f32 {
        (a - b).abs().max().into_scalar()
    }

    /// Values and gradients compared with f32: exact for numbers that bf16 represents exactly, close for all others.
    #[test]
    fn products_and_gradients() {
        let device = Device::flex().autodiff();
        for [m, k, n] in [
            [1, 1, 1],
            [13, 7, 33],
            [48, 64, 32],
            [30, 257, 100],
            [5, 6, 200],
        ] {
            let whole = |rows: usize, columns: usize| {
                let values = (0..rows * columns).map(|i| ((i * 37 + 11) % 17) as f32 - 8.0);
                let data = TensorData::new(values.collect::<Vec<f32>>(), [rows, columns]);
                Tensor::<2>::from_data(data, &device).require_grad()
            };
            let random = |rows: usize, columns: usize| {
                let normal = Distribution::Normal(0.0, 1.0);
                Tensor::<2>::random([rows, columns], normal, &device).require_grad()
            };
            for (x, w, most) in [
                (whole(m, k), whole(k, n), 0.0),
                (
                    random(m, k),
                    random(k, n),
                    0.04 * (k.max(m).max(n) as f32).sqrt(),
                ),
            ] {
                let ours = matmul(x.clone(), w.clone(), Precision::Bf16);
                let theirs = matmul(x.clone(), w.clone(), Precision::F32);
                assert!(off(ours.clone(), theirs.clone()) <= most, "{m} {k} {n}");
                let mark = whole(m, n).detach();
                let ours = (ours * mark.clone()).sum().backward();
                let theirs = (theirs * mark).sum().backward();
                for factor in [&x, &w] {
                    let (a, b) = (factor.grad(&ours).unwrap(), factor.grad(&theirs).unwrap());
                    assert!(off(a, b) <= 8.0 * most, "gradients of {m} {k} {n}");
                }
            }
        }
    }

    /// 16-bit weights: exact for numbers that bf16 represents exactly; an odd inner axis.
    #[test]
    fn halves_are_the_same_numbers() {
        let device = Device::flex();
        for [m, k, n] in [[1, 1, 1], [5, 7, 33], [30, 64, 100]] {
            let whole = |rows: usize, columns: usize| {
                let values = (0..rows * columns).map(|i| ((i * 37 + 11) % 17) as f32 - 8.0);
                let data = TensorData::new(values.collect::<Vec<f32>>(), [rows, columns]);
                Tensor::<2>::from_data(data, &device)
            };
            let (x, w) = (whole(m, k), whole(k, n));
            let plain = x.clone().matmul(w.clone());
            for dtype in [burn::tensor::DType::BF16, burn::tensor::DType::F16] {
                let half = matmul_bf16(x.clone(), w.clone().cast(dtype));
                assert_eq!(off(half, plain.clone()), 0.0, "{m} {k} {n} {dtype:?}");
            }
        }
    }

    #[test]
    fn without_a_tape_it_is_the_same() {
        let device = Device::flex();
        let x = Tensor::<2>::random([20, 30], Distribution::Default, &device);
        let w = Tensor::<2>::random([30, 40], Distribution::Default, &device);
        let plain = matmul(x.clone(), w.clone(), Precision::Bf16);
        let taped = matmul(
            Tensor::from_inner(x),
            Tensor::from_inner(w),
            Precision::Bf16,
        );
        assert_eq!(off(plain, taped.inner()), 0.0);
    }
}
