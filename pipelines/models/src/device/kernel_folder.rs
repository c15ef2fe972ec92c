//! The folder in which compiled kernels and the choices among them are kept: where it is, what is in it, and the name of a
//! card's file.

use std::fs;
use std::path::{Path, PathBuf};

use crate::device::cuda::Card;
use crate::device::libdevice;

/// Files of a folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// How many.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// The folder of kernels, `nextscale/kernels` in the user's cache; none if the user has no home. It may not be there yet.
pub fn kernel_folder() -> Option<PathBuf> {
    Some(libdevice::cache()?.join("kernels"))
}

/// What is in a folder of kernels; nothing if it is not there.
pub fn usage(folder: &Path) -> Usage {
    let files = files(folder);
    Usage {
        files: files.len(),
        bytes: files.iter().map(|(_, bytes)| bytes).sum(),
    }
}

/// The names and bytes of the files of a folder of kernels, sorted, without hidden ones.
pub(crate) fn files(folder: &Path) -> Vec<(String, u64)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<(String, u64)> = entries
        .filter_map(|entry| {
            let meta = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            let name = entry.file_name().into_string().ok()?;
            (!name.starts_with('.')).then_some((name, meta.len()))
        })
        .collect();
    files.sort();
    files
}

/// The name of a card's kernels in the folder. The tensor library keeps choices by the number of a card, which another card may
/// have tomorrow. Choices that were not measured have a name of their own.
#[cfg_attr(not(feature = "cuda"), allow(dead_code))] // there is no card
pub(super) fn name_for(card: &Card, deterministic: bool) -> String {
    let ((major, minor), (cuda, minor_cuda)) = (card.capability, card.driver);
    let mut name = format!("{} sm{major}{minor} cuda{cuda}.{minor_cuda}", card.name);
    if deterministic {
        name += " deterministic";
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    name.replace(|c| !plain(c), "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_and_folders_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(usage(&folder.path().join("none")), Usage::default());
        fs::write(folder.path().join("b.db"), "four").unwrap();
        fs::write(folder.path().join("a.db"), "x").unwrap();
        fs::write(folder.path().join(".part"), "hidden").unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        assert_eq!(usage(folder.path()), Usage { files: 2, bytes: 5 });
        assert_eq!(files(folder.path())[0].0, "a.db");
    }

    #[test]
    fn other_cards_and_drivers_have_other_names() {
        let card = Card {
            name: "NVIDIA H100 80GB HBM3".into(),
            memory: 1,
            capability: (9, 0),
            driver: (12, 8),
        };
        let name = name_for(&card, false);
        assert_eq!(name, "NVIDIA-H100-80GB-HBM3-sm90-cuda12.8");
        assert_eq!(name_for(&card, true), format!("{name}-deterministic"));
        let newer = Card {
            driver: (13, 0),
            name: "../A/B".into(),
            ..card
        };
        assert_eq!(name_for(&newer, false), "..-A-B-sm90-cuda13.0");
    }
}
