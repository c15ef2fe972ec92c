//! Ways to be faster at the price of details, as a user asks for them: fewer scales, guidance on the first ones only, fewer tokens
//! in the last ones and, of videos, fewer passes over a scale.

use nextscale_var_core::shortcuts::Shortcuts;

use crate::error::ModelError;

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

/// What a run of images leaves out.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageShortcuts {
    /// Scales that are run.
    pub scales: usize,
    /// Scales with guidance, at most those that are run.
    pub guidance_until: usize,
    /// Shares of the tokens of the last scales that are run; none if all are computed.
    pub keep_tokens: Vec<f64>,
}

/// What a run of videos leaves out; nothing unless it is set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VideoShortcuts {
    /// Scales with guidance, from the first of each clip.
    pub guidance_until: Option<usize>,
    /// Passes over each scale, at most.
    pub repeats: Option<usize>,
    /// Share of bits that repeat from pass to pass below which the other passes over a scale are left out.
    pub converge: Option<f64>,
}

impl VideoShortcuts {
    /// No guidance of the last two scales, which take most of the time; of fewer than 8 scales, of the last one.
    pub fn fast(scales: usize) -> Self {
        let unguided = if scales < 8 { 1 } else { 2 };
        Self {
            guidance_until: Some(scales.saturating_sub(unguided)),
            ..Self::default()
        }
    }

    /// A choice that comes to the same.
    pub fn choice(&self) -> ShortcutChoice {
        ShortcutChoice {
            guidance_until: self.guidance_until,
            repeats: self.repeats,
            converge: self.converge,
            ..ShortcutChoice::default()
        }
    }

    /// Checks the numbers against a model's `scales` scales.
    ///
    /// # Errors
    /// More guided scales than there are, no pass over a scale, and a share that is not from 0 to 1.
    pub fn check(&self, scales: usize) -> Result<(), ShortcutError> {
        let refuse = |key, message| Err(ShortcutError { key, message });
        let is_share = |share: &f64| (0.0..=1.0).contains(share);
        if let Some(until) = self.guidance_until.filter(|until| *until > scales) {
            let message =
                format!("`guidance-until` should be from 0 to {scales}, but it is {until}");
            return refuse("guidance-until", message);
        }
        if self.repeats == Some(0) {
            return refuse("repeats", "`repeats` should be at least 1".to_owned());
        }
        if let Some(share) = self.converge.filter(|share| !is_share(share)) {
            let message = format!("`converge` should be from 0 to 1, but it is {share}");
            return refuse("converge", message);
        }
        Ok(())
    }

    /// Checks that a scale has passes that can be left out, of a video whose scales have at most `most` of them.
    ///
    /// # Errors
    /// If it should end early and has no more than two passes, of which the second is the first that can end it.
    pub fn check_passes(&self, most: usize) -> Result<(), ShortcutError> {
        if self.converge.is_none() || most > 2 {
            return Ok(());
        }
        let message = format!(
            "`converge` leaves out the third pass over a scale and those after it, but there are at most {most}"
        );
        let key = "converge";
        Err(ShortcutError { key, message })
    }
}

impl ImageShortcuts {
    /// None over a schedule of `scales` scales.
    pub fn none(scales: usize) -> Self {
        Self {
            scales,
            guidance_until: scales,
            keep_tokens: vec![],
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
        }
    }

    /// A choice that comes to the same.
    pub fn choice(&self) -> ShortcutChoice {
        ShortcutChoice {
            fast: false,
            scales: Some(self.scales),
            guidance_until: Some(self.guidance_until),
            keep_tokens: Some(self.keep_tokens.clone()),
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
        Shortcuts::new(self.scales, &self.keep_tokens)
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
            converge: self.converge.or(base.converge),
        };
        shortcuts.check(scales)?;
        Ok(shortcuts)
    }

    /// The settings of a run of images over a schedule of `scales` scales.
    ///
    /// # Errors
    /// A setting that does not fit the schedule.
    pub fn resolve(&self, scales: usize) -> Result<ImageShortcuts, ShortcutError> {
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
    fn settings_of_videos() {
        let choice = |fast, guidance_until, repeats| ShortcutChoice {
            fast,
            guidance_until,
            repeats,
            ..ShortcutChoice::default()
        };
        let of = |choice: ShortcutChoice| {
            let VideoShortcuts {
                guidance_until,
                repeats,
                converge: None,
            } = choice.resolve_video(15).unwrap()
            else {
                panic!("`converge` was not asked for");
            };
            (guidance_until, repeats)
        };
        assert_eq!(of(choice(true, None, None)), (Some(13), None));
        assert_eq!(of(choice(true, Some(4), Some(2))), (Some(4), Some(2)));
        assert_eq!(of(ShortcutChoice::default()), (None, None));
        let wrong = |choice: ShortcutChoice| choice.resolve_video(15).unwrap_err().message;
        assert!(wrong(choice(false, Some(16), None)).contains("from 0 to 15"));
        assert!(wrong(choice(false, None, Some(0))).contains("at least 1"));
        let scales = ShortcutChoice {
            scales: Some(3),
            ..ShortcutChoice::default()
        };
        assert_eq!(wrong(scales), "`scales` is for models of images");
        assert!(choice(false, None, Some(1)).resolve(4).is_err());
    }

    #[test]
    fn scales_that_end_early() {
        let choice = |share| ShortcutChoice {
            converge: Some(share),
            ..ShortcutChoice::default()
        };
        let shortcuts = choice(0.3).resolve_video(15).unwrap();
        assert_eq!(shortcuts.converge, Some(0.3));
        assert!(shortcuts.check_passes(3).is_ok());
        let message = shortcuts.check_passes(2).unwrap_err().message;
        assert!(message.contains("there are at most 2"), "{message}");
        assert!(VideoShortcuts::default().check_passes(1).is_ok());
        for share in [-0.1, 1.5, f64::NAN] {
            let message = choice(share).resolve_video(15).unwrap_err().message;
            assert!(
                message.contains("`converge` should be from 0 to 1"),
                "{message}"
            );
        }
        let message = choice(0.3).resolve(4).unwrap_err().message;
        assert_eq!(message, "`converge` is for models of videos");
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
