//! Where the files of released models lie on this machine.
//!
//! Looked through in this order: folders that the caller names, those of `NEXTSCALE_MODELS` (separated as in `PATH`),
//! `models` and the working folder, and the cache of the Hugging Face tools (`HF_HUB_CACHE`, `HF_HOME`). Nothing is
//! downloaded.

use std::env;
use std::path::{Path, PathBuf};

/// A file of a repository on the Hugging Face hub.
pub(super) struct HubFile {
    /// `owner/name`.
    pub repo: &'static str,
    /// Its name there.
    pub file: &'static str,
}

/// Where the file, or the same as `.safetensors`, lies; `first` are folders that are looked at before all others.
pub(super) fn find(wanted: &HubFile, first: &[PathBuf]) -> Option<PathBuf> {
    let own = env::var_os("NEXTSCALE_MODELS").unwrap_or_default();
    let here = ["models", "."].map(PathBuf::from);
    let named = env::split_paths(&own).filter(|p| !p.as_os_str().is_empty());
    let folders = first.iter().cloned().chain(named).chain(here);
    let cached = cache()
        .into_iter()
        .flat_map(|cache| snapshots(&cache, wanted.repo));
    folders
        .chain(cached)
        .find_map(|folder| twin(&folder.join(wanted.file)))
}

/// The file of this name, or the one that differs from it in the ending `.safetensors`.
pub(super) fn twin(path: &Path) -> Option<PathBuf> {
    let twins = [path.with_extension("safetensors"), path.to_owned()];
    twins.into_iter().find(|path| path.is_file())
}

/// How to get files that are not here.
pub(super) fn advice(repo: &str, files: &[&str]) -> String {
    format!(
        "get them with `huggingface-cli download {repo} {}`, or put them into a folder and name it: NEXTSCALE_MODELS=DIR",
        files.join(" ")
    )
}

/// The cache of the Hugging Face tools, as they look for it themselves.
fn cache() -> Option<PathBuf> {
    let of = |name: &str| {
        env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    of("HF_HUB_CACHE")
        .or_else(|| Some(of("HF_HOME")?.join("hub")))
        .or_else(|| Some(of("XDG_CACHE_HOME")?.join("huggingface/hub")))
        .or_else(|| Some(of("HOME")?.join(".cache/huggingface/hub")))
}

/// The stored revisions of a repository: first the one that `main` points to.
fn snapshots(cache: &Path, repo: &str) -> Vec<PathBuf> {
    let folder = cache.join(format!("models--{}", repo.replace('/', "--")));
    let all = folder.join("snapshots");
    let main = std::fs::read_to_string(folder.join("refs/main"));
    let mut found: Vec<PathBuf> = main.iter().map(|hash| all.join(hash.trim())).collect();
    let others = std::fs::read_dir(&all).into_iter().flatten().flatten();
    let mut others: Vec<PathBuf> = others.map(|entry| entry.path()).collect();
    others.sort();
    found.extend(others);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_read_as_it_is_laid_out() {
        let root = tempfile::tempdir().unwrap();
        let repo = root.path().join("models--a--b");
        for (hash, file) in [("111", "x.pth"), ("222", "x.pth"), ("222", "y.safetensors")] {
            let folder = repo.join("snapshots").join(hash);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(file), b"").unwrap();
        }
        std::fs::create_dir_all(repo.join("refs")).unwrap();
        std::fs::write(repo.join("refs/main"), "222\n").unwrap();
        let folders = snapshots(root.path(), "a/b");
        assert!(folders[0].ends_with("222"));
        assert_eq!(
            twin(&folders[0].join("x.pth")),
            Some(folders[0].join("x.pth"))
        );
        let other = twin(&folders[0].join("y.pth")).unwrap();
        assert!(other.ends_with("y.safetensors"));
        assert!(snapshots(root.path(), "a/c").is_empty());
    }
}
