//! The description of a model: `nextscale.json`.

use std::collections::BTreeMap;

use nextscale_bitwise::generate::GenerateOptions;
use nextscale_bitwise::infinity::InfinityConfig;
use nextscale_bitwise::tokens::Patching;
use nextscale_bitwise::vae::BsqVaeConfig;
use nextscale_text::T5Config;
use nextscale_tokenizer::{Scale, ScaleSchedule};
use nextscale_var_core::sampler::{Sampler, SamplerConfig};
use serde::{Deserialize, Serialize};

/// The kinds of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Text to image, bit by bit (arXiv 2412.04431).
    Infinity,
    /// Class to image, with a codebook (arXiv 2404.02905).
    Var,
    /// Text to video, bit by bit (arXiv 2511.04675).
    Star,
}

/// Everything about a model but its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What kind of model it is.
    pub kind: ModelKind,
    /// What people call it.
    pub name: String,
    /// What it paints, what it was trained on, and the licence.
    #[serde(default)]
    pub about: String,
    /// Shapes of the text encoder.
    pub text: T5Config,
    /// Shapes of the transformer.
    pub transformer: InfinityConfig,
    /// Shapes of the auto-encoder.
    pub vae: BsqVaeConfig,
    /// How cells of the auto-encoder become tokens of the transformer.
    pub patching: Patching,
    /// The sizes that it paints; the first is the default.
    pub sizes: Vec<Size>,
    /// Sampling defaults.
    pub sampling: Sampling,
    /// What is done to every prompt.
    #[serde(default)]
    pub prompt: PromptRules,
    /// SHA-256 of each file beside this one, by name.
    #[serde(default)]
    pub fingerprints: BTreeMap<String, String>,
}

/// How far apart two numbers of pixels, or two ratios, may be and still be taken for each other: a natural logarithm.
const NEAR: f64 = 0.3;

/// Rows and columns of tokens.
pub type Grid = [usize; 2];

/// A size in pixels with the transformer's schedule for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Rows and columns of the transformer's tokens at each scale, coarse to fine.
    pub scales: Vec<Grid>,
    /// The grid on which positions are measured; the last of `scales` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Grid>,
    /// How many scales the transformer knows from training; further ones take the embedding of the last of these. All if
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<usize>,
}

/// How to sample unless told otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Guidance weight; 1 is none.
    pub cfg: f64,
    /// Logits are divided by it; 0 takes the likeliest.
    pub tau: f64,
    /// Sample from so many of the likeliest values; 0 for all.
    pub top_k: usize,
    /// Sample from the likeliest values that make up this share; 1 for all.
    pub top_p: f64,
}

impl Sampling {
    /// The sampler for pictures with these seeds and the settings of the run, over `scales` scales. The generator
    /// divides by the temperature itself, scale by scale.
    pub fn start(&self, seeds: &[u64], scales: usize) -> (Sampler, GenerateOptions) {
        if self.tau == 0.0 {
            let options = GenerateOptions::constant(self.cfg, 1.0, scales);
            return (Sampler::greedy(), options);
        }
        let config = SamplerConfig {
            temperature: 1.0,
            top_k: self.top_k,
            top_p: self.top_p,
        };
        let options = GenerateOptions::constant(self.cfg, self.tau, scales);
        (Sampler::new(config, seeds), options)
    }
}

/// What the model was used to seeing around a prompt when it was trained.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptRules {
    /// Put in front of every prompt.
    #[serde(default)]
    pub prefix: String,
    /// Put behind every prompt.
    #[serde(default)]
    pub suffix: String,
    /// Whether prompts are put into lower case.
    #[serde(default)]
    pub lowercase: bool,
}

impl PromptRules {
    /// The prompt as the text encoder gets it.
    pub fn apply(&self, prompt: &str) -> String {
        let whole = format!("{}{}{}", self.prefix, prompt.trim(), self.suffix);
        if self.lowercase {
            whole.to_lowercase()
        } else {
            whole
        }
    }
}

impl Size {
    /// The transformer's schedule.
    ///
    /// # Errors
    /// Scales that make no schedule.
    pub fn schedule(&self) -> Result<ScaleSchedule, String> {
        let scales = self
            .scales
            .iter()
            .map(|&[h, w]| Scale::image(h, w))
            .collect();
        let wrong = |e| format!("has no schedule at {}x{}: {e}", self.width, self.height);
        ScaleSchedule::new(scales).map_err(wrong)
    }

