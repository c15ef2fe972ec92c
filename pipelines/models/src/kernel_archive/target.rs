//! What kernels were compiled for, and what an archive says of itself.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;

use nextscale_files::checksum;
use serde::{Deserialize, Serialize};

use crate::device::cuda::Card;
use crate::error::ModelError;

/// The name of an archive's first entry.
pub(super) const DESCRIPTION: &str = "nextscale-kernels.json";
/// Its format.
pub(super) const FORMAT: u32 = 1;
/// The tensor library and its runtime, with the versions that this program is built with.
const LIBRARY: &str = "burn 0.22.1, cubecl 0.11.3";

/// What kernels are compiled for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The version of nextscale.
    pub nextscale: String,
    /// The tensor library and its runtime, with their versions.
    pub library: String,
    /// SHA-256 of the program: the tensor library compiles again for another build of it.
    pub program: String,
    /// The card; none where there was none.
    pub card: Option<CardKind>,
}

/// A kind of card: all of one kind run the same kernels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardKind {
    /// Its name, such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Its compute capability, such as `9.0`.
    pub compute_capability: String,
    /// The newest version of CUDA that its driver knows, such as `12.8`.
    pub driver: String,
}

impl From<&Card> for CardKind {
    fn from(card: &Card) -> Self {
        let version = |(major, minor)| format!("{major}.{minor}");
        Self {
            name: card.name.clone(),
            compute_capability: version(card.capability),
            driver: version(card.driver),
        }
    }
}

impl fmt::Display for CardKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            compute_capability,
            driver,
        } = self;
        write!(
            f,
            "{name} (compute capability {compute_capability}, driver for CUDA {driver})"
        )
    }
}

impl Target {
    /// This program with a card, or without one.
    ///
    /// # Errors
    /// The program's own file cannot be read.
    pub fn here(card: Option<&Card>) -> Result<Self, ModelError> {
        let path = std::env::current_exe().map_err(ModelError::io("find", "this program"))?;
        let program = File::open(&path).and_then(checksum::of_reader);
        Ok(Self {
            nextscale: env!("CARGO_PKG_VERSION").to_owned(),
            library: LIBRARY.to_owned(),
            program: program.map_err(ModelError::io("read", path))?,
            card: card.map(CardKind::from),
        })
    }

    /// Why kernels compiled for `self` are of no use on `here`, as the rest of a sentence that begins with the archive; none if
    /// they are.
    pub(super) fn unfit(&self, here: &Self) -> Option<String> {
        if self.card != here.card {
            let name = |card: &Option<CardKind>, none: &str| match card {
                Some(card) => format!("for {card}"),
                None => none.to_owned(),
            };
            let was = name(&self.card, "where there was no card");
            let is = name(&here.card, "without a card");
            return Some(format!(
                "was packed {was}, but this machine is {is}: its kernels would not be used"
            ));
        }
        let versions =
            |target: &Self| format!("nextscale {}, {}", target.nextscale, target.library);
        let (was, is) = (versions(self), versions(here));
        if was != is {
            return Some(format!(
                "was packed by {was}, but this is {is}: its kernels would not be used"
            ));
        }
        (self.program != here.program).then(|| {
            format!(
                "was packed by another build of nextscale {}: its kernels would be compiled again",
                self.nextscale
            )
        })
    }
}

/// What an archive says of itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    /// The layout of the archive.
    pub format: u32,
    /// What the kernels were compiled for.
    pub target: Target,
    /// The files, in the order in which they follow.
    pub files: BTreeMap<String, Entry>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub bytes: u64,
    pub sha256: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_are_those_of_the_build() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
        let manifest = std::fs::read_to_string(root).unwrap();
        for (dependency, name) in [("burn", "burn"), ("cubecl-runtime", "cubecl")] {
            let start = format!("{dependency} = {{ version = \"=");
            let line = manifest.lines().find(|line| line.starts_with(&start));
            let (version, _) = line.unwrap()[start.len()..].split_once('"').unwrap();
            assert!(LIBRARY.contains(&format!("{name} {version}")), "{name}");
        }
    }

    #[test]
    fn what_differs_is_named() {
        let here = Target::here(None).unwrap();
        assert_eq!(here.unfit(&here), None);
        let card = CardKind {
            name: "NVIDIA A100".into(),
            compute_capability: "8.0".into(),
            driver: "12.8".into(),
        };
        let packed = Target {
            card: Some(card),
            ..here.clone()
        };
        let text = packed.unfit(&here).unwrap();
        assert!(text.contains("for NVIDIA A100 (compute capability 8.0, driver for CUDA 12.8)"));
        assert!(text.contains("without a card"), "{text}");
        let old = Target {
            library: "burn 0.1".into(),
            ..here.clone()
        };
        assert!(old.unfit(&here).unwrap().contains("burn 0.1"));
        let built = Target {
            program: "0".into(),
            ..here.clone()
        };
        assert!(built.unfit(&here).unwrap().contains("compiled again"));
    }
}
