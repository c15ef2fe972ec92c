//! Ways to be faster at the price of details, as a user asks for them: fewer scales, guidance on the first ones only, and fewer
//! tokens in the last ones; and a smaller cache of keys and values, for less memory.

mod cache;
#[cfg(test)]
mod tests;

use nextscale_var_core::shortcuts::Shortcuts;

use crate::cache_index::CacheIndex;
use crate::error::ModelError;
use crate::model::Model;

pub use self::cache::DEFAULT_CACHE_BUDGET;
pub use nextscale_var_core::cache_budget::CacheBudget;

/// What a run may leave out; nothing unless it is set. What is set wins over what `fast` sets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ShortcutChoice {
    /// Settings that leave out as much as published work found acceptable ([`ImageShortcuts::fast`]).
    pub fast: bool,
    /// Scales that are run, from the first.
    pub scales: Option<usize>,
    /// Scales with guidance, from the first.
    pub guidance_until: Option<usize>,
    /// Shares of the tokens of the last scales that are run, coarse to fine.
    pub keep_tokens: Option<Vec<f64>>,
    /// Of images: the share of the keys and values of earlier scales that is kept, above 0; 1 is all.
    pub cache_budget: Option<f64>,
    /// Which layers keep all their keys and values as long as that is possible: what `nextscale calibrate` has found. With an index the budget
    /// is [`DEFAULT_CACHE_BUDGET`] unless another one is given.
    pub cache_index: Option<CacheIndex>,
    /// The same layers, by their numbers from 0, instead of an index.
    pub drafters: Option<Vec<usize>>,
    /// Of videos: passes over each scale, at most.
    pub repeats: Option<usize>,
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

/// What a run of images leaves out.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageShortcuts {
    /// Scales that are run.
    pub scales: usize,
    /// Scales with guidance, at most those that are run.
    pub guidance_until: usize,
    /// Shares of the tokens of the last scales that are run; none if all are computed.
    pub keep_tokens: Vec<f64>,
    /// The share of keys and values that is kept, and by which layers; none if all are.
    pub cache: Option<CacheBudget>,
}

/// What a run of videos leaves out; nothing unless it is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VideoShortcuts {
    /// Scales with guidance, from the first of each clip.
    pub guidance_until: Option<usize>,
    /// Passes over each scale, at most.
    pub repeats: Option<usize>,
}

impl VideoShortcuts {
    /// No guidance of the last two scales, which take most of the time; of fewer than 8 scales, of the last one.
    pub fn fast(scales: usize) -> Self {
        let unguided = if scales < 8 { 1 } else { 2 };
        Self {
            guidance_until: Some(scales.saturating_sub(unguided)),
            repeats: None,
        }
    }

    /// Checks the numbers against a model's `scales` scales.
    ///
    /// # Errors
    /// More guided scales than there are, and no pass over a scale.
    pub fn check(&self, scales: usize) -> Result<(), ShortcutError> {
        let refuse = |key, message| Err(ShortcutError { key, message });
        match (self.guidance_until, self.repeats) {
            (Some(until), _) if until > scales => refuse(
                "guidance-until",
                format!("`guidance-until` should be from 0 to {scales}, but it is {until}"),
            ),
            (_, Some(0)) => refuse("repeats", "`repeats` should be at least 1".to_owned()),
            _ => Ok(()),
        }
    }
}

impl ImageShortcuts {
    /// None over a schedule of `scales` scales.
    pub fn none(scales: usize) -> Self {
        Self {
            scales,
            guidance_until: scales,
            keep_tokens: vec![],
            cache: None,
        }
    }

    /// Of a schedule of 13 scales, the last two are not run, the two before them compute 60 % and 50 % of their tokens (FastVAR's
    /// settings for Infinity, arXiv 2503.23367) and are not guided. Shorter schedules leave out as much as their length allows: a
    /// sixth of the scales, and with fewer than 8 only guidance of the last one.
    pub fn fast(scales: usize) -> Self {
        let run = scales - scales / 6;
        let (keep_tokens, unguided): (&[f64], _) = match run {
            8.. => (&[0.6, 0.5], 2),
            2.. => (&[], 1),
            _ => (&[], 0),
        };
        Self {
            scales: run,
            guidance_until: run - unguided,
            keep_tokens: keep_tokens.to_vec(),
            cache: None,
        }
    }

    /// A choice that comes to the same.
    pub fn choice(&self) -> ShortcutChoice {
        ShortcutChoice {
            fast: false,
            scales: Some(self.scales),
            guidance_until: Some(self.guidance_until),
            keep_tokens: Some(self.keep_tokens.clone()),
            cache_budget: self.cache.as_ref().map(CacheBudget::share),
            drafters: self.cache.as_ref().map(|cache| cache.drafters().to_vec()),
            ..ShortcutChoice::default()
        }
    }

