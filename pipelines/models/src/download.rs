//! Downloads of released models, only when they are asked for, into the cache of the Hugging Face tools.
//!
//! `curl` does the transfers, so proxies, certificates and the like are those of the machine. `HF_ENDPOINT`, `HF_TOKEN` and the
//! places of the cache are honoured, and `HF_HUB_OFFLINE` forbids it. A download that was cut off goes on where it stopped.
//! Large files are published under their SHA-256, with which they are compared.

use std::env;
use std::fs::{self, File};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::ModelError;
use crate::released::{self, Part, download_hint};
use crate::search::{self, SearchPath};
use nextscale_files::checksum;
use nextscale_files::curl::{self, CurlError};

/// Where models are published unless `HF_ENDPOINT` says otherwise.
const ENDPOINT: &str = "https://huggingface.co";
/// How often a transfer that breaks is taken up again.
const TRIES: usize = 4;
/// curl's exit codes for transfers that broke: partial file, timeout, empty reply, error while receiving.
const BROKEN: [i32; 4] = [18, 28, 52, 56];

/// Downloads what a released model lacks on this machine; returns what was downloaded. `progress` gets a line for each file.
///
/// # Errors
/// No such model, `HF_HUB_OFFLINE`, no `curl`, a network that does not answer, a full disk, a file that is not the published
/// one.
pub fn fetch(
    name: &str,
    search_path: &SearchPath,
    progress: &dyn Fn(&str),
) -> Result<Vec<PathBuf>, ModelError> {
    let Some(parts) = released::parts(name, search_path) else {
        let known: Vec<&str> = released::names().collect();
        let message = format!("there is no released model `{name}`");
        let hint = format!("the released models: {}", known.join(", "));
        return Err(ModelError::refused_with(message, hint));
    };
    let missing: Vec<&Part> = parts.iter().filter(|part| part.found.is_none()).collect();
    if missing.is_empty() {
        return Ok(vec![]);
    }
    let advice = download_hint(&missing);
    if is_offline() {
        let message = "HF_HUB_OFFLINE is set, so nothing is downloaded";
        return Err(ModelError::refused_with(message, advice));
    }
    download(&missing, progress).map_err(|error| match error {
        DownloadError::Model(error) => error,
        error => {
            let hint = format!("ask again to go on; without a network, {advice}");
            ModelError::refused_with(error.to_string(), hint)
        }
    })
}

/// Why a download came to nothing.
#[derive(Debug, thiserror::Error)]
enum DownloadError {
    #[error("no folder is known for downloads: neither HF_HOME nor HOME is set")]
    NoFolder,
    #[error("cannot list {0}: {1}")]
    List(String, Box<dyn std::error::Error>),
    #[error("{repo} has no file `{part}`")]
    NoFile { repo: String, part: String },
    #[error("cannot download {0}: {1}")]
    Transfer(String, CurlError),
    #[error("cannot download {0}: the answer does not say what the file is")]
    NoFacts(String),
    #[error(transparent)]
    Model(#[from] ModelError),
}

fn download(parts: &[&Part], progress: &dyn Fn(&str)) -> Result<Vec<PathBuf>, DownloadError> {
    let cache = search::cache().ok_or(DownloadError::NoFolder)?;
    let mut fetched = Vec::new();
    for part in parts {
        let repo = Repository::new(part.repo, &cache);
        for file in repo.files(part.file)? {
            fetched.push(repo.fetch(&file, progress)?);
        }
    }
    Ok(fetched)
}

/// Whether the tools are told to leave the network alone, as they read it themselves.
fn is_offline() -> bool {
    let value = env::var("HF_HUB_OFFLINE").unwrap_or_default();
    matches!(value.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
}

/// A repository on the hub, and its folder in the cache.
struct Repository<'a> {
    name: &'a str,
    address: String,
    folder: PathBuf,
}

/// What the hub says about a file before it sends it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Facts {
    /// The revision.
    commit: String,
    /// The name of its content: the SHA-256 of large files.
    etag: String,
}

