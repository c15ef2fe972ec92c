use super::choice::{ShortcutChoice, ShortcutError, check_shares};

/// What a run of videos leaves out; nothing unless it is set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VideoShortcuts {
    /// Scales with guidance, from the first of each clip.
    pub guidance_until: Option<usize>,
    /// Shares of the tokens of the last scales of each clip; none if all are computed.
    pub keep_tokens: Vec<f64>,
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
            keep_tokens: Some(self.keep_tokens.clone()),
            repeats: self.repeats,
            converge: self.converge,
            ..ShortcutChoice::default()
        }
    }

    /// Checks the numbers against a model's `scales` scales.
    ///
    /// # Errors
    /// More guided scales than there are, no pass over a scale, shares of tokens of more scales than can leave some out, and a
    /// share out of its range.
    pub fn check(&self, scales: usize) -> Result<(), ShortcutError> {
        let refuse = |key, message| Err(ShortcutError { key, message });
        let is_share = |share: &f64| (0.0..=1.0).contains(share);
        if let Some(until) = self.guidance_until.filter(|until| *until > scales) {
            let message =
                format!("`guidance-until` should be from 0 to {scales}, but it is {until}");
            return refuse("guidance-until", message);
        }
        check_shares(&self.keep_tokens, scales)?;
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

    /// Share of the tokens of scale `index`, from 0, of `scales` scales that is computed, if some are left out.
    pub fn share_of(&self, index: usize, scales: usize) -> Option<f64> {
        let place = (index + self.keep_tokens.len()).checked_sub(scales)?;
        let share = self.keep_tokens.get(place).copied();
        share.filter(|share| *share < 1.0)
    }
}

impl ShortcutChoice {
    /// The settings of a run of videos over `scales` scales.
    ///
    /// # Errors
    /// A setting of images, and one that does not fit the scales.
    pub fn resolve_video(&self, scales: usize) -> Result<VideoShortcuts, ShortcutError> {
        for (key, given) in [
            ("scales", self.scales.is_some()),
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
            keep_tokens: self.keep_tokens.clone().unwrap_or(base.keep_tokens),
            repeats: self.repeats.or(base.repeats),
            converge: self.converge.or(base.converge),
        };
        shortcuts.check(scales)?;
        Ok(shortcuts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
                ..
            } = choice.resolve_video(15).unwrap();
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
    fn scales_that_leave_tokens_out() {
        let choice = |shares: &[f64]| ShortcutChoice {
            keep_tokens: Some(shares.to_vec()),
            ..ShortcutChoice::default()
        };
        let shortcuts = choice(&[1.0, 0.5]).resolve_video(15).unwrap();
        let shares = [12, 13, 14].map(|index| shortcuts.share_of(index, 15));
        assert_eq!(shares, [None, None, Some(0.5)]);
        assert_eq!(shortcuts.choice().resolve_video(15).unwrap(), shortcuts);
        for (shares, message) in [
            (vec![0.0], "above 0 and at most 1, but it is 0"),
            (vec![f64::NAN], "but it is NaN"),
            (vec![0.5; 15], "of 15 scales at most 14"),
        ] {
            let error = choice(&shares).resolve_video(15).unwrap_err();
            assert!(error.message.contains(message), "{error}");
        }
    }
}
