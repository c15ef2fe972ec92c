//! Tokens that large scales leave out: cached token pruning (FastVAR, arXiv 2503.23367).
//!
//! In most blocks of the last scales only the tokens that are farthest from the mean of all are computed. Every other token gets
//! what the same block has added at the last scale that was computed in full, resized to the grid of this one.

use std::ops::Range;

use burn::tensor::Tensor;
use nextscale_tokenizer::resize::{Resize, resize_tokens};
use nextscale_tokenizer::{Scale, ScaleSchedule};

use crate::chosen::Chosen;

/// Which share of their tokens scales compute.
#[derive(Debug, Clone, PartialEq)]
pub struct Pruning {
    /// Of each scale, above 0; 1 is all of them.
    keep: Vec<f64>,
}

impl Pruning {
    /// The last of `scales` scales compute these shares of their tokens, coarse to fine, the others all.
    ///
    /// # Panics
    /// If there are as many shares as scales or more, or one is not above 0 and at most 1.
    pub fn of_last(shares: &[f64], scales: usize) -> Self {
        assert!(
            shares.len() < scales,
            "{} shares for {scales} scales",
            shares.len()
        );
        assert!(
            shares.iter().all(|share| 0.0 < *share && *share <= 1.0),
            "shares of tokens must be above 0 and at most 1: {shares:?}"
        );
        let mut keep = vec![1.0; scales - shares.len()];
        keep.extend(shares);
        Self { keep }
    }

    /// Tokens of scale `k`, which has `tokens`, that a block computes; none if it computes all.
    ///
    /// The first blocks and the last ones compute all: as many as 3 and 4 of 32.
    fn kept(&self, k: usize, tokens: usize, block: usize, depth: usize) -> Option<usize> {
        let share = *self.keep.get(k)?;
        let left_out = (tokens as f64 * (1.0 - share)) as usize;
        let pruned = left_out > 0 && pruned_blocks(depth).contains(&block);
        pruned.then_some(tokens - left_out)
    }

    /// The scale whose outputs stand in: the last one before the first that leaves tokens out.
    fn source(&self) -> Option<usize> {
        let first = self.keep.iter().position(|share| *share < 1.0)?;
        first.checked_sub(1)
    }

    /// Tokens of all blocks whose outputs stand in for those that are left out.
    pub fn stand_ins(&self, schedule: &ScaleSchedule, depth: usize) -> usize {
        let source = self.source().map(|k| schedule.scales()[k].tokens());
        source.unwrap_or(0) * pruned_blocks(depth).len()
    }

    /// Tokens of scale `k`, which has `tokens`, whose keys and values a block of `depth` keeps.
    pub fn cached(&self, k: usize, tokens: usize, block: usize, depth: usize) -> usize {
        self.kept(k, tokens, block, depth).unwrap_or(tokens)
    }
}

/// The blocks that leave tokens out.
fn pruned_blocks(depth: usize) -> Range<usize> {
    let of = |part: f64| ((depth as f64 * part / 32.0).round() as usize).max(1);
    of(3.0)..depth.saturating_sub(of(4.0))
}

/// What blocks have added at the last scale that was computed in full.
#[derive(Debug, Clone)]
pub struct Pruner {
    pruning: Pruning,
    depth: usize,
    /// `[rows, n, c]` of each block.
    added: Vec<Option<Tensor<3>>>,
    grid: Scale,
}

impl Pruner {
    /// For a run of a model of `depth` blocks.
    pub fn new(pruning: Pruning, depth: usize) -> Self {
        Self {
            pruning,
            depth,
            added: vec![None; depth],
            grid: Scale::image(1, 1),
        }
    }

    /// Whether [`Pruner::block`] does anything but `run` at scale `k`.
    pub fn acts(&self, k: usize) -> bool {
        let source = self.pruning.source();
        source.is_some_and(|source| k >= source)
    }

    /// Drops all rows of the batch but the first `rows`.
    pub fn keep_rows(&mut self, rows: usize) {
        for added in self.added.iter_mut().flatten() {
            *added = added.clone().slice_dim(0, 0..rows);
        }
    }

    /// Whether what blocks add at scale `k` stands in for tokens of later ones.
    pub fn stands_in(&self, k: usize) -> bool {
        self.pruning.source() == Some(k)
    }

