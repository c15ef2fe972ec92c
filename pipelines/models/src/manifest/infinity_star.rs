use nextscale_text::T5Config;
use nextscale_video::clips::{Layout, Plan};
use nextscale_video::{
    ConfigError, InfinityStarConfig, InfinityStarGuidance, InfinityStarVaeConfig,
};
use serde::{Deserialize, Serialize};

use super::shared::{Checksums, check_text};
use crate::error::{Flaw, ModelError};
use crate::first_frame::FirstFrame;
use crate::prompt::{PromptRules, stated_length};
use crate::size::Size;

/// Everything about an InfinityStar model except its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfinityStarManifest {
    /// What people call it.
    pub name: String,
    /// What it shows, what it was trained on, and the licence.
    #[serde(default)]
    pub about: String,
    /// Shapes of the text encoder.
    pub text: T5Config,
    /// Shapes of the transformer.
    pub transformer: InfinityStarConfig,
    /// Shapes of the auto-encoder.
    pub vae: InfinityStarVaeConfig,
    /// Passes over each scale, kinds of codes, latent frames of a clip.
    pub layout: Layout,
    /// The sizes of a frame; the first is the default. Positions are measured on the finest grid of each.
    pub sizes: Vec<Size>,
    /// Frames a second.
    pub fps: usize,
    /// How long videos may be.
    pub frames: FrameCounts,
    /// Guidance unless asked otherwise.
    pub guidance: InfinityStarGuidance,
    /// Divides the logits of the image; 0 takes the most likely values everywhere.
    pub image_temperature: f64,
    /// Divides the logits of the clips.
    pub clip_temperature: f64,
    /// What is done to every prompt.
    #[serde(default)]
    pub prompt: PromptRules,
    /// Whether the length of the video is put in front of every prompt, as `<<<t=5s>>>`.
    #[serde(default)]
    pub duration_tag: bool,
    /// Whether the first decoded frame is softer than the others and is shown as the second one.
    #[serde(default)]
    pub soft_start: bool,
    /// Only for interactive models, which go on from a given clip, prompt after prompt: the number of the scale, from 0,
    /// on whose grid they see the clip before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semantic_scale: Option<usize>,
    /// Only for models that do not generate their own first frame: what does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_frame: Option<FirstFrame>,
    /// SHA-256 of each file next to this one, by name.
    #[serde(default)]
    pub fingerprints: Checksums,
}

/// Numbers of frames that a model was trained for: 1, and `1 + k step` up to the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrameCounts {
    /// Unless asked otherwise.
    pub default: usize,
    /// The most.
    pub longest: usize,
    /// Frames by which lengths differ; a multiple of the frames of a latent frame.
    pub step: usize,
}

impl FrameCounts {
    /// The allowed number of frames nearest to `frames`.
    fn nearest(&self, frames: f64) -> usize {
        let most = (self.longest - 1) / self.step;
        let steps = ((frames - 1.0) / self.step as f64).round().max(0.0);
        1 + self.step * (steps as usize).min(most)
    }
}

impl InfinityStarManifest {
    /// The number of frames for a length in seconds or in frames; the default without either.
    ///
    /// # Errors
    /// A length that the model does not make, with the nearest that it makes as the hint.
    pub fn length(&self, seconds: Option<f64>, frames: Option<usize>) -> Result<usize, ModelError> {
        let fps = self.fps as f64;
        let (wanted, asked) = match (seconds, frames) {
            (None, None) => return Ok(self.frames.default),
            (None, Some(frames)) => (frames as f64, format!("{frames} frames")),
            (Some(seconds), _) => (1.0 + seconds * fps, format!("{seconds} s")),
        };
        let nearest = self
            .frames
            .nearest(if wanted.is_finite() { wanted } else { 1.0 });
        let alone = nearest == 1 && self.semantic_scale.is_some();
        if (wanted - nearest as f64).abs() < 1e-6 && !alone {
            return Ok(nearest);
        }
        let nearest = if alone { self.frames.default } else { nearest };
        let longest = self.frames.longest;
        let hint = format!(
            "the nearest is {}; the longest is {}",
            self.describe(nearest),
            self.describe(longest)
        );
        let message = format!("the model `{}` makes no video of {asked}", self.name);
        Err(ModelError::refused_with(message, hint))
    }

