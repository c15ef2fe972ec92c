//! A cache smaller than all tokens: how many of them each layer keeps, and which (ScaleKV, arXiv 2505.19602).
//!
//! A few layers, the drafters, attend to all earlier scales; the others, the refiners, to their own scale and few tokens before it.
//! Drafters keep all tokens and refiners share the rest of the budget. The larger the scales, the fewer tokens a refiner keeps, and
//! all layers together keep no more than the budget at any time.
//!
//! After each scale a layer keeps the tokens that some queries of the scale, spread over its grid, attend to most; each head has its own.

use burn::tensor::activation::softmax;
use burn::tensor::{Int, Tensor, TensorData};
use nextscale_tokenizer::Scale;

use crate::chosen::Chosen;
use crate::dtype::f32;

/// Rows and columns of the queries that choose what is kept.
const CHOOSERS: usize = 4;
/// Rows and columns of the queries whose attention is measured.
const MEASURED: usize = 8;
/// A refiner is sure of this part of what it would have if all layers had the same: a third.
const LEAST: usize = 3;
/// Of the earlier tokens, the part whose attention counts in [`selectivity`]: a tenth.
const TOP: usize = 10;

/// A share of the cache, and which layers get more of it.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheBudget {
    share: f64,
    drafters: Vec<usize>,
}

impl CacheBudget {
    /// A share, above 0 and at most 1, of what all layers keep without a budget. The layers with the numbers `drafters`, from 0, keep all
    /// their tokens as long as that is possible; without drafters all layers get the same.
    ///
    /// # Panics
    /// If the share is out of its range.
    pub fn new(share: f64, drafters: Vec<usize>) -> Self {
        assert!(
            0.0 < share && share <= 1.0,
            "a share of the cache must be above 0 and at most 1: {share}"
        );
        Self { share, drafters }
    }

    /// The share of what all layers keep without a budget.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// The layers that keep all their tokens as long as that is possible.
    pub fn drafters(&self) -> &[usize] {
        &self.drafters
    }

    /// Tokens that each layer keeps after a scale. Of each layer, `seen` is the number of tokens up to and with that scale, `all` that of
    /// all scales; together they keep at most the share of `all`.
    pub(crate) fn limits(&self, seen: &[usize], all: &[usize]) -> Vec<usize> {
        let layers = seen.len().max(1);
        let total = (self.share * all.iter().sum::<usize>() as f64) as usize;
        let (drafters, refiners): (Vec<usize>, Vec<usize>) =
            (0..seen.len()).partition(|layer| self.drafters.contains(layer));
        let sure = refiners.len() * (total / (LEAST * layers));
        let mut limits = vec![0; seen.len()];
        let mut left = total;
        for (group, room) in [(drafters, total - sure), (refiners, total)] {
            let room = room.min(left) / group.len().max(1);
            for layer in group {
                limits[layer] = seen[layer].min(room);
                left -= limits[layer];
            }
        }
        limits
    }
}

/// Queries `[b, h, o, d]` in the middle of patches, `side` x `side` of them, of a grid of which `q`, `[b, h, n, d]`, has all tokens, or some of
/// them in any order.
fn spread(q: &Tensor<4>, grid: Scale, side: usize) -> Tensor<4> {
    let ([_, _, n, _], all) = (q.dims(), grid.tokens());
    let middles = |length: usize| {
        let parts = side.min(length);
        (0..parts).map(move |i| (2 * i + 1) * length / (2 * parts))
    };
    let rows = middles(grid.t * grid.h);
    let tokens = rows.flat_map(|y| middles(grid.w).map(move |x| y * grid.w + x));
    let mut tokens: Vec<i32> = tokens.map(|token| (token * n / all) as i32).collect();
    tokens.dedup();
    let count = tokens.len();
    let tokens = Tensor::<1, Int>::from_data(TensorData::new(tokens, [count]), &q.device());
    q.clone().select(2, tokens)
}

/// How much attention each key `[b, h, m, d]` gets from queries that are spread over a grid, `[b h, m]`; that of all keys adds up to 1.
fn attention_to(q: &Tensor<4>, k: &Tensor<4>, grid: Scale, side: usize) -> Tensor<2> {
    let [b, h, m, _] = k.dims();
    let q = f32(spread(q, grid, side));
    let weights = softmax(q.matmul(f32(k.clone()).transpose()), 3);
    weights.mean_dim(2).reshape([b * h, m])
}

/// Of keys and values `[b, h, m, d]`, the `count` that queries of the last scale, on a grid, attend to most.
pub(crate) fn most_attended(
    q: &Tensor<4>,
    [k, v]: [Tensor<4>; 2],
    grid: Scale,
    count: usize,
) -> [Tensor<4>; 2] {
    let [b, h, m, d] = k.dims();
    let chosen = Chosen::largest(attention_to(q, &k, grid, CHOOSERS), count);
    [k, v].map(|x| {
        let kept = chosen.pick(x.reshape([b * h, m, d]));
        kept.reshape([b, h, count, d])
    })
}