    /// The output of a block of scale `k` for the tokens `x`, `[rows, n, c]`, by `run`, which gets tokens and what they are of the
    /// scale's tokens; none if they are all.
    ///
    /// # Panics
    /// If a scale that leaves tokens out comes before one that does not.
    pub fn block(
        &mut self,
        k: usize,
        scale: Scale,
        block: usize,
        x: Tensor<3>,
        run: impl FnOnce(Tensor<3>, Option<&Chosen>) -> Tensor<3>,
    ) -> Tensor<3> {
        let rows = 0..x.dims()[0];
        self.block_of_rows(k, scale, block, (rows, x), run)
    }

    /// [`Pruner::block`] for some rows of the batch, of which the first ones come first: those of which `x` are the tokens.
    ///
    /// # Panics
    /// As [`Pruner::block`], and if the scale that stands in had fewer rows.
    pub fn block_of_rows(
        &mut self,
        k: usize,
        scale: Scale,
        block: usize,
        (rows, x): (Range<usize>, Tensor<3>),
        run: impl FnOnce(Tensor<3>, Option<&Chosen>) -> Tensor<3>,
    ) -> Tensor<3> {
        let [_, tokens, _] = x.dims();
        if let Some(count) = self.pruning.kept(k, tokens, block, self.depth) {
            let chosen = Chosen::farthest(&x, count);
            let some = run(chosen.pick(x.clone()), Some(&chosen));
            let added = self.added[block].clone();
            let added = added.expect("a scale that is computed in full comes first");
            let added = added.slice_dim(0, rows);
            return chosen.put(
                some,
                x + resize_tokens(added, self.grid, scale, Resize::Area),
            );
        }
        if !self.stands_in(k) || !pruned_blocks(self.depth).contains(&block) {
            return run(x, None);
        }
        let y = run(x.clone(), None);
        let earlier = self.added[block].take().filter(|_| rows.start > 0);
        let all = earlier.into_iter().chain([y.clone() - x]).collect();
        self.grid = scale;
        self.added[block] = Some(Tensor::cat(all, 0));
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().iter().collect()
    }

    #[test]
    fn middle_blocks_of_the_last_scales_leave_tokens_out() {
        let pruning = Pruning::of_last(&[0.6, 0.5], 11);
        assert_eq!(pruned_blocks(32), 3..28);
        assert_eq!(pruned_blocks(6), 1..5);
        assert_eq!(pruning.source(), Some(8));
        assert_eq!(pruning.kept(9, 1024, 3, 32), Some(615));
        assert_eq!(pruning.kept(10, 1600, 27, 32), Some(800));
        assert_eq!(pruning.kept(10, 1600, 28, 32), None);
        assert_eq!(pruning.kept(8, 576, 3, 32), None);
        assert_eq!(pruning.cached(8, 576, 3, 32), 576);
    }

    /// A block that adds the same to all tokens does so whether tokens are left out or not.
    #[test]
    fn others_get_what_the_coarser_scale_got() {
        let device = Device::flex();
        let mut pruner = Pruner::new(Pruning::of_last(&[0.5], 2), 4);
        let random = |n| Tensor::<3>::random([2, n, 3], Distribution::Default, &device);
        let mut computed = vec![];
        for (k, side) in [(0, 2), (1, 3)] {
            let x = random(side * side);
            let scale = Scale::image(side, side);
            let y = pruner.block(k, scale, 1, x.clone(), |x, _| {
                computed.push(x.dims()[1]);
                x + 2.0
            });
            for change in values(y - x) {
                assert!((change - 2.0).abs() < 1e-5, "{change}");
            }
        }
        assert_eq!(computed, [4, 5]);
    }

    /// Rows that run one after the other get what they got together.
    #[test]
    fn rows_in_turn() {
        let device = Device::flex();
        let pruning = Pruning::of_last(&[0.5], 2);
        let mut both = Pruner::new(pruning.clone(), 4);
        let mut each = Pruner::new(pruning, 4);
        let half = |x: Tensor<3>, _: Option<&Chosen>| x * 0.5 + 1.0;
        for (k, side) in [(0, 2), (1, 3), (0, 2), (1, 4)] {
            let x = Tensor::<3>::random([2, side * side, 3], Distribution::Default, &device);
            let scale = Scale::image(side, side);
            let together = both.block(k, scale, 1, x.clone(), half);
            let row = |i: usize| (i..i + 1, x.clone().slice_dim(0, i..i + 1));
            let rows = [0, 1].map(|i| each.block_of_rows(k, scale, 1, row(i), half));
            assert_eq!(values(together), values(Tensor::cat(rows.to_vec(), 0)));
        }
        assert!(both.stands_in(0) && !both.stands_in(1));
    }
}