impl<'a> Repository<'a> {
    fn new(name: &'a str, cache: &Path) -> Self {
        let address = env::var("HF_ENDPOINT").unwrap_or_default();
        let address = if address.is_empty() {
            ENDPOINT
        } else {
            address.trim_end_matches('/')
        };
        Self {
            name,
            address: address.to_owned(),
            folder: cache.join(format!("models--{}", name.replace('/', "--"))),
        }
    }

    /// The names of the files that make up a part.
    fn files(&self, part: &str) -> Result<Vec<String>, DownloadError> {
        #[derive(Deserialize)]
        struct Info {
            siblings: Vec<Sibling>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        if part != "." && part.contains('.') {
            return Ok(vec![part.to_owned()]);
        }
        let url = format!("{}/api/models/{}", self.address, self.name);
        let name = || self.name.to_owned();
        let text = curl(&["-fsSL", &url], false);
        let text = text.map_err(|e| DownloadError::List(name(), e.into()))?;
        let info = serde_json::from_slice::<Info>(&text);
        let info = info.map_err(|e| DownloadError::List(name(), e.into()))?;
        let all = info.siblings.into_iter().map(|file| file.rfilename);
        match wanted(part, all.collect()) {
            files if files.is_empty() => Err(DownloadError::NoFile {
                repo: name(),
                part: part.to_owned(),
            }),
            files => Ok(files),
        }
    }

    /// Downloads a file and puts it where the tools look for it.
    fn fetch(&self, file: &str, progress: &dyn Fn(&str)) -> Result<PathBuf, DownloadError> {
        let label = format!("{file} of {}", self.name);
        let failed = |e| DownloadError::Transfer(label.clone(), e);
        let url = format!("{}/{}/resolve/main/{file}", self.address, self.name);
        let headers = curl(&["-fsS", "--head", &url], false).map_err(failed)?;
        let facts = facts(&String::from_utf8_lossy(&headers));
        let facts = facts.ok_or_else(|| DownloadError::NoFacts(label.clone()))?;
        let blob = self.folder.join("blobs").join(&facts.etag);
        make_folder(&blob)?;
        if !blob.is_file() {
            let part = blob.with_extension("incomplete");
            progress(&label);
            transfer(&url, &part).map_err(failed)?;
            verify(&part, &facts.etag, &label)?;
            fs::rename(&part, &blob).map_err(ModelError::io("write", &blob))?;
        }
        let revision = self.folder.join("refs/main");
        make_folder(&revision)?;
        fs::write(&revision, &facts.commit).map_err(ModelError::io("write", &revision))?;
        let path = self.folder.join("snapshots").join(&facts.commit).join(file);
        make_folder(&path)?;
        place(&blob, &path).map_err(ModelError::io("write", &path))?;
        Ok(path)
    }
}

fn make_folder(file: &Path) -> Result<(), ModelError> {
    let folder = nextscale_files::atomic_file::folder_of(file);
    fs::create_dir_all(folder).map_err(ModelError::io("create", folder))
}

/// Lets `path` stand for the content at `blob`.
fn place(blob: &Path, path: &Path) -> std::io::Result<()> {
    if path.symlink_metadata().is_ok() {
        fs::remove_file(path)?;
    }
    #[cfg(unix)]
    return std::os::unix::fs::symlink(fs::canonicalize(blob)?, path);
    #[cfg(not(unix))]
    fs::rename(blob, path)
}

/// Runs curl with these arguments and the user's token; returns its standard output. `show` as in [`curl::run`].
fn curl(args: &[&str], show: bool) -> Result<Vec<u8>, CurlError> {
    // Without the token the hub refuses what needs it, and says so.
    let settings = env::var("HF_TOKEN").map(|token| curl::bearer(&token));
    curl::run(args, &settings.unwrap_or_default(), show)
}

/// Brings the content of an address into a file, of which a part may be there.
fn transfer(url: &str, part: &Path) -> Result<(), CurlError> {
    let show = std::io::stderr().is_terminal();
    let bar = if show { "--progress-bar" } else { "-sS" };
    let path = part.display().to_string();
    let args = ["-fL", bar, "--continue-at", "-", "--output", &path, url];
    let mut left = TRIES;
    loop {
        left -= 1;
        match curl(&args, show) {
            Err(CurlError::Failed { code, .. }) if left > 0 && BROKEN.contains(&code) => {}
            done => return done.map(drop),
        }
    }
}

/// The facts in the headers of an answer.
fn facts(headers: &str) -> Option<Facts> {
    let header = |name: &str| {
        let mut lines = headers.lines();
        lines.find_map(|line| {
            let (key, value) = line.split_once(':')?;
            let value = value.trim().trim_start_matches("W/").trim_matches('"');
            (key.eq_ignore_ascii_case(name) && !value.is_empty()).then(|| value.to_owned())
        })
    };
    let etag = header("x-linked-etag").or_else(|| header("etag"))?;
    let commit = header("x-repo-commit")?;
    let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (plain(&etag) && plain(&commit)).then_some(Facts { commit, etag })
}

/// What is needed of a folder of a repository, or of a repository as a whole: description, vocabulary and one kind of weights.
fn wanted(folder: &str, all: Vec<String>) -> Vec<String> {
    // Names become paths.
    let is_safe = |name: &str| !name.split('/').any(|part| part.is_empty() || part == "..");
    let all: Vec<String> = all.into_iter().filter(|name| is_safe(name)).collect();
    let keep = |wanted: &dyn Fn(&str) -> bool| {
        let all = all.iter().filter(|name| wanted(name));
        all.cloned().collect()
    };
    if folder != "." {
        return keep(&|name| name.starts_with(&format!("{folder}/")));
    }
    let of = |name: &str, stem: &str, ending: &str| {
        let index = format!("{ending}.index.json");
        name.starts_with(stem) && (name.ends_with(ending) || name.ends_with(&index))
    };
    let safe = |name: &str| of(name, "model", ".safetensors");
    let has_safe = all.iter().any(|name| safe(name));
    let weights = |name: &str| {
        if has_safe {
            safe(name)
        } else {
            of(name, "pytorch_model", ".bin")
        }
    };
    let text = ["config.json", "tokenizer.json"];
    keep(&|name| weights(name) || text.contains(&name))
}

/// Compares a file with the SHA-256 that it is published under, if that is one; a file that differs is removed.
fn verify(path: &Path, stated: &str, label: &str) -> Result<(), ModelError> {
    if stated.len() != 64 || !stated.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(());
    }
    let found = File::open(path).and_then(checksum::of_reader);
    if found.map_err(ModelError::io("read", path))? == stated {
        return Ok(());
    }
    fs::remove_file(path).map_err(ModelError::io("remove", path))?;
    let message = format!(
        "{label} did not arrive as it was published (its SHA-256 differs), and was removed"
    );
    Err(ModelError::refused_with(message, "ask for it again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn only_what_is_needed_of_a_repository() {
        let t5 = names(&[
            "README.md",
            "config.json",
            "flax_model.msgpack",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "pytorch_model-00001-of-00002.bin",
            "pytorch_model.bin.index.json",
            "spiece.model",
            "tokenizer.json",
        ]);
        assert_eq!(wanted(".", t5.clone()).len(), 5);
        let old = t5.into_iter().filter(|name| !name.starts_with("model"));
        assert_eq!(wanted(".", old.collect()).len(), 4);
        let shards = [
            "w/x-1.bin",
            "w/index.json",
            "w_2/x.bin",
            "b.pth",
            "w/../../x",
        ];
        assert_eq!(
            wanted("w", names(&shards)),
            names(&["w/x-1.bin", "w/index.json"])
        );
    }

    #[test]
    fn headers_name_the_content() {
        let text =
            "HTTP/2 302\r\nX-Repo-Commit: abc1\r\nx-linked-etag: \"12ef\"\r\nETag: \"other\"\r\n";
        let known = Facts {
            commit: "abc1".into(),
            etag: "12ef".into(),
        };
        assert_eq!(facts(text), Some(known));
        assert_eq!(facts("HTTP/2 200\r\netag: \"1\"\r\n"), None);
        assert_eq!(facts("x-repo-commit: a\r\netag: \"../../x\"\r\n"), None);
    }
}
