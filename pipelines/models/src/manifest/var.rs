use nextscale_tokenizer::vqvae::VqVaeConfig;
use nextscale_var_core::var::VarConfig;
use serde::{Deserialize, Serialize};

use super::shared::Checksums;
use crate::classes::ClassNames;
use crate::error::Flaw;
use crate::sampling::Sampling;
use crate::size::Size;

/// Everything about a VAR model except its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VarManifest {
    /// What people call it.
    pub name: String,
    /// What it generates, what it was trained on, and the licence.
    #[serde(default)]
    pub about: String,
    /// Shapes of the transformer.
    pub transformer: VarConfig,
    /// Shapes of the auto-encoder.
    pub vae: VqVaeConfig,
    /// Sampling defaults; the guidance is that at the last scale, reached along a ramp.
    pub sampling: Sampling,
    /// Names of the classes in their order, several for one class with `, ` between them; may be empty.
    #[serde(default)]
    pub classes: Vec<String>,
    /// SHA-256 of each file next to this one, by name.
    #[serde(default)]
    pub fingerprints: Checksums,
}

impl VarManifest {
    /// The one size of its images.
    pub fn size(&self) -> Size {
        let (schedule, stride) = (&self.transformer.schedule, self.vae.stride());
        let last = schedule.last();
        Size::new(last.w * stride, last.h * stride, schedule)
    }

    /// Its classes.
    pub fn class_names(&self) -> ClassNames<'_> {
        ClassNames::new(&self.classes, self.transformer.classes)
    }

    /// Whether the parts fit each other.
    pub(super) fn check(&self) -> Result<(), Flaw> {
        let Self {
            transformer, vae, ..
        } = self;
        if vae.vocabulary != transformer.vocabulary {
            return Err(Flaw::new(format!(
                "does not fit together: its auto-encoder has {} codes, its transformer has {}",
                vae.vocabulary, transformer.vocabulary
            )));
        }
        if vae.channels != transformer.channels {
            return Err(Flaw::new(format!(
                "does not fit together: its auto-encoder has {} channels, its transformer takes {}",
                vae.channels, transformer.channels
            )));
        }
        if !self.classes.is_empty() && self.classes.len() != transformer.classes {
            return Err(Flaw::new(format!(
                "names {} classes of {}",
                self.classes.len(),
                transformer.classes
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::released::var::manifest;

    fn released() -> VarManifest {
        manifest(VarConfig::released_256(16), VqVaeConfig::released())
    }

    #[test]
    fn parts_must_fit() {
        let mut other = released();
        other.vae.vocabulary = 512;
        let message = other.check().unwrap_err().to_string();
        assert!(
            message.contains("512 codes") && message.contains("4096"),
            "{message}"
        );
        let mut other = released();
        other.classes.pop();
        assert_eq!(
            other.check().unwrap_err().to_string(),
            "names 999 classes of 1000"
        );
    }
}
