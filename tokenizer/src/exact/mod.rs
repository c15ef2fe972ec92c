//! Matrix products in f32 whose factors no device rounds.
//!
//! CUDA cards multiply f32 on tensor cores after rounding it to TF32, with 10 bits of the fraction. What quantised codes depend
//! on must not change by that.

#[cfg(feature = "cuda")]
mod card;
#[cfg(feature = "cuda")]
mod kernel;

use burn::tensor::{DType, Tensor};

use crate::cpu::{is_cpu, is_wgpu};

/// `a b` of `[r, m, k]` and `[r, k, n]` in f32.
pub(crate) fn product(a: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    if is_cpu(&a.device()) {
        return match a.dims()[0] {
            1 => {
                let [a, b] = [a, b].map(|x| x.squeeze_dim::<2>(0));
                a.matmul(b).unsqueeze_dim(0)
            }
            _ => a.matmul(b),
        };
    }
    if is_wgpu(&a.device()) {
        return a.matmul(b);
    }
    #[cfg(feature = "cuda")]
    if !a.is_autodiff() && !b.is_autodiff() {
        return card::product(a, b);
    }
    split_product(a, b)
}

/// A product that has a gradient: each factor is written as a sum of three terms of 8 bits, which TF32 holds exactly, and the
/// six products of terms that matter to f32 are one product with a six times longer inner axis.
fn split_product<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    let [a1, a2, a3] = terms(a);
    let [b1, b2, b3] = terms(b);
    // The smallest products first: they would be lost in a sum that is already large.
    let a = vec![a3, a1.clone(), a2.clone(), a2, a1.clone(), a1];
    let b = vec![b1.clone(), b3, b2.clone(), b1.clone(), b2, b1];
    Tensor::cat(a, D - 1).matmul(Tensor::cat(b, D - 2))
}

/// Three numbers of 8 bits each whose sum is `x`, up to the last bit.
fn terms<const D: usize>(x: Tensor<D>) -> [Tensor<D>; 3] {
    let round = |x: Tensor<D>| x.cast(DType::BF16).cast(DType::F32);
    let first = round(x.clone());
    let rest = x - first.clone();
    let second = round(rest.clone());
    let third = round(rest - second.clone());
    [first, second, third]
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};

    #[test]
    fn terms_lose_nothing_that_f32_holds() {
        let device = Device::flex();
        device.seed(5);
        let random = |shape| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let (a, b) = (random([5, 33]), random([33, 7]));
        let [t1, t2, t3] = terms(a.clone());
        let lost = (a.clone() - (t1 + t2 + t3)).abs().max();
        assert_eq!(lost.into_scalar::<f32>(), 0.0);
        for x in terms(a.clone()) {
            let rounded = x.clone().cast(DType::BF16).cast(DType::F32);
            assert_eq!(x.into_data(), rounded.into_data());
        }
        let expected = a
            .clone()
            .cast(DType::F64)
            .matmul(b.clone().cast(DType::F64));
        let off = |ours: Tensor<2>| {
            let off = (ours.cast(DType::F64) - expected.clone()).abs().max();
            off.into_scalar::<f64>()
        };
        let (plain, split) = (off(a.clone().matmul(b.clone())), off(split_product(a, b)));
        // Rounded to 10 bits, the factors would put it off by about 5e-3.
        assert!(plain < 1e-5 && split < 1e-5, "{split} {plain}");
    }
}
