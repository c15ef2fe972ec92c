use burn::tensor::{Bool, Tensor};
use nextscale_var_core::attention::{AttentionPath, attend};

/// Grouped-query attention. The caller folds the scale into `q`.
///
/// Queries that share a key head are stacked, so keys are never repeated. On the CPU they run in blocks of tokens with
/// at most `scores` attention scores each; on a card, [`attend`] sees to that.
///
/// # Shapes
/// - `q`: `[b, l, h, d]`
/// - `k`, `v`: `[b, g, m, d]`; each key head serves `h / g` consecutive query heads
/// - `hidden`: `[b, 1, 1, m]`, true where a key is masked
/// - result: `[b, l, h d]`
///
/// # Panics
/// If the key heads do not divide the query heads.
pub fn attend_grouped(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    hidden: Option<&Tensor<4, Bool>>,
    scores: usize,
) -> Tensor<3> {
    let [b, l, h, d] = q.dims();
    let [_, g, m, _] = k.dims();
    assert!(h % g == 0, "{g} key heads do not divide {h} query heads");
    let per = h / g;
    let block = match AttentionPath::of(d, q.dtype(), &q.device()) {
        AttentionPath::Cpu => (scores / (b * h * m)).max(1),
        AttentionPath::Tiled | AttentionPath::WrittenOut => l,
    };
    let q = q.reshape([b, l, g, per, d]).permute([0, 2, 3, 1, 4]); // [b, g, per, l, d]
    let parts = (0..l).step_by(block).map(|from| {
        let n = block.min(l - from);
        let queries = q.clone().slice_dim(3, from..from + n);
        let queries = queries.reshape([b, g, per * n, d]);
        attend(queries, k.clone(), v.clone(), hidden)
            .reshape([b, g, per, n, d])
            .permute([0, 3, 1, 2, 4]) // [b, n, g, per, d]
            .reshape([b, n, h * d])
    });
    let mut parts: Vec<Tensor<3>> = parts.collect();
    match parts.len() {
        1 => parts.remove(0),
        _ => Tensor::cat(parts, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};

    #[test]
    fn groups_and_blocks_change_nothing() {
        let device = Device::flex();
        let random =
            |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let (q, k, v) = (
            random([2, 5, 4, 8]),
            random([2, 2, 7, 8]),
            random([2, 2, 7, 8]),
        );
        let wide = |x: &Tensor<4>| {
            let x = x.clone().reshape([2, 2, 1, 7, 8]).expand([2, 2, 2, 7, 8]);
            x.reshape([2, 4, 7, 8])
        };
        let plain = attend(q.clone().swap_dims(1, 2), wide(&k), wide(&v), None);
        let plain = plain.swap_dims(1, 2).reshape([2, 5, 32]);
        for scores in [1, 2 * 4 * 7 * 2, 1 << 20] {
            let ours = attend_grouped(q.clone(), k.clone(), v.clone(), None, scores);
            let off: f32 = (ours - plain.clone()).abs().max().into_scalar();
            assert!(off < 1e-5, "{scores}: {off}");
        }
    }
}
