//! What a run leaves out to be faster, its last scales and tokens of its large ones; and to take less memory, keys and values.

use nextscale_tokenizer::ScaleSchedule;

use crate::cache::KvCache;
use crate::cache_budget::CacheBudget;
use crate::pruning::{Pruner, Pruning};

/// The scales of a schedule that are run, and the tokens that they leave out.
#[derive(Debug, Clone, PartialEq)]
pub struct Shortcuts {
    /// Scales that are run, from the first; the feature map after the last of them is the result.
    scales: usize,
    pruning: Option<Pruning>,
    /// None if all keys and values are kept.
    cache: Option<CacheBudget>,
}

impl Shortcuts {
    /// None: all `scales` scales are run, with all tokens.
    pub fn none(scales: usize) -> Self {
        Self {
            scales,
            pruning: None,
            cache: None,
        }
    }

    /// The first `scales` scales; the last of them compute these shares of their tokens, coarse to fine
    /// ([`Pruning::of_last`]).
    ///
    /// # Panics
    /// If no scale is run, or the shares are not those of [`Pruning::of_last`].
    pub fn new(scales: usize, shares: &[f64]) -> Self {
        assert!(scales > 0, "no scale is run");
        let pruned = shares.iter().any(|share| *share < 1.0);
        Self {
            scales,
            pruning: pruned.then(|| Pruning::of_last(shares, scales)),
            cache: None,
        }
    }

    /// The same with a budget for the cache; one that covers everything is none.
    #[must_use]
    pub fn with_cache_budget(self, budget: Option<CacheBudget>) -> Self {
        Self {
            cache: budget.filter(|budget| budget.share() < 1.0),
            ..self
        }
    }

    /// Checks that a schedule has the scales.
    ///
    /// # Panics
    /// If it has fewer.
    pub fn check(&self, schedule: &ScaleSchedule) {
        let (run, all) = (self.scales, schedule.len());
        assert!(run <= all, "{run} scales of a schedule of {all}");
    }

    /// Scales that are run.
    pub fn scales(&self) -> usize {
        self.scales
    }

    /// Tokens of all blocks whose outputs stand in for those that are left out.
    pub fn stand_ins(&self, schedule: &ScaleSchedule, depth: usize) -> usize {
        let pruning = self.pruning.as_ref();
        pruning.map_or(0, |pruning| pruning.stand_ins(schedule, depth))
    }

    /// What a run of a model of `depth` blocks needs to leave out tokens.
    pub fn pruner(&self, depth: usize) -> Option<Pruner> {
        let pruning = self.pruning.clone();
        pruning.map(|pruning| Pruner::new(pruning, depth))
    }

    /// Tokens of each of `depth` blocks whose keys and values are kept of the scales before `before`, the most at any time. Those of the
    /// last scale are not: no later one attends to them.
    pub fn kept_tokens(&self, schedule: &ScaleSchedule, depth: usize, before: usize) -> Vec<usize> {
        let mut most = vec![0; depth];
        for kept in self.kept_by_scale(schedule, depth, before) {
            for (most, kept) in most.iter_mut().zip(kept) {
                *most = kept.max(*most);
            }
        }
        most
    }

    /// The most tokens that all of `depth` blocks together keep at any time of the scales before `before`.
    pub fn most_kept(&self, schedule: &ScaleSchedule, depth: usize, before: usize) -> usize {
        let all = self.kept_by_scale(schedule, depth, before);
        let sums = all.iter().map(|kept| kept.iter().sum());
        sums.max().unwrap_or(0)
    }

    /// Whether there is a budget for the cache.
    pub fn has_cache_budget(&self) -> bool {
        self.cache.is_some()
    }

    /// Tokens of each of `depth` blocks that are kept after scale `k`, if there is a budget.
    pub fn cache_limits(
        &self,
        schedule: &ScaleSchedule,
        depth: usize,
        k: usize,
    ) -> Option<Vec<usize>> {
        let budget = self.cache.as_ref()?;
        let all = self.seen_tokens(schedule, depth, self.scales - 1);
        let seen = self.seen_tokens(schedule, depth, k + 1);
        Some(budget.limits(&seen, &all))
    }

