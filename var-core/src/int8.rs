//! Weights as int8.
//!
//! Each output channel of a linear layer has a factor, its largest weight over 127, and every weight is rounded to a
//! multiple of it: half the memory of bf16. A CPU with AVX512-BF16 multiplies the integers by the input in bf16, which holds them
//! exactly, and the sums by the factors, and so does the kernel of a card. Other CPUs with AVX2 multiply integers by integers: the
//! input is rounded to 16 bits, each token by a factor of its own. Elsewhere one matrix at a time is dequantized for its product.

#[cfg(target_arch = "x86_64")]
use std::sync::Arc;

use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};
use nextscale_tokenizer::cpu::is_cpu;
use rayon::prelude::*;

use crate::dtype::{cast, f32};
use crate::matmul;
#[cfg(target_arch = "x86_64")]
use crate::matmul::Panels;

/// The largest integer: -128 is not used, so that the range is symmetric.
const LARGEST: f32 = 127.0;

/// A matrix `[input, output]` of int8, with one factor per output channel.
#[derive(Debug, Clone)]
pub struct Int8 {
    values: Values,
    factors: Tensor<1>,
}

/// The integers.
#[derive(Debug, Clone)]
enum Values {
    /// As a tensor.
    Matrix(Box<Tensor<2, Int>>),
    /// As the CPU's kernel reads them, with the factors.
    #[cfg(target_arch = "x86_64")]
    Panels(Arc<(Panels, Vec<f32>)>),
}

impl Values {
    /// The integers of a matrix, row by row, as the device takes them.
    fn new(values: Vec<i8>, factors: &[f32], shape: [usize; 2], device: &Device) -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_cpu(device) && matmul::multiplies_int8() {
            let panels = Panels::new(&values, shape);
            return Self::Panels(Arc::new((panels, factors.to_vec())));
        }
        let _ = factors;
        let data = TensorData::new(values, shape);
        Self::Matrix(Box::new(Tensor::from_data(data, (device, DType::I8))))
    }
}

impl Int8 {
    /// Quantizes `weight`, `[input, output]`, whose numbers must be finite, and moves it to `device`. Rounding is done on
    /// the CPU.
    pub fn quantize(weight: Tensor<2>, device: &Device) -> Self {
        let [rows, columns] = weight.dims();
        let data = f32(weight).into_data();
        let numbers = data.as_slice::<f32>().unwrap_or_default();
        let (values, factors) = round(numbers, columns);
        Self {
            values: Values::new(values, &factors, [rows, columns], device),
            factors: Tensor::from_data(TensorData::new(factors, [columns]), (device, DType::F32)),
        }
    }

    /// Rows and columns.
    pub fn dims(&self) -> [usize; 2] {
        match &self.values {
            Values::Matrix(values) => values.dims(),
            #[cfg(target_arch = "x86_64")]
            Values::Panels(both) => both.0.dims(),
        }
    }

    /// The integers.
    fn values(&self) -> Tensor<2, Int> {
        match &self.values {
            Values::Matrix(values) => (**values).clone(),
            #[cfg(target_arch = "x86_64")]
            Values::Panels(both) => {
                let data = TensorData::new(both.0.values(), both.0.dims());
                Tensor::from_data(data, (&self.factors.device(), DType::I8))
            }
        }
    }

    /// The integers, and the factors of the columns.
    #[cfg(feature = "cuda")]
    pub(crate) fn parts(&self) -> (Tensor<2, Int>, Tensor<1>) {
        (self.values(), self.factors.clone())
    }

    /// The matrix in f32.
    pub fn dequantize(&self) -> Tensor<2> {
        self.values().cast(FloatDType::F32) * self.factors.clone().unsqueeze()
    }

    /// `x w` with `x` `[m, input]`: `[m, output]`, computed in `dtype`, which on the CPU is f32.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn product(&self, x: Tensor<2>, dtype: DType) -> Tensor<2> {
        #[cfg(target_arch = "x86_64")]
        if let (Values::Panels(both), DType::F32) = (&self.values, dtype) {
            return matmul::product_int8(f32(x), &both.0, &both.1);
        }
        let factors = self.factors.clone().unsqueeze();
        match dtype {
            DType::F32 => matmul::matmul_int8(f32(x), self.values()) * factors,
            // Sums that are up to 127 times larger would overflow f16.
            DType::F16 => cast(x, dtype).matmul(self.dequantize().cast(dtype)),
            _ => {
                let sums = cast(x, dtype).matmul(self.values().cast(FloatDType::from(dtype)));
                sums * cast(factors, dtype)
            }
        }
    }
}

