//! The tokens of one pass on several ranks: sequence parallelism by heads (DeepSpeed-Ulysses, arXiv 2309.14509).
//!
//! ```text
//! tokens of a rank ─► queries, keys, values ─► all to all ─► heads of a rank, all tokens ─► attention ─► all to all ─► its tokens
//! ```
//!
//! Everything but self attention treats each token by itself, so each rank computes it for its tokens only. For self attention the
//! ranks exchange tokens for heads: each attends with its heads, and keeps the keys and values of those. No number changes: every
//! product and every attention is that of one process, to the last bit.

use burn::tensor::Tensor;

use crate::collective::{Collective, CollectiveError};
use crate::dtype::{cast, f32};

/// What a rank has of the tokens of one pass.
///
/// All ranks have equally many, at least one. Where they do not divide evenly, or there are fewer tokens than ranks, the last ranks
/// repeat some.
#[derive(Debug, Clone, Copy)]
pub struct TokenShare<'a> {
    ranks: &'a dyn Collective,
    tokens: usize,
}

impl<'a> TokenShare<'a> {
    /// The share of a pass of `tokens` tokens, at least one.
    pub fn new(ranks: &'a dyn Collective, tokens: usize) -> Self {
        Self { ranks, tokens }
    }

    /// Tokens of each rank.
    pub fn len(&self) -> usize {
        self.tokens.div_ceil(self.ranks.world())
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.tokens == 0
    }

    /// The first token of this rank.
    pub fn start(&self) -> usize {
        self.start_of(self.ranks.rank())
    }

    fn start_of(&self, rank: usize) -> usize {
        (rank * self.len()).min(self.tokens - self.len())
    }

    /// The tokens of this rank from all, along the axis `dim`.
    pub fn own<const D: usize>(&self, x: Tensor<D>, dim: usize) -> Tensor<D> {
        let start = self.start();
        x.slice_dim(dim, start..start + self.len())
    }

    /// What of the tokens of `rank`, along the axis `dim`, no rank before it has.
    fn new_of<const D: usize>(&self, x: Tensor<D>, rank: usize, dim: usize) -> Option<Tensor<D>> {
        let from = (rank * self.len()).min(self.tokens) - self.start_of(rank);
        (from < self.len()).then(|| x.slice_dim(dim, from..self.len()))
    }

    /// Joins the tokens of all ranks, `[ranks, ..]`, along the axis `dim` of what each has.
    fn join<const D: usize>(
        &self,
        parts: impl Iterator<Item = Tensor<D>>,
        dim: usize,
    ) -> Tensor<D> {
        let parts = parts.enumerate();
        let parts = parts.filter_map(|(rank, part)| self.new_of(part, rank, dim));
        Tensor::cat(parts.collect(), dim)
    }

    /// The tokens of all ranks, `[b, l, c]`, from those of this one.
    ///
    /// # Panics
    /// If the ranks cannot talk any more.
    pub fn gather(&self, x: Tensor<3>) -> Tensor<3> {
        let [b, m, c] = x.dims();
        let all = done(self.ranks.all_gather(x.reshape([b * m * c])));
        let all = all.reshape([self.ranks.world() * b, m, c]);
        let part = |rank| all.clone().slice_dim(0, rank * b..(rank + 1) * b);
        self.join((0..self.ranks.world()).map(part), 1)
    }

    /// Queries, keys and values, each `[b, h, m, d]` of this rank's tokens, to those of all tokens for this rank's heads,
    /// `[b, h / N, l, d]`. Keys and values may have fewer heads than queries.
    ///
    /// # Panics
    /// If the heads cannot be shared evenly, or the ranks cannot talk any more.
    pub fn to_heads(&self, all: [Tensor<4>; 3]) -> [Tensor<4>; 3] {
        let (n, m) = (self.ranks.world(), self.len());
        let dtype = all[0].dtype();
        let shapes = all.each_ref().map(|x| {
            let [b, h, _, d] = x.dims();
            assert!(
                h.is_multiple_of(n),
                "{h} heads cannot be shared by {n} ranks"
            );
            [b, h / n, m, d]
        });
        let parts = all.map(|x| {
            let [b, h, m, d] = x.dims();
            let x = x.reshape([b, n, h / n, m, d]).permute([1, 0, 2, 3, 4]);
            x.reshape([n, b * h / n * m * d])
        });
        let sent = Tensor::cat(parts.to_vec(), 1);
        let [_, each] = sent.dims();
        let received = done(self.ranks.all_to_all(f32(sent.reshape([n * each]))));
        let received = received.reshape([n, each]);
        let mut from = 0;
        shapes.map(|[b, own, m, d]| {
            let range = from..from + b * own * m * d;
            from = range.end;
            let x = received.clone().slice_dim(1, range);
            let x = x.reshape([n * b, own, m, d]);
            let part = |rank| x.clone().slice_dim(0, rank * b..(rank + 1) * b);
            cast(self.join((0..n).map(part), 2), dtype)
        })
    }

    /// What this rank's heads attended to for all tokens, `[b, h / N, l, d]`, to what all heads did for its tokens, `[b, h, m, d]`.
    ///
    /// # Panics
    /// If the ranks cannot talk any more.
    pub fn to_tokens(&self, x: Tensor<4>) -> Tensor<4> {
        let n = self.ranks.world();
        let ([b, own, _, d], dtype, m) = (x.dims(), x.dtype(), self.len());
        let part = |rank| {
            let start = self.start_of(rank);
            x.clone().slice_dim(2, start..start + m)
        };
        let sent = Tensor::cat((0..n).map(part).collect(), 0); // [n b, h / n, m, d]
        let sent = f32(sent.reshape([n * b * own * m * d]));
        let received = done(self.ranks.all_to_all(sent)).reshape([n, b, own, m, d]);
        let heads = received
            .permute([1, 0, 2, 3, 4])
            .reshape([b, n * own, m, d]);
        cast(heads, dtype)
    }
}

fn done(result: Result<Tensor<1>, CollectiveError>) -> Tensor<1> {
    result.unwrap_or_else(|error| panic!("{error}"))
}
