use nextscale_var_core::cache_budget::CacheBudget;
use nextscale_var_core::shortcuts::Shortcuts;

use super::choice::{ShortcutChoice, ShortcutError, check_shares};
use crate::model::Model;

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
    pub(super) fn resolve(&self, scales: usize) -> Result<ImageShortcuts, ShortcutError> {
        let base = if self.fast {
            ImageShortcuts::fast(scales)
        } else {
            ImageShortcuts::none(scales)
        };
        let refuse = |key, message| Err(ShortcutError { key, message });
        for (key, given) in [
            ("repeats", self.repeats.is_some()),
            ("converge", self.converge.is_some()),
        ] {
            if given {
                return refuse(key, format!("`{key}` is for models of videos"));
            }
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
        if self.keep_tokens.is_none() && keep_tokens.len() >= run {
            keep_tokens.clear();
        }
        check_shares(&keep_tokens, run)?;
        Ok(ImageShortcuts {
            scales: run,
            guidance_until: until.unwrap_or(base.guidance_until).min(run),
            keep_tokens,
            cache: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(choice: ShortcutChoice, scales: usize) -> (usize, usize, Vec<f64>) {
        let ImageShortcuts {
            scales,
            guidance_until,
            keep_tokens,
            ..
        } = choice.resolve(scales).unwrap();
        (scales, guidance_until, keep_tokens)
    }

    #[test]
    fn fast_settings_by_length() {
        let fast = |scales| {
            let choice = ShortcutChoice {
                fast: true,
                ..ShortcutChoice::default()
            };
            resolved(choice, scales)
        };
        assert_eq!(fast(13), (11, 9, vec![0.6, 0.5]));
        assert_eq!(fast(10), (9, 7, vec![0.6, 0.5]));
        assert_eq!(fast(4), (4, 3, vec![]));
        assert_eq!(fast(1), (1, 1, vec![]));
    }

    #[test]
    fn notes_say_what_a_scale_leaves_out() {
        let fast = ImageShortcuts::fast(13);
        assert_eq!(fast.note(8, 13, true), None);
        assert_eq!(
            fast.note(9, 13, false).unwrap(),
            "60 % of tokens, no guidance"
        );
        let last = fast.note(10, 13, false).unwrap();
        assert_eq!(last, "50 % of tokens, no guidance, last of 13 that is run");
        assert_eq!(ImageShortcuts::none(13).note(12, 13, false), None);
    }

    #[test]
    fn what_is_set_wins() {
        let choice = ShortcutChoice {
            fast: true,
            scales: Some(13),
            guidance_until: Some(5),
            keep_tokens: Some(vec![1.0]),
            ..ShortcutChoice::default()
        };
        assert_eq!(resolved(choice, 13), (13, 5, vec![1.0]));
        assert_eq!(resolved(ShortcutChoice::default(), 3), (3, 3, vec![]));
        let few = ShortcutChoice {
            fast: true,
            scales: Some(2),
            ..ShortcutChoice::default()
        };
        assert_eq!(resolved(few, 13), (2, 2, vec![]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let base = ShortcutChoice::default;
        let scales = |scales| ShortcutChoice {
            scales: Some(scales),
            ..base()
        };
        let until = |until| ShortcutChoice {
            guidance_until: Some(until),
            ..base()
        };
        let keep = |shares: &[f64]| ShortcutChoice {
            keep_tokens: Some(shares.to_vec()),
            ..base()
        };
        for (choice, message) in [
            (scales(0), "`scales` should be from 1 to 4, but it is 0"),
            (scales(5), "`scales` should be from 1 to 4, but it is 5"),
            (
                until(5),
                "`guidance-until` should be from 0 to 4, but it is 5",
            ),
            (
                keep(&[0.0]),
                "`keep-tokens` should be above 0 and at most 1, but it is 0",
            ),
            (keep(&[f64::NAN]), "at most 1, but it is NaN"),
            (
                keep(&[0.5; 4]),
                "`keep-tokens` has 4 numbers, but of 4 scales at most 3",
            ),
        ] {
            let error = choice.resolve(4).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
