//! The description of a model, `nextscale.json`: one struct for each architecture, told apart by its key `kind`.

mod infinity;
mod infinity_star;
mod shared;
mod var;

use std::fmt;

use nextscale_text::T5Config;
use serde::{Deserialize, Serialize};

pub use infinity::InfinityManifest;
pub use infinity_star::{FrameCounts, InfinityStarManifest};
pub use shared::Checksums;
pub use var::VarManifest;

use crate::error::Flaw;
use crate::size::Size;

/// What kind of model it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Text to image, bit by bit (arXiv 2412.04431).
    Infinity,
    /// Class to image, with a codebook (arXiv 2404.02905).
    Var,
    /// Text to video, bit by bit (arXiv 2511.04675).
    InfinityStar,
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Infinity => "Infinity",
            Self::Var => "VAR",
            Self::InfinityStar => "InfinityStar",
        })
    }
}

/// Everything about a model except its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant)] // one for each open model
pub enum Manifest {
    /// Text to image.
    Infinity(InfinityManifest),
    /// Class to image.
    Var(VarManifest),
    /// Text to video.
    #[serde(rename = "star")]
    InfinityStar(InfinityStarManifest),
}

impl Manifest {
    /// Gives it another name and another text about it, where they are given.
    pub(crate) fn rename(&mut self, new_name: Option<&str>, new_about: Option<&str>) {
        let (name, about) = match self {
            Self::Infinity(manifest) => (&mut manifest.name, &mut manifest.about),
            Self::Var(manifest) => (&mut manifest.name, &mut manifest.about),
            Self::InfinityStar(manifest) => (&mut manifest.name, &mut manifest.about),
        };
        if let Some(new) = new_name {
            new.clone_into(name);
        }
        if let Some(new) = new_about {
            new.clone_into(about);
        }
    }

    /// The kind of model.
    pub fn architecture(&self) -> Architecture {
        match self {
            Self::Infinity(_) => Architecture::Infinity,
            Self::Var(_) => Architecture::Var,
            Self::InfinityStar(_) => Architecture::InfinityStar,
        }
    }

    /// What people call the model.
    pub fn name(&self) -> &str {
        match self {
            Self::Infinity(manifest) => &manifest.name,
            Self::Var(manifest) => &manifest.name,
            Self::InfinityStar(manifest) => &manifest.name,
        }
    }

    /// The checksums of the files next to the description; empty for released checkpoints.
    pub fn checksums(&self) -> &Checksums {
        match self {
            Self::Infinity(manifest) => &manifest.fingerprints,
            Self::Var(manifest) => &manifest.fingerprints,
            Self::InfinityStar(manifest) => &manifest.fingerprints,
        }
    }

    pub(crate) fn set_checksums(&mut self, checksums: Checksums) {
        let own = match self {
            Self::Infinity(manifest) => &mut manifest.fingerprints,
            Self::Var(manifest) => &mut manifest.fingerprints,
            Self::InfinityStar(manifest) => &mut manifest.fingerprints,
        };
        *own = checksums;
    }

    /// The text encoder's configuration, for models that take prompts.
    pub fn text(&self) -> Option<&T5Config> {
        match self {
            Self::Infinity(manifest) => Some(&manifest.text),
            Self::Var(_) => None,
            Self::InfinityStar(manifest) => Some(&manifest.text),
        }
    }

    /// The sizes that the model generates; the first is the default.
    pub fn sizes(&self) -> Vec<Size> {
        match self {
            Self::Infinity(manifest) => manifest.sizes.clone(),
            Self::Var(manifest) => vec![manifest.size()],
            Self::InfinityStar(manifest) => manifest.sizes.clone(),
        }
    }

    /// Whether the parts fit each other.
    pub(crate) fn check(&self) -> Result<(), Flaw> {
        match self {
            Self::Infinity(manifest) => manifest.check(),
            Self::Var(manifest) => manifest.check(),
            Self::InfinityStar(manifest) => manifest.check(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(name: &str) -> String {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(root.join(name).join("nextscale.json")).unwrap()
    }

    #[test]
    fn the_shipped_descriptions_come_back_byte_for_byte() {
        for (name, architecture) in [
            ("icons", Architecture::Infinity),
            ("sprites", Architecture::InfinityStar),
            ("fashion-mnist", Architecture::Var),
        ] {
            let text = shipped(name);
            let manifest: Manifest = serde_json::from_str(&text).unwrap();
            let written = serde_json::to_string_pretty(&manifest).unwrap() + "\n";
            assert_eq!(written, text, "{name}");
            assert_eq!(manifest.architecture(), architecture);
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        let text = shipped("icons").replacen("\"name\"", "\"nom\"", 1);
        let error = serde_json::from_str::<Manifest>(&text).unwrap_err();
        assert!(error.to_string().contains("nom"), "{error}");
    }
}
