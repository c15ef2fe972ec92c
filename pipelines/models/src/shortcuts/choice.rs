use crate::cache_index::CacheIndex;
use crate::error::ModelError;

/// What a run may leave out; nothing unless it is set. What is set wins over what `fast` sets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ShortcutChoice {
    /// Settings that leave out as much as published work found acceptable ([`ImageShortcuts::fast`](super::ImageShortcuts::fast)).
    pub fast: bool,
    /// Scales that are run, from the first.
    pub scales: Option<usize>,
    /// Scales with guidance, from the first.
    pub guidance_until: Option<usize>,
    /// Shares of the tokens of the last scales that are run, coarse to fine.
    pub keep_tokens: Option<Vec<f64>>,
    /// Of images: the share of the keys and values of earlier scales that is kept, above 0; 1 is all.
    pub cache_budget: Option<f64>,
    /// Which layers keep all their keys and values as long as that is possible: what `nextscale calibrate` has found. With an index the
    /// budget is [`DEFAULT_CACHE_BUDGET`](super::DEFAULT_CACHE_BUDGET) unless another one is given.
    pub cache_index: Option<CacheIndex>,
    /// The same layers, by their numbers from 0, instead of an index.
    pub drafters: Option<Vec<usize>>,
    /// Of videos: passes over each scale, at most.
    pub repeats: Option<usize>,
    /// Of videos: the share of bits that repeat from one pass over a scale to the next below which its other passes are left out,
    /// from 0 to 1 ([`GenerateOptions::converge`](nextscale_video::generate::GenerateOptions::converge)).
    pub converge: Option<f64>,
}

/// A choice that does not fit a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ShortcutError {
    /// The setting, as pipelines call it.
    pub key: &'static str,
    /// What is wrong.
    pub message: String,
}

impl From<ShortcutError> for ModelError {
    fn from(error: ShortcutError) -> Self {
        Self::refused(error.message)
    }
}

impl ShortcutChoice {
    /// Whether anything is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Checks shares of the tokens of the last of `scales` scales that are run.
pub(super) fn check_shares(shares: &[f64], scales: usize) -> Result<(), ShortcutError> {
    let refuse = |message| {
        let key = "keep-tokens";
        Err(ShortcutError { key, message })
    };
    let is_share = |share: &&f64| 0.0 < **share && **share <= 1.0;
    if let Some(share) = shares.iter().find(|share| !is_share(share)) {
        return refuse(format!(
            "`keep-tokens` should be above 0 and at most 1, but it is {share}"
        ));
    }
    if shares.len() >= scales {
        return refuse(format!(
            "`keep-tokens` has {} numbers, but of {scales} scales at most {} can leave tokens out: the first cannot",
            shares.len(),
            scales - 1
        ));
    }
    Ok(())
}
