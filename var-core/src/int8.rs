//! Weights as int8.
//!
//! Each output channel of a linear layer has a factor, its largest weight over 127, and every weight is rounded to a
//! multiple of it: half the memory of bf16. A CPU with AVX512-BF16 multiplies the integers by the input in bf16, which holds them
//! exactly, and the sums by the factors, and so does the kernel of a card. Other CPUs with AVX2 multiply integers by integers: the
//! input is rounded to 16 bits, each token by a factor of its own. Elsewhere one matrix at a time is dequantized for its product.

#[cfg(target_arch = "x86_64")]
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};
#[cfg(target_arch = "x86_64")]
use nextscale_tokenizer::cpu::is_cpu;
use nextscale_tokenizer::widest;
use nextscale_weights::{Rows, round_to_int8};
use rayon::prelude::*;

use crate::dtype::{cast, f32};
use crate::matmul;
#[cfg(target_arch = "x86_64")]
use crate::matmul::Panels;

/// Rows that a thread transposes at a time.
const BAND: usize = 64;

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
    /// Of a matrix `[k, n]` whose columns `column` fills, as the device takes them, and what it returns for each.
    fn of_columns(
        [k, n]: [usize; 2],
        device: &Device,
        column: impl Fn(usize, &mut [i8]) -> f32 + Sync,
    ) -> (Self, Vec<f32>) {
        #[cfg(target_arch = "x86_64")]
        if is_cpu(device) && matmul::multiplies_int8() {
            let (panels, factors) = Panels::of_columns([k, n], column);
            return (Self::Panels(Arc::new((panels, factors.clone()))), factors);
        }
        let (mut values, mut factors) = (vec![0i8; k * n], vec![0.0; n]);
        let columns = values.par_chunks_mut(k.max(1)).zip(&mut factors);
        columns
            .enumerate()
            .for_each(|(j, (to, factor))| *factor = column(j, to));
        let data = TensorData::new(transposed(&values, [k, n]), [k, n]);
        let matrix = Tensor::from_data(data, (device, DType::I8));
        (Self::Matrix(Box::new(matrix)), factors)
    }
}

/// A matrix `[m, n]` that is stored column by column, row by row.
fn transposed(values: &[i8], [m, n]: [usize; 2]) -> Vec<i8> {
    let mut rows = vec![0; m * n];
    let bands = rows.par_chunks_mut((BAND * n).max(1)).enumerate();
    bands.for_each(|(band, to)| {
        let first = band * BAND;
        for (j, column) in values.chunks_exact(m.max(1)).enumerate() {
            let numbers = &column[first..];
            for (to, &value) in to.chunks_exact_mut(n).zip(numbers) {
                to[j] = value;
            }
        }
    });
    rows
}

impl Int8 {
    /// Quantizes `weight`, `[input, output]`, whose numbers must be finite, and moves it to `device`. Rounding is done on
    /// the CPU.
    ///
    /// # Panics
    /// If a number is not finite.
    pub fn quantize(weight: Tensor<2>, device: &Device) -> Self {
        let rows = f32(weight).transpose().into_data();
        Self::of_rows(&rows, device).expect("weights that are finite numbers")
    }

    /// Quantizes the transposed matrix, `[output, input]`, in f32, f16 or bf16: the layout of PyTorch. None if a number is not finite,
    /// or of another type.
    pub fn of_rows(data: &TensorData, device: &Device) -> Option<Self> {
        let rows = Rows::of(data)?;
        let [n, k] = rows.dims();
        let finite = AtomicBool::new(true);
        let column = |j: usize, to: &mut [i8]| {
            let mut numbers = vec![0.0; k];
            if !rows.read(j, &mut numbers) {
                finite.store(false, Ordering::Relaxed);
            }
            round(&numbers, to)
        };
        let (values, factors) = Values::of_columns([k, n], device, column);
        let factors = Tensor::from_data(TensorData::new(factors, [n]), (device, DType::F32));
        finite.into_inner().then_some(Self { values, factors })
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

widest!(round, round_to_int8, (numbers: &[f32], to: &mut [i8]) -> f32);

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