    /// The cache of a run of a model of `depth` blocks, with room for the scales before `before`, after `source` tokens.
    pub fn cache(
        &self,
        schedule: &ScaleSchedule,
        depth: usize,
        [source, before]: [usize; 2],
    ) -> KvCache {
        let kept = self.kept_tokens(schedule, depth, before).into_iter();
        let capacity = kept.map(|tokens| source + tokens).collect();
        match &self.cache {
            Some(_) => KvCache::compressed(capacity),
            None => KvCache::with_capacity(capacity),
        }
    }

    /// Tokens of each block that are kept after each of the scales before `before`, without the last one.
    fn kept_by_scale(
        &self,
        schedule: &ScaleSchedule,
        depth: usize,
        before: usize,
    ) -> Vec<Vec<usize>> {
        let kept = before.min(self.scales - 1);
        let after = |k: usize| {
            let limits = self.cache_limits(schedule, depth, k);
            limits.unwrap_or_else(|| self.seen_tokens(schedule, depth, k + 1))
        };
        (0..kept).map(after).collect()
    }

    /// Tokens of each block that are computed in the first `scales` scales.
    fn seen_tokens(&self, schedule: &ScaleSchedule, depth: usize, scales: usize) -> Vec<usize> {
        let scales = &schedule.scales()[..scales];
        let of_block = |block: usize| {
            let tokens = scales.iter().enumerate().map(|(k, scale)| {
                let tokens = scale.tokens();
                match &self.pruning {
                    Some(pruning) => pruning.cached(k, tokens, block, depth),
                    None => tokens,
                }
            });
            tokens.sum()
        };
        (0..depth).map(of_block).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_are_left_out_are_not_kept() {
        let schedule = ScaleSchedule::square(&[1, 2, 3, 4, 5]).unwrap();
        let all = Shortcuts::none(5);
        assert_eq!(all.kept_tokens(&schedule, 2, 5), [30, 30]);
        assert_eq!(all.kept_tokens(&schedule, 2, 2), [5, 5]);
        let fewer = Shortcuts::new(4, &[0.5, 0.5]);
        assert_eq!(fewer.kept_tokens(&schedule, 4, 9), [14, 10, 10, 14]);
        assert!(fewer.pruner(4).is_some() && all.pruner(4).is_none());
        assert!(Shortcuts::new(4, &[1.0]).pruner(4).is_none());
    }

    #[test]
    fn a_budget_is_kept_at_all_times() {
        let schedule = ScaleSchedule::square(&[1, 2, 3, 4, 5]).unwrap();
        let budget = |share| Some(CacheBudget::new(share, vec![1]));
        let half = Shortcuts::none(5).with_cache_budget(budget(0.5));
        // 30 tokens in each of 4 blocks: 60 in all, of which a refiner is sure of 5.
        assert_eq!(half.cache_limits(&schedule, 4, 2).unwrap(), [14; 4]);
        assert_eq!(
            half.cache_limits(&schedule, 4, 3).unwrap(),
            [10, 30, 10, 10]
        );
        assert_eq!(half.kept_tokens(&schedule, 4, 9), [14, 30, 14, 14]);
        assert_eq!(half.kept_tokens(&schedule, 4, 2), [5; 4]);
        assert_eq!(half.most_kept(&schedule, 4, 9), 60);
        assert_eq!(Shortcuts::none(5).most_kept(&schedule, 4, 9), 120);
        let fewer = Shortcuts::new(4, &[0.5, 0.5]).with_cache_budget(budget(0.25));
        assert_eq!(fewer.most_kept(&schedule, 4, 9), 12);
        let all = Shortcuts::none(5).with_cache_budget(budget(1.0));
        assert_eq!(all, Shortcuts::none(5));
    }

    #[test]
    #[should_panic(expected = "6 scales of a schedule of 5")]
    fn more_scales_than_there_are() {
        let schedule = ScaleSchedule::square(&[1, 2, 3, 4, 5]).unwrap();
        Shortcuts::none(6).check(&schedule);
    }
}
