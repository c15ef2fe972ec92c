//! Revival of unused codes while a codebook is trained.
//!
//! A codebook can collapse: a vector that is not the nearest to any cell gets no gradient and is never used again. So
//! training counts which codes occur at each scale, and [`Codebook::with_vectors`](crate::Codebook::with_vectors) replaces
//! the vectors of codes that did not occur for a while.

use serde::{Deserialize, Serialize};

use crate::usage::perplexity;

/// Decay of the moving counts per step.
const DECAY: f32 = 0.99;

/// When each code of a codebook was used and replaced in a training run. Steps count from 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodeHistory {
    /// For each scale and code, the last step that used it; 0 if none did.
    last: Vec<Vec<u64>>,
    /// For each scale and code, the moving count.
    hits: Vec<Vec<f32>>,
    /// For each code, the step at which its vector was last replaced; 0 if never.
    placed: Vec<u64>,
}

impl CodeHistory {
    /// No usage yet of `vocabulary` codes at `scales` scales.
    pub fn new(scales: usize, vocabulary: usize) -> Self {
        Self {
            last: vec![vec![0; vocabulary]; scales],
            hits: vec![vec![0.0; vocabulary]; scales],
            placed: vec![0; vocabulary],
        }
    }

    /// Whether this is the usage of `vocabulary` codes at `scales` scales.
    pub fn fits(&self, scales: usize, vocabulary: usize) -> bool {
        let whole = |lists: usize, mut lengths: Box<dyn Iterator<Item = usize> + '_>| {
            lists == scales && lengths.all(|length| length == vocabulary)
        };
        whole(self.last.len(), Box::new(self.last.iter().map(Vec::len)))
            && whole(self.hits.len(), Box::new(self.hits.iter().map(Vec::len)))
            && self.placed.len() == vocabulary
    }

    /// Adds the counts of the batch of a step, from [`count`](crate::usage::count).
    ///
    /// # Panics
    /// If the counts are of other scales or another codebook.
    pub fn record(&mut self, step: u64, counts: &[Vec<u32>]) {
        assert_eq!(counts.len(), self.last.len(), "scales");
        for ((last, hits), counts) in self.last.iter_mut().zip(&mut self.hits).zip(counts) {
            assert_eq!(counts.len(), last.len(), "codes");
            for ((last, hits), &count) in last.iter_mut().zip(hits).zip(counts) {
                *hits = *hits * DECAY + count as f32 * (1.0 - DECAY);
                if count > 0 {
                    *last = step;
                }
            }
        }
    }

    /// Number of scales.
    pub fn scales(&self) -> usize {
        self.last.len()
    }

    /// Fraction of the codes that occurred at scale `k` in the last `within` steps up to `step`.
    pub fn used_on(&self, k: usize, step: u64, within: u64) -> f64 {
        let alive = |&&last: &&u64| last > 0 && last + within > step;
        let count = self.last[k].iter().filter(alive).count();
        count as f64 / self.placed.len() as f64
    }

    /// Fraction of the codes that occurred at any scale in the last `within` steps up to `step`.
    pub fn used(&self, step: u64, within: u64) -> f64 {
        let alive = |&code: &usize| self.last_use(code) > 0 && self.last_use(code) + within > step;
        let codes = self.placed.len();
        (0..codes).filter(alive).count() as f64 / codes as f64
    }

    /// Perplexity of the codes at scale `k`, between 1 and `vocabulary`: the equivalent number of equally frequent codes.
    pub fn perplexity_on(&self, k: usize) -> f64 {
        perplexity(self.hits[k].iter().map(|&hits| f64::from(hits)))
    }

    /// As [`CodeHistory::perplexity_on`], over all scales.
    pub fn perplexity(&self) -> f64 {
        let codes = 0..self.placed.len();
        let sum = |code: usize| self.hits.iter().map(|hits| f64::from(hits[code])).sum();
        perplexity(codes.map(sum))
    }

    /// The codes that no scale used in the last `within` steps up to `step`, and whose vectors were not replaced in that
    /// time. A code that was never used and never replaced is dead from the start.
    pub fn dead(&self, step: u64, within: u64) -> Vec<usize> {
        let codes = 0..self.placed.len();
        let since = |code: &usize| self.last_use(*code).max(self.placed[*code]);
        codes
            .filter(|code| since(code) == 0 || since(code) + within <= step)
            .collect()
    }

    /// Records that the vectors of codes were replaced.
    pub fn place(&mut self, step: u64, codes: &[usize]) {
        codes.iter().for_each(|&code| self.placed[code] = step);
    }

    fn last_use(&self, code: usize) -> u64 {
        self.last.iter().map(|last| last[code]).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_dies_when_no_scale_uses_it_and_lives_on_when_it_is_moved() {
        let mut usage = CodeHistory::new(2, 4);
        assert_eq!(usage.dead(1, 10), [0, 1, 2, 3], "never used");
        usage.record(1, &[vec![3, 0, 0, 0], vec![0, 2, 0, 0]]);
        assert_eq!(usage.dead(1, 10), [2, 3]);
        assert_eq!((usage.used(1, 10), usage.used_on(0, 1, 10)), (0.5, 0.25));
        usage.place(1, &[2]);
        usage.record(2, &[vec![1, 0, 0, 0], vec![0; 4]]);
        assert_eq!(usage.dead(2, 10), [3]);
        usage.record(11, &[vec![1, 0, 0, 0], vec![0; 4]]);
        assert_eq!(usage.dead(11, 10), [1, 2, 3]);
        assert_eq!(usage.used(11, 10), 0.25);
    }

    #[test]
    fn perplexity_counts_equally_frequent_codes() {
        let mut usage = CodeHistory::new(2, 8);
        assert_eq!(usage.perplexity(), 1.0);
        usage.record(
            1,
            &[vec![5, 5, 5, 5, 0, 0, 0, 0], vec![0, 0, 0, 0, 20, 0, 0, 0]],
        );
        assert!((usage.perplexity_on(0) - 4.0).abs() < 1e-9);
        assert!((usage.perplexity_on(1) - 1.0).abs() < 1e-9);
        let whole = usage.perplexity();
        assert!(whole > 1.0 && whole < 5.0, "{whole}");
        let text = serde_json::to_string(&usage).unwrap();
        assert_eq!(serde_json::from_str::<CodeHistory>(&text).unwrap(), usage);
        assert!(usage.fits(2, 8) && !usage.fits(2, 7));
    }
}
