//! Where the files of released models lie on this machine.
//!
//! Looked through in this order: the folder of `--models-dir` (`models-dir` in YAML), those of `NEXTSCALE_MODELS` (separated as in `PATH`),
//! `models` and the working folder, and the cache of the Hugging Face tools (`HF_HUB_CACHE`, `HF_HOME`). Nothing is
//! downloaded unless it is asked for: `nextscale models fetch`.

use std::env;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

pub use nextscale_weights::Choice;

use crate::released::Role;

/// Folders that are searched before all others, and what a checkpoint is to go with.
#[derive(Debug, Clone, Default)]
pub struct SearchPath {
    folders: Vec<PathBuf>,
    tokenizer: Option<PathBuf>,
    text_encoder: Option<PathBuf>,
    weights: Choice,
}

impl SearchPath {
    /// The folder of `--models-dir`, if there is one.
    pub fn new(models_dir: Option<&Path>) -> Self {
        Self {
            folders: models_dir.map(Path::to_owned).into_iter().collect(),
            ..Self::default()
        }
    }

    /// A tokenizer (auto-encoder) that is taken instead of the one that is looked for.
    #[must_use]
    pub fn with_tokenizer(self, tokenizer: Option<&Path>) -> Self {
        let tokenizer = tokenizer.map(Path::to_owned);
        Self { tokenizer, ..self }
    }

    /// A folder with a text encoder that is taken instead of the one that is looked for.
    #[must_use]
    pub fn with_text_encoder(self, text_encoder: Option<&Path>) -> Self {
        let text_encoder = text_encoder.map(Path::to_owned);
        Self {
            text_encoder,
            ..self
        }
    }

    /// Which weights of a training checkpoint are taken.
    #[must_use]
    pub fn with_weights(self, weights: Choice) -> Self {
        Self { weights, ..self }
    }

    /// The file or folder that was named for a part.
    pub(crate) fn named(&self, role: Role) -> Option<&Path> {
        match role {
            Role::Transformer => None,
            Role::Tokenizer => self.tokenizer.as_deref(),
            Role::TextEncoder => self.text_encoder.as_deref(),
        }
    }

    pub(crate) fn weights(&self) -> Choice {
        self.weights
    }

    /// The same with one more folder in front.
    pub(crate) fn before(&self, first: &Path) -> Self {
        let first = std::iter::once(first.to_owned());
        Self {
            folders: first.chain(self.folders.iter().cloned()).collect(),
            ..self.clone()
        }
    }

    /// All folders that are searched for files of a repository, in their order.
    pub fn folders(&self, repo: &str) -> Vec<PathBuf> {
        let own = env::var_os("NEXTSCALE_MODELS").unwrap_or_default();
        let here = ["models", "."].map(PathBuf::from);
        let named = env::split_paths(&own).filter(|p| !p.as_os_str().is_empty());
        let cached = cache()
            .into_iter()
            .flat_map(|cache| snapshots(&cache, repo));
        let given = self.folders.iter().cloned();
        given.chain(named).chain(here).chain(cached).collect()
    }
}

/// Where a file or folder of a repository lies, or the same file as `.safetensors`. What is called `.` in its
/// repository is that as a whole: a folder with the last part of its name.
pub(crate) fn find(repo: &str, file: &str, search_path: &SearchPath) -> Option<Found> {
    let name = repo.rsplit('/').next().unwrap_or(repo);
    let mut folders = search_path.folders(repo).into_iter();
    if file != "." {
        return folders.find_map(|folder| newest_variant(&folder.join(file)));
    }
    let own = folders.flat_map(|folder| [folder.join(name), folder]);
    let whole = |folder: &PathBuf| {
        let named = folder.ends_with(name) || folder.to_string_lossy().contains("models--");
        named && folder.join("config.json").is_file()
    };
    own.into_iter().find(whole).map(Found::from)
}

/// A link under the name of a file of a repository that points to nothing, and where it points to.
pub(crate) fn broken_link(
    repo: &str,
    file: &str,
    search_path: &SearchPath,
) -> Option<(PathBuf, PathBuf)> {
    let folders = search_path.folders(repo).into_iter();
    let mut links = folders.map(|folder| folder.join(file));
    links.find_map(|link| {
        let target = link.read_link().ok().filter(|_| !link.exists())?;
        Some((link, target))
    })
}