/// The share of attention that stays if, of the tokens before the scale, each head keeps a tenth: those that get most. `q` are the queries of
/// the scale, `k`, `[b, h, m, d]`, all keys, those of the scale at the end; none of a first scale.
pub(crate) fn selectivity(q: &Tensor<4>, k: &Tensor<4>, grid: Scale) -> Option<f64> {
    let ([_, _, n, _], [b, h, m, _]) = (q.dims(), k.dims());
    let earlier = m - n;
    if earlier == 0 {
        return None;
    }
    let weights: Vec<f32> = attention_to(q, k, grid, MEASURED)
        .into_data()
        .iter()
        .collect();
    let mut stays = 0.0;
    for row in weights.chunks_exact(m) {
        let (before, own) = row.split_at(earlier);
        let mut before = before.to_vec();
        before.sort_by(|a, b| b.total_cmp(a));
        before.truncate(earlier.div_ceil(TOP));
        let kept = own.iter().chain(&before);
        stays += kept.map(|weight| f64::from(*weight)).sum::<f64>();
    }
    Some(stays / (b * h) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    /// The budgets of the paper's code for the 2B model after its last scales but one: 20,800 tokens, of which two drafters of 32 layers
    /// have almost all that there are.
    #[test]
    fn drafters_keep_all_and_refiners_share_the_rest() {
        let mut drafters = vec![0, 23];
        let all = [6425; 32];
        for (seen, refiner) in [(921, 623), (1497, 585), (2521, 517), (4121, 410)] {
            let budget = CacheBudget::new(0.1, drafters.clone());
            let limits = budget.limits(&[seen; 32], &all);
            assert_eq!((limits[0], limits[23], limits[1]), (seen, seen, refiner));
        }
        drafters.push(1);
        let limits = CacheBudget::new(0.1, drafters).limits(&all, &all);
        assert_eq!((limits[0], limits[2]), (4784, 214));
        assert!(limits.iter().sum::<usize>() <= 20_560);
        // Early scales are kept whole, and with a share of 1 all are.
        let tenth = CacheBudget::new(0.1, vec![0]);
        assert_eq!(tenth.limits(&[521; 32], &all), [521; 32]);
        assert_eq!(CacheBudget::new(1.0, vec![3]).limits(&all, &all), all);
        let same = CacheBudget::new(0.1, vec![]).limits(&all, &all);
        assert_eq!(same, [642; 32]);
        let whole = CacheBudget::new(0.5, vec![0, 1]).limits(&[7, 9], &[10, 10]);
        assert_eq!(whole, [5, 5]);
    }

    #[test]
    fn queries_are_spread_over_the_grid() {
        let device = Device::flex();
        let tokens = |n: usize, grid, side| -> Vec<i64> {
            let q = Tensor::<1, Int>::arange(0..n as i64, &device).float();
            let q = spread(&q.reshape([1, 1, n, 1]), grid, side);
            q.int().into_data().iter().collect()
        };
        let (square, single) = (Scale::image(8, 8), Scale::image(1, 1));
        assert_eq!(tokens(64, square, 2), [18, 22, 50, 54]);
        assert_eq!(tokens(32, square, 2), [9, 11, 25, 27]);
        assert_eq!(tokens(1, single, 4), [0]);
        assert_eq!(tokens(4, Scale::image(2, 2), 4), [0, 1, 2, 3]);
    }

    /// One-dimensional queries and keys: what is most alike is kept, with its values.
    #[test]
    fn what_is_attended_to_stays() {
        let device = Device::flex();
        let q = Tensor::<4>::from_floats([[[[1.0]], [[-1.0]]]], &device);
        let numbers = [0.0, 3.0, -2.0, 5.0, -7.0];
        let k = Tensor::<1>::from_floats(numbers, &device).reshape([1, 1, 5, 1]);
        let k = k.repeat_dim(1, 2);
        let grid = Scale::image(1, 1);
        let [kept, values] = most_attended(&q, [k.clone(), k.clone() * 2.0], grid, 2);
        let kept: Vec<f32> = kept.into_data().iter().collect();
        assert_eq!(kept, [5.0, 3.0, -7.0, -2.0]);
        let values: Vec<f32> = values.into_data().iter().collect();
        assert_eq!(values, [10.0, 6.0, -14.0, -4.0]);
        // The own token, -7, and one of the four earlier ones.
        let e = |x: f64| x.exp();
        let first = (e(-7.0) + e(5.0)) / (e(0.0) + e(3.0) + e(-2.0) + e(5.0) + e(-7.0));
        let second = (e(7.0) + e(2.0)) / (e(0.0) + e(-3.0) + e(2.0) + e(-5.0) + e(7.0));
        let told = selectivity(&q, &k, grid).unwrap();
        assert!((told - (first + second) / 2.0).abs() < 1e-6, "{told}");
        assert!(selectivity(&q, &k.slice_dim(2, 0..1), grid).is_none());
    }
}