/// Integers, row by row, and the factors of the columns.
fn round(numbers: &[f32], columns: usize) -> (Vec<i8>, Vec<f32>) {
    if numbers.is_empty() {
        return (Vec::new(), vec![0.0; columns]);
    }
    let rows = numbers.len() / columns;
    let share = rows.div_ceil(rayon::current_num_threads()).max(1) * columns;
    let larger = |mut a: Vec<f32>, b: &[f32]| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a = a.max(b.abs()));
        a
    };
    let largest = numbers.par_chunks(share).map(|part| {
        let lines = part.chunks_exact(columns);
        lines.fold(vec![0f32; columns], larger)
    });
    let largest = largest.reduce(|| vec![0.0; columns], |a, b| larger(a, &b));
    let inverse: Vec<f32> = largest
        .iter()
        .map(|&most| if most > 0.0 { LARGEST / most } else { 0.0 })
        .collect();
    let mut values = vec![0i8; numbers.len()];
    let lines = values
        .par_chunks_exact_mut(columns)
        .zip(numbers.par_chunks_exact(columns));
    lines.for_each(|(to, from)| {
        for ((to, &from), &inverse) in to.iter_mut().zip(from).zip(&inverse) {
            *to = (from * inverse).round_ties_even() as i8;
        }
    });
    let factors = largest.into_iter().map(|most| most / LARGEST).collect();
    (values, factors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    fn device() -> Device {
        Device::flex()
    }

    fn largest<const D: usize>(x: Tensor<D>) -> f32 {
        x.abs().max().into_scalar()
    }

    #[test]
    fn every_weight_is_the_nearest_multiple_of_its_channels_factor() {
        let rows = [[1.27f32, 0.0, -3.0], [0.504, 0.0, 1.5], [-1.0, 0.0, 0.01]];
        let matrix = Int8::quantize(Tensor::from_data(rows, &device()), &device());
        let factors: Vec<f32> = matrix.factors.clone().into_data().iter().collect();
        assert_eq!(factors, [1.27 / 127.0, 0.0, 3.0 / 127.0]);
        let values: Vec<i64> = matrix.values().into_data().iter().collect();
        assert_eq!(values, [127, 0, -127, 50, 0, 64, -100, 0, 0]);
        let back = matrix.dequantize() - Tensor::from_data(rows, &device());
        assert!(largest(back) <= 1.5 / 127.0 + 1e-6);
    }

    /// Compared with the product of the same matrix in f32. `x` is rounded to bf16 where the CPU multiplies in it, so it
    /// gets numbers that bf16 represents exactly.
    #[test]
    fn products_are_those_of_the_matrix_in_f32() {
        for [m, k, n] in [[1, 1, 1], [5, 7, 33], [30, 64, 100], [40, 500, 12_000]] {
            let w = Tensor::<2>::random([k, n], Distribution::Normal(0.0, 1.0), &device());
            let matrix = Int8::quantize(w, &device());
            assert_eq!(matrix.dims(), [k, n]);
            let mut x: Vec<f32> = (0..m * k)
                .map(|i| ((i * 37 + 11) % 255) as f32 - 127.0)
                .collect();
            x.iter_mut().step_by(k).for_each(|first| *first = 127.0);
            let x = Tensor::<2>::from_data(TensorData::new(x, [m, k]), &device());
            let plain = x.clone().matmul(matrix.dequantize());
            let ours = matrix.product(x, DType::F32);
            let size = largest(plain.clone());
            assert!(largest(ours - plain) <= 5e-5 * size, "{m} {k} {n}");
        }
    }

    #[test]
    fn the_error_is_half_a_step() {
        let w = Tensor::<2>::random([300, 50], Distribution::Normal(0.0, 1.0), &device());
        let matrix = Int8::quantize(w.clone(), &device());
        let steps = (matrix.dequantize() - w).abs() / matrix.factors.clone().unsqueeze();
        let most: f32 = steps.clone().max().into_scalar();
        let mean: f32 = steps.mean().into_scalar();
        assert!(most <= 0.5001, "{most}");
        assert!((mean - 0.25).abs() < 0.02, "{mean}"); // evenly spread over 0 to a half
    }
}