/// A file or folder that was found by a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    /// Which of two files of that name it is, in a sentence.
    pub(crate) notice: Option<String>,
}

impl From<PathBuf> for Found {
    fn from(path: PathBuf) -> Self {
        Self { path, notice: None }
    }
}

/// The file or folder of this name, or the file that differs from it in the ending `.safetensors`; of both the newer one, and
/// of two that are equally old the latter.
pub(crate) fn newest_variant(path: &Path) -> Option<Found> {
    let twin = path.with_extension("safetensors");
    if !twin.exists() || twin == path {
        return path.exists().then(|| path.to_owned().into());
    }
    if !path.exists() {
        return Some(twin.into());
    }
    let time = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    let (own, other) = (time(path), time(&twin));
    let (taken, left) = if own > other {
        (path, twin.as_path())
    } else {
        (twin.as_path(), path)
    };
    let why = if own == other {
        "which is as old"
    } else {
        "which is older"
    };
    let (shown, left) = (taken.display(), left.display());
    Some(Found {
        path: taken.to_owned(),
        notice: Some(format!("{shown} is taken, and {left}, {why}, is left")),
    })
}

/// Whether two files are the same, as far as their length and some parts of them tell.
pub(crate) fn same_content(one: &Path, other: &Path) -> bool {
    const PART: u64 = 1 << 16;
    let sample = |path: &Path| -> std::io::Result<(u64, Vec<u8>)> {
        let mut file = std::fs::File::open(path)?;
        let (length, mut bytes) = (file.metadata()?.len(), vec![]);
        for share in 0..8 {
            file.seek(SeekFrom::Start(length / 8 * share))?;
            (&mut file).take(PART).read_to_end(&mut bytes)?;
        }
        Ok((length, bytes))
    };
    matches!((sample(one), sample(other)), (Ok(one), Ok(other)) if one == other)
}

/// The cache of the Hugging Face tools, as they look for it themselves.
pub(crate) fn cache() -> Option<PathBuf> {
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
    use std::time::{Duration, SystemTime};

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
        let found = |name: &str| newest_variant(&folders[0].join(name)).unwrap().path;
        assert!(found("x.pth").ends_with("x.pth"));
        assert!(found("y.pth").ends_with("y.safetensors"));
        assert!(snapshots(root.path(), "a/c").is_empty());
    }

    #[test]
    fn of_two_files_of_a_name_the_newer_one_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let write = |name: &str, hours: u64| {
            let file = std::fs::File::create(path(name)).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(3600 * hours);
            file.set_modified(time).unwrap();
        };
        for (pth, safetensors, taken, why) in [
            (2, 1, "x.pth", "older"),
            (1, 2, "x.safetensors", "older"),
            (1, 1, "x.safetensors", "as old"),
        ] {
            write("x.pth", pth);
            write("x.safetensors", safetensors);
            let found = newest_variant(&path("x.pth")).unwrap();
            assert_eq!(found.path, path(taken));
            let notice = found.notice.unwrap();
            assert!(notice.contains(&format!("{taken} is taken")), "{notice}");
            assert!(notice.contains(why), "{notice}");
        }
    }

    #[test]
    fn files_of_another_content_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let mut bytes = vec![7u8; 600_000];
        std::fs::write(path("infinity_vae_d32reg.pth"), &bytes).unwrap();
        std::fs::write(path("infinity_vae_d32.pth"), &bytes).unwrap();
        let tokenizer = path("infinity_vae_d32reg.pth");
        let warning = crate::released::lookalike_warning(&tokenizer).unwrap();
        assert!(warning.contains("two tokenizers"), "{warning}");
        bytes[300_001] = 8;
        std::fs::write(path("infinity_vae_d32.pth"), &bytes).unwrap();
        assert_eq!(crate::released::lookalike_warning(&tokenizer), None);
        std::fs::remove_file(path("infinity_vae_d32.pth")).unwrap();
        assert_eq!(crate::released::lookalike_warning(&tokenizer), None);
    }
}
