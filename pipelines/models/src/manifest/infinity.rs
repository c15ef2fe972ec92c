use nextscale_bitwise::infinity::InfinityConfig;
use nextscale_bitwise::tokens::Patching;
use nextscale_bitwise::vae::BsqVaeConfig;
use nextscale_text::T5Config;
use nextscale_tokenizer::ScaleSchedule;
use serde::{Deserialize, Serialize};

use super::shared::{Checksums, check_text};
use crate::error::Flaw;
use crate::prompt::PromptRules;
use crate::sampling::Sampling;
use crate::size::Size;

/// Everything about an Infinity model except its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfinityManifest {
    /// What people call it.
    pub name: String,
    /// What it generates, what it was trained on, and the licence.
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
    /// The sizes that it generates; the first is the default.
    pub sizes: Vec<Size>,
    /// Sampling defaults.
    pub sampling: Sampling,
    /// Whether it edits an image that is given, by instruction (VAREdit), instead of generating one from nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub edits_by_instruction: bool,
    /// What is done to every prompt.
    #[serde(default)]
    pub prompt: PromptRules,
    /// SHA-256 of each file next to this one, by name.
    #[serde(default)]
    pub fingerprints: Checksums,
}

impl InfinityManifest {
    /// Whether the parts fit each other.
    pub(super) fn check(&self) -> Result<(), Flaw> {
        check_text(&self.text, self.transformer.text_channels)?;
        let bits = self.patching.code_dim(self.vae.bits);
        if bits != self.transformer.code_dim {
            return Err(Flaw::new(format!(
                "does not fit together: its auto-encoder gives {bits} bits a token, its transformer takes {}",
                self.transformer.code_dim
            )));
        }
        if self.sizes.is_empty() {
            return Err(Flaw::new("names no size that it generates"));
        }
        self.sizes.iter().try_for_each(|size| self.check_size(size))
    }

    fn check_size(&self, size: &Size) -> Result<(), Flaw> {
        let schedule = size.schedule()?;
        let scales = size.known.unwrap_or(schedule.len());
        let levels = self.transformer.levels;
        if scales > levels || scales == 0 {
            return Err(Flaw::new(format!(
                "has {scales} scales, but its transformer knows {levels}"
            )));
        }
        let (cells, stride) = (self.patching.cells(&schedule).last(), self.vae.stride());
        size.check_pixels(cells.w * stride, cells.h * stride)?;
        if self.edits_by_instruction {
            check_editing(size, &schedule)?;
        }
        Ok(())
    }
}

/// Refuses a size that has no positions for the image that is edited, or a shape in which it has no place.
fn check_editing(size: &Size, schedule: &ScaleSchedule) -> Result<(), Flaw> {
    let (width, height) = (size.width, size.height);
    if width != height || size.known.is_some() {
        return Err(Flaw::new(format!(
            "says {width}x{height}, but it edits images in a square whose scales it all knows"
        )));
    }
    let last = schedule.last();
    let places = size.reference().map_or(0, |reference| reference.tokens());
    let tokens = last.tokens() + schedule.tokens();
    if size.reference() == Some(last) || tokens <= places {
        return Ok(());
    }
    Err(Flaw::new(format!(
        "needs {tokens} positions at {width}x{height}, but its reference has {places}"
    )))
}
