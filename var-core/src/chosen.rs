//! Some tokens of each row of a batch: picked, and put back in their places.

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};
use nextscale_tokenizer::cpu::is_cpu;

use crate::rope::RopeTable;

/// Numbers of a comparison of all tokens with all others that are in memory at a time.
const PAIRS: usize = 1 << 26;

/// Some tokens of each row of a batch.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// Their places among the tokens of all rows.
    places: Tensor<1, Int>,
    /// Where each token of all rows is among the chosen ones followed by all.
    back: Tensor<1, Int>,
    /// Rows, tokens and chosen tokens of a row.
    rows: usize,
    tokens: usize,
    count: usize,
}

impl Chosen {
    /// The `count` tokens of `x`, `[b, l, c]`, that are farthest from the mean of their row; the earlier of two that are equally
    /// far.
    pub(crate) fn farthest(x: &Tensor<3>, count: usize) -> Self {
        let [rows, tokens, _] = x.dims();
        let centred = x.clone() - x.clone().mean_dim(1);
        let distance = (centred.clone() * centred)
            .sum_dim(2)
            .reshape([rows, tokens]);
        Self::largest(distance, count)
    }

    /// The `count` tokens of each row with the largest `values`, `[b, l]`, the largest first; the earlier of two that are equal.
    pub(crate) fn largest(values: Tensor<2>, count: usize) -> Self {
        let rank = if is_cpu(&values.device()) {
            ranks_on_host(values)
        } else {
            ranks(values)
        };
        Self::of_ranks(rank, count)
    }

    /// The tokens whose rank, `[rows, tokens]` from 0, is below `count`.
    fn of_ranks(rank: Tensor<2, Int>, count: usize) -> Self {
        let [rows, tokens] = rank.dims();
        let (all, device) = (rows * tokens, rank.device());
        let numbers = |n: usize| Tensor::<1, Int>::arange(0..n as i64, &device);
        let own = numbers(all).reshape([rows, tokens]);
        let row = numbers(rows).reshape([rows, 1]);
        let sorted = (row.clone() * tokens as i64 + rank.clone()).reshape([all]);
        let places = Tensor::<1, Int>::zeros([all], &device).scatter(
            0,
            sorted,
            numbers(all),
            IndexingUpdateOp::Add,
        );
        let places = places.reshape([rows, tokens]).slice_dim(1, 0..count);
        let left_out = rank.clone().greater_equal_elem(count as i64);
        let chosen = row * count as i64 + rank;
        let back = chosen.mask_where(left_out, own + (rows * count) as i64);
        Self {
            places: places.reshape([rows * count]),
            back: back.reshape([all]),
            rows,
            tokens,
            count,
        }
    }

    /// Tokens of a row.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The chosen tokens of `x`, `[b, l, c]`.
    pub(crate) fn pick(&self, x: Tensor<3>) -> Tensor<3> {
        let [_, _, c] = x.dims();
        let x = x.reshape([self.rows * self.tokens, c]);
        x.select(0, self.places.clone())
            .reshape([self.rows, self.count, c])
    }

    /// `others`, `[b, l, c]`, with `some` in the places of the chosen tokens.
    pub(crate) fn put(&self, some: Tensor<3>, others: Tensor<3>) -> Tensor<3> {
        let [_, _, c] = some.dims();
        let some = some.reshape([self.rows * self.count, c]);
        let others = others.reshape([self.rows * self.tokens, c]);
        Tensor::cat(vec![some, others], 0)
            .select(0, self.back.clone())
            .reshape([self.rows, self.tokens, c])
    }

    /// The rotary positions of the chosen tokens, for each row its own.
    pub fn rope(&self, table: &RopeTable) -> RopeTable {
        let tokens = self.tokens as i64;
        table.select(self.places.clone().remainder_scalar(tokens))
    }
}

/// The rank of each number of `x`, `[b, l]`, in its row, the largest first.
fn ranks_on_host(x: Tensor<2>) -> Tensor<2, Int> {
    let ([rows, n], device) = (x.dims(), x.device());
    let values: Vec<f32> = x.into_data().iter().collect();
    let mut ranks = vec![0i32; rows * n];
    for (values, ranks) in values.chunks(n.max(1)).zip(ranks.chunks_mut(n.max(1))) {
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| values[b].total_cmp(&values[a])); // stable
        for (rank, token) in order.into_iter().enumerate() {
            ranks[token] = rank as i32;
        }
    }
    Tensor::from_data(TensorData::new(ranks, [rows, n]), &device)
}

/// The same where sorting would go through the host: each number is compared with all others.
fn ranks(x: Tensor<2>) -> Tensor<2, Int> {
    let ([rows, n], device) = (x.dims(), x.device());
    let number = Tensor::<1, Int>::arange(0..n as i64, &device);
    let others = x.clone().reshape([rows, 1, n]);
    let at_once = (PAIRS / (rows * n)).max(1);
    let parts = (0..n).step_by(at_once).map(|from| {
        let (to, count) = (n.min(from + at_once), n.min(from + at_once) - from);
        let own = x.clone().slice_dim(1, from..to).reshape([rows, count, 1]);
        let shape = [rows, count, n];
        let (own, others) = (own.expand(shape), others.clone().expand(shape));
        let earlier = number.clone().reshape([1, 1, n]).expand(shape);
        let here = number.clone().slice_dim(0, from..to);
        let earlier = earlier.lower(here.reshape([1, count, 1]).expand(shape));
        let before = others.clone().greater(own.clone());
        let tied = others.equal(own).bool_and(earlier);
        before.bool_or(tied).int().sum_dim(2).reshape([rows, count])
    });
    Tensor::cat(parts.collect(), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().iter().collect()
    }

    #[test]
    fn ranks_agree() {
        let device = Device::flex();
        let x = Tensor::<2>::from_floats([[1.0, 5.0, 3.0, 5.0], [0.0, -1.0, 0.0, 2.0]], &device);
        let expected: Vec<i64> = vec![3, 0, 2, 1, 1, 3, 2, 0];
        for rank in [ranks_on_host(x.clone()), ranks(x)] {
            assert_eq!(rank.into_data().iter::<i64>().collect::<Vec<_>>(), expected);
        }
    }

    /// What was picked and put back is in its place, and the rest is that of the others.
    #[test]
    fn the_chosen_return_to_their_places() {
        let device = Device::flex();
        let x = Tensor::<3>::random([2, 6, 3], Distribution::Normal(0.0, 1.0), &device);
        let chosen = Chosen::farthest(&x, 4);
        let same = chosen.put(chosen.pick(x.clone()), x.clone());
        assert_eq!(values(same), values(x.clone()));
        let marked = chosen.put(chosen.pick(x.ones_like()), x.zeros_like());
        let marked = values(marked);
        let distance = x.clone() - x.clone().mean_dim(1);
        let distance = values((distance.clone() * distance).sum_dim(2));
        for row in 0..2 {
            let token = |t: usize| (marked[(row * 6 + t) * 3], distance[row * 6 + t]);
            let of = |mark: f32| (0..6).map(token).filter(move |t| t.0 == mark).map(|t| t.1);
            assert_eq!(of(1.0).count(), 4);
            assert!(of(1.0).fold(f32::MAX, f32::min) > of(0.0).fold(0.0, f32::max));
        }
    }
}