    /// The grid on which positions are measured.
    pub fn reference(&self) -> Option<Scale> {
        let [h, w] = self.reference.or(self.scales.last().copied())?;
        Some(Scale::image(h, w))
    }

    /// The size of exactly so many pixels; where one side is not asked for, the first that fits.
    ///
    /// # Errors
    /// The nearest size that there is.
    pub fn find(all: &[Self], width: Option<usize>, height: Option<usize>) -> Result<&Self, &Self> {
        let fits =
            |s: &&Size| width.is_none_or(|w| w == s.width) && height.is_none_or(|h| h == s.height);
        let far = |s: &Size| {
            let side = |asked: Option<usize>, has: usize| {
                let asked = asked.unwrap_or(has).max(1);
                (asked as f64 / has as f64).ln().powi(2)
            };
            side(width, s.width) + side(height, s.height)
        };
        all.iter().find(fits).ok_or_else(|| Self::nearest(all, far))
    }

    /// The size whose ratio of width to height is nearest, among those of about so many pixels if that is asked for; of
    /// several the first.
    ///
    /// # Errors
    /// A sentence: no size of about so many pixels, or no ratio that comes near.
    pub fn of_aspect(all: &[Self], ratio: f64, pixels: Option<f64>) -> Result<&Self, String> {
        let about = |size: &&Size| {
            let has = (size.width * size.height) as f64;
            pixels.is_none_or(|asked| (has / asked).ln().abs() < NEAR)
        };
        let far = |size: &Size| (size.width as f64 / size.height as f64 / ratio).ln().abs();
        let mut best: Option<&Size> = None;
        for size in all.iter().filter(about) {
            if best.is_none_or(|best| far(size) < far(best)) {
                best = Some(size);
            }
        }
        let best = best.ok_or_else(|| {
            let mut counts: Vec<usize> = all.iter().map(|s| s.width * s.height).collect();
            counts.sort_unstable();
            counts.dedup_by(|a, b| (*a as f64 / *b as f64).ln() < NEAR);
            let counts: Vec<String> = counts
                .iter()
                .map(|&n| format!("{:.2}M", n as f64 / 1e6))
                .collect();
            format!("it paints about {} pixels", counts.join(", "))
        })?;
        // A model of one shape paints that shape; one of many should not turn a banner into something else.
        let single = all.iter().all(|s| s.width == s.height);
        match single || far(best) < NEAR {
            true => Ok(best),
            false => Err(format!(
                "the nearest that it paints is {}x{}",
                best.width, best.height
            )),
        }
    }

    fn nearest(all: &[Self], far: impl Fn(&Self) -> f64) -> &Self {
        let mut best = &all[0];
        for size in all {
            if far(size) < far(best) {
                best = size;
            }
        }
        best
    }
}

impl Manifest {
    /// Whether the parts fit each other.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self {
            text,
            transformer,
            vae,
            patching,
            ..
        } = self;
        if self.kind != ModelKind::Infinity {
            return Err("is no text-to-image model".into());
        }
        if text.d_model != transformer.text_channels {
            return Err(format!(
                "does not fit together: its text encoder gives {} channels, its transformer takes {}",
                text.d_model, transformer.text_channels
            ));
        }
        let bits = patching.code_dim(vae.bits);
        if bits != transformer.code_dim {
            return Err(format!(
                "does not fit together: its auto-encoder gives {bits} bits a token, its transformer takes {}",
                transformer.code_dim
            ));
        }
        if self.sizes.is_empty() {
            return Err("names no size that it paints".into());
        }
        for size in &self.sizes {
            let schedule = size.schedule()?;
            let known = size.known.unwrap_or(schedule.len());
            if known > transformer.levels || known == 0 {
                let (scales, levels) = (known, transformer.levels);
                return Err(format!(
                    "has {scales} scales, but its transformer knows {levels}"
                ));
            }
            let cells = patching.cells(&schedule).last();
            let pixels = (cells.w * vae.stride(), cells.h * vae.stride());
            if pixels != (size.width, size.height) {
                return Err(format!(
                    "says {}x{} of a schedule that makes {}x{} pixels",
                    size.width, size.height, pixels.0, pixels.1
                ));
            }
        }
        Ok(())
    }

    /// As [`Size::find`], among the sizes of this model.
    ///
    /// # Errors
    /// The nearest size that there is.
    pub fn size(&self, width: Option<usize>, height: Option<usize>) -> Result<&Size, &Size> {
        Size::find(&self.sizes, width, height)
    }
}
