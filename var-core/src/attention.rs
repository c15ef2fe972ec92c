//! Softmax attention with the scale folded into the queries.

use burn::tensor::{Bool, Tensor, activation::softmax, module, ops::AttentionModuleOptions};

/// `softmax(q k^T) v`, without a scale of its own: callers fold theirs into `q`.
///
/// `q` is `[b, h, n, d]`, `k` and `v` are `[b, h, m, d]`, all of one dtype; `hidden` broadcasts to
/// `[b, h, n, m]` and is true where a query must not look. Every query must see at least one key.
///
/// Where gradients are wanted the two products are written out, which the backward pass needs anyway;
/// otherwise the backend's fused attention runs. That one divides by `sqrt(d)`, so `q` is multiplied by it
/// first: passing another scale as an option would leave the fused path on CUDA.
pub fn attend(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    hidden: Option<&Tensor<4, Bool>>,
) -> Tensor<4> {
    let [b, h, n, d] = q.dims();
    let m = k.dims()[2];
    let tracked = q.is_autodiff();
    let hidden = hidden.map(|mask| mask.clone().expand([b, h, n, m]));
    if tracked {
        let scores = q.matmul(k.transpose());
        let scores = match hidden {
            Some(mask) => scores.mask_fill(mask, f32::NEG_INFINITY),
            None => scores,
        };
        return softmax(scores, 3).matmul(v);
    }
    let q = q * (d as f64).sqrt();
    module::attention(q, k, v, hidden, None, AttentionModuleOptions::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution, Tolerance};

    #[test]
    fn fused_and_written_out_agree() {
        let device = Device::flex();
        let random =
            |n: usize| Tensor::<4>::random([2, 3, n, 8], Distribution::Normal(0.0, 1.0), &device);
        let (q, k, v) = (random(5), random(7), random(7));
        let mask = crate::mask::padding(&[4, 7], 7, &device);
        let fused = attend(q.clone(), k.clone(), v.clone(), mask.as_ref());
        let tape = |t: Tensor<4>| Tensor::from_inner(t);
        let mask = mask.map(Tensor::from_inner);
        let plain = attend(tape(q), tape(k), tape(v), mask.as_ref()).inner();
        fused
            .into_data()
            .assert_approx_eq::<f32>(&plain.into_data(), Tolerance::absolute(1e-5));
    }
}
