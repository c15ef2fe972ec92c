//! What a run leaves out to be faster: its last scales, and tokens of its large ones.

use nextscale_tokenizer::ScaleSchedule;

use crate::pruning::{Pruner, Pruning};

/// The scales of a schedule that are run, and the tokens that they leave out.
#[derive(Debug, Clone, PartialEq)]
pub struct Shortcuts {
    /// Scales that are run, from the first; the feature map after the last of them is the result.
    scales: usize,
    pruning: Option<Pruning>,
}

impl Shortcuts {
    /// None: all `scales` scales are run, with all tokens.
    pub fn none(scales: usize) -> Self {
        Self {
            scales,
            pruning: None,
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

    /// Tokens of each of `depth` blocks whose keys and values are kept of the scales before `before`. Those of the last scale are
    /// not: no later one attends to them.
    pub fn kept_tokens(&self, schedule: &ScaleSchedule, depth: usize, before: usize) -> Vec<usize> {
        let kept = before.min(self.scales - 1);
        let scales = &schedule.scales()[..kept];
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
    #[should_panic(expected = "6 scales of a schedule of 5")]
    fn more_scales_than_there_are() {
        let schedule = ScaleSchedule::square(&[1, 2, 3, 4, 5]).unwrap();
        Shortcuts::none(6).check(&schedule);
    }
}