    /// A number of frames in words.
    pub fn describe(&self, frames: usize) -> String {
        match frames {
            1 => "1 frame, an image (0 s)".to_owned(),
            _ => format!("{frames} frames ({} s)", self.seconds(frames)),
        }
    }

    /// Seconds between the first of `frames` frames and the last: the length that was asked for.
    pub fn seconds(&self, frames: usize) -> f64 {
        (frames - 1) as f64 / self.fps as f64
    }

    /// Latent frames of `frames` frames.
    pub fn latent_frames(&self, frames: usize) -> usize {
        1 + (frames - 1) / self.vae.frame_stride()
    }

    /// Frames of the image and one clip: what continuations go on from.
    pub fn condition_frames(&self) -> usize {
        1 + self.layout.clip_frames * self.vae.frame_stride()
    }

    /// Frames of the image and two clips: those of a video that a clip continues, and that clip.
    pub fn continued_frames(&self) -> usize {
        2 * self.condition_frames() - 1
    }

    /// Whether several prompts can make one video, a clip or a turn for each.
    pub fn tells_stories(&self) -> bool {
        self.semantic_scale.is_some() || self.frames.longest >= self.continued_frames()
    }

    /// All passes of a video: those of one turn for an interactive model.
    ///
    /// # Errors
    /// A size that does not belong to the layout.
    pub fn plan(&self, size: &Size, frames: usize) -> Result<Plan, Flaw> {
        let (layout, grids) = (&self.layout, &size.scales);
        let plan = match self.semantic_scale {
            None => Plan::new(layout, grids, self.latent_frames(frames)),
            Some(_) => Plan::continuation(layout, grids),
        };
        plan.map_err(|e| {
            let (width, height) = (size.width, size.height);
            Flaw::new(format!("has no schedule at {width}x{height}: {e}"))
        })
    }

    /// The prompt as the text encoder gets it, for a video of `frames` frames.
    ///
    /// # Errors
    /// As [`InfinityStarManifest::without_length`].
    pub fn prompt(&self, prompt: &str, frames: usize) -> Result<String, ModelError> {
        let prompt = self.prompt.apply(self.without_length(prompt, frames)?);
        Ok(if self.duration_tag && frames > 1 {
            format!("<<<t={}s>>>{prompt}", self.seconds(frames))
        } else {
            prompt
        })
    }