    /// What scale `k`, from 0, of a schedule of `scales` scales leaves out, in a few words; none if nothing.
    pub fn note(&self, k: usize, scales: usize, guided: bool) -> Option<String> {
        let mut notes = vec![];
        let pruned = (k + self.keep_tokens.len()).checked_sub(self.scales);
        if let Some(share) = pruned.and_then(|i| self.keep_tokens.get(i)) {
            notes.push(format!("{:.0} % of tokens", share * 100.0));
        }
        if self.guidance_until < self.scales && !guided {
            notes.push("no guidance".to_owned());
        }
        if k + 1 == self.scales && self.scales < scales {
            notes.push(format!("last of {scales} that is run"));
        }
        (!notes.is_empty()).then(|| notes.join(", "))
    }

    /// What the transformer leaves out.
    pub fn of_transformer(&self) -> Shortcuts {
        let shortcuts = Shortcuts::new(self.scales, &self.keep_tokens);
        shortcuts.with_cache_budget(self.cache.clone())
    }
}

impl ShortcutChoice {
    /// Whether anything is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The settings of a run of videos over `scales` scales.
    ///
    /// # Errors
    /// A setting of images, and one that does not fit the scales.
    pub fn resolve_video(&self, scales: usize) -> Result<VideoShortcuts, ShortcutError> {
        for (key, given) in [
            ("scales", self.scales.is_some()),
            ("keep-tokens", self.keep_tokens.is_some()),
            ("cache-budget", self.cache_budget.is_some()),
            ("cache-index", self.cache_index.is_some()),
            ("drafters", self.drafters.is_some()),
        ] {
            if given {
                let message = format!("`{key}` is for models of images");
                return Err(ShortcutError { key, message });
            }
        }
        let base = if self.fast {
            VideoShortcuts::fast(scales)
        } else {
            VideoShortcuts::default()
        };
        let shortcuts = VideoShortcuts {
            guidance_until: self.guidance_until.or(base.guidance_until),
            repeats: self.repeats.or(base.repeats),
        };
        shortcuts.check(scales)?;
        Ok(shortcuts)
    }

    /// The settings of a run of images by a model over a schedule of `scales` scales.
    ///
    /// # Errors
    /// A setting that does not fit the schedule or the model.
    pub fn resolve_for(
        &self,
        model: &Model,
        scales: usize,
    ) -> Result<ImageShortcuts, ShortcutError> {
        Ok(ImageShortcuts {
            cache: self.cache(model)?,
            ..self.resolve(scales)?
        })
    }

    /// The settings over a schedule of `scales` scales, without the cache.
    fn resolve(&self, scales: usize) -> Result<ImageShortcuts, ShortcutError> {
        let base = if self.fast {
            ImageShortcuts::fast(scales)
        } else {
            ImageShortcuts::none(scales)
        };
        let refuse = |key, message| Err(ShortcutError { key, message });
        if self.repeats.is_some() {
            let message = "`repeats` is for models of videos".to_owned();
            return refuse("repeats", message);
        }
        let run = self.scales.unwrap_or(base.scales);
        if run == 0 || run > scales {
            let message = format!("`scales` should be from 1 to {scales}, but it is {run}");
            return refuse("scales", message);
        }
        let until = self.guidance_until;
        if let Some(until) = until.filter(|until| *until > run) {
            let message = format!("`guidance-until` should be from 0 to {run}, but it is {until}");
            return refuse("guidance-until", message);
        }
        let mut keep_tokens = match &self.keep_tokens {
            Some(shares) => shares.clone(),
            None => base.keep_tokens,
        };
        if let Some(share) = keep_tokens
            .iter()
            .find(|share| !(**share > 0.0 && **share <= 1.0))
        {
            let message =
                format!("`keep-tokens` should be above 0 and at most 1, but it is {share}");
            return refuse("keep-tokens", message);
        }
        if keep_tokens.len() >= run {
            if self.keep_tokens.is_some() {
                let shares = keep_tokens.len();
                let message = format!(
                    "`keep-tokens` has {shares} numbers, but of {run} scales at most {} can leave tokens out: the first cannot",
                    run - 1
                );
                return refuse("keep-tokens", message);
            }
            keep_tokens.clear();
        }
        Ok(ImageShortcuts {
            scales: run,
            guidance_until: until.unwrap_or(base.guidance_until).min(run),
            keep_tokens,
            cache: None,
        })
    }
}