    /// A prompt without the length that it states at its start, which has to be that of `frames` frames.
    ///
    /// # Errors
    /// Another length, or nothing after it.
    pub fn without_length<'a>(
        &self,
        prompt: &'a str,
        frames: usize,
    ) -> Result<&'a str, ModelError> {
        let mut rest = prompt;
        while let Some((stated, after)) = stated_length(rest) {
            let seconds = self.seconds(frames);
            if (stated - seconds).abs() > 1e-6 {
                let message = format!(
                    "the prompt `{prompt}` states a length of {stated} s, and the video has {seconds} s"
                );
                let hint = "drop `<<<t=..s>>>` from the prompt: --seconds is put there by itself";
                return Err(ModelError::refused_with(message, hint));
            }
            if after.is_empty() {
                let message = format!("the prompt `{prompt}` is empty but for its length");
                return Err(ModelError::refused(message));
            }
            rest = after;
        }
        Ok(rest)
    }

    /// Whether the parts fit each other.
    pub(super) fn check(&self) -> Result<(), Flaw> {
        let Self {
            text,
            transformer,
            vae,
            ..
        } = self;
        let flaw = |error: ConfigError| Flaw::new(error.to_string());
        transformer.validate().map_err(flaw)?;
        vae.validate().map_err(flaw)?;
        check_text(text, transformer.text_channels)?;
        if vae.latent_channels() != transformer.bits.detail {
            return Err(Flaw::new(format!(
                "does not fit together: its auto-encoder gives {} channels, its transformer takes {}",
                vae.latent_channels(),
                transformer.bits.detail
            )));
        }
        self.check_lengths()?;
        self.check_first_frame()?;
        if self.sizes.is_empty() {
            return Err(Flaw::new("names no size of a frame"));
        }
        self.sizes.iter().try_for_each(|size| self.check_size(size))
    }

    fn check_size(&self, size: &Size) -> Result<(), Flaw> {
        self.plan(size, 1)?;
        let [h, w] = size.scales.last().copied().unwrap_or_default();
        let stride = self.vae.stride();
        size.check_pixels(w * stride, h * stride)?;
        match self.semantic_scale {
            Some(scale) if scale >= size.scales.len() => Err(Flaw::new(format!(
                "sees the clip before on scale {scale} of {}",
                size.scales.len()
            ))),
            _ => Ok(()),
        }
    }

    fn check_lengths(&self) -> Result<(), Flaw> {
        let FrameCounts {
            default,
            longest,
            step,
        } = self.frames;
        let stride = self.vae.frame_stride();
        if self.fps == 0 {
            return Err(Flaw::new("has no frames a second"));
        }
        if step == 0 || !step.is_multiple_of(stride) {
            return Err(Flaw::new(format!(
                "has lengths {step} frames apart, not a multiple of {stride}"
            )));
        }
        let allowed = |frames: usize| frames > 0 && (frames - 1).is_multiple_of(step);
        if allowed(default) && allowed(longest) && default <= longest {
            return Ok(());
        }
        Err(Flaw::new(format!(
            "says {default} frames, {longest} at most, which should be 1 and multiples of {step}"
        )))
    }

    fn check_first_frame(&self) -> Result<(), Flaw> {
        match &self.first_frame {
            Some(first) if !(first.size > 0.0 && first.size <= 1.0) => Err(Flaw::new(format!(
                "puts a first frame of {} of the side into the middle, which should be from 0 to 1",
                first.size
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::released::infinity_star::PRESETS;

    fn released(index: usize) -> InfinityStarManifest {
        PRESETS[index].manifest(
            InfinityStarConfig::infinitystar_8b(),
            InfinityStarVaeConfig::infinitystar(),
            T5Config::flan_t5_xl(),
        )
    }

    #[test]
    fn lengths_are_those_of_the_release() {
        let model = released(1);
        assert_eq!(model.length(None, None).unwrap(), 81);
        assert_eq!(model.length(Some(10.0), None).unwrap(), 161);
        assert_eq!(model.length(Some(0.0), None).unwrap(), 1);
        assert_eq!(model.length(None, Some(97)).unwrap(), 97);
        let error = model.length(Some(5.3), None).unwrap_err();
        let message = error.to_string();
        assert!(message.ends_with("makes no video of 5.3 s"), "{message}");
        assert_eq!(
            error.hint().unwrap(),
            "the nearest is 81 frames (5 s); the longest is 161 frames (10 s)"
        );
        for wrong in [-1.0, f64::NAN, f64::INFINITY, 11.0] {
            assert!(model.length(Some(wrong), None).is_err(), "{wrong}");
        }
        assert!(model.length(None, Some(0)).is_err());
        assert!(released(0).length(Some(10.0), None).is_err());
    }

    #[test]
    fn the_duration_is_the_models_business() {
        let model = released(0);
        let suffix = ", Close-up on big objects, emphasize scale and detail";
        let tagged = format!("<<<t=5s>>>a cat{suffix}");
        for prompt in ["a cat ", "<<<t=5s>>>a cat", "<<<t=5s>>> <<<t=5.0s>>> a cat"] {
            assert_eq!(model.prompt(prompt, 81).unwrap(), tagged);
        }
        assert_eq!(model.prompt("a cat", 1).unwrap(), format!("a cat{suffix}"));
        assert_eq!(released(2).prompt("a cat", 81).unwrap(), "<<<t=5s>>>a cat");
        for (prompt, frames, said) in [
            (
                "<<<t=5s>>>a cat",
                161,
                "states a length of 5 s, and the video has 10 s",
            ),
            ("<<<t=5s>>>a cat", 1, "and the video has 0 s"),
            (" <<<t=5s>>> ", 81, "is empty but for its length"),
        ] {
            let error = model.prompt(prompt, frames).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn contradictions_are_reported() {
        let mut model = released(0);
        assert_eq!(model.check(), Ok(()));
        model.vae.latent = 8;
        let message = model.check().unwrap_err().to_string();
        assert!(message.contains("gives 32 channels"), "{message}");
        let mut model = released(0);
        model.sizes[0].width = 1000;
        assert!(model.check().unwrap_err().to_string().contains("1280x720"));
        let mut model = released(0);
        model.transformer.heads = 3;
        assert!(model.check().unwrap_err().to_string().contains("3 heads"));
        let mut model = released(0);
        model.frames.step = 3;
        let message = model.check().unwrap_err().to_string();
        assert!(message.contains("multiple of 4"), "{message}");
    }
}
