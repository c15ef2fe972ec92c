//! Downloads of released models, only when they are asked for, into the cache of the Hugging Face tools.
//!
//! `HF_ENDPOINT`, `HF_TOKEN` and the places of the cache are honoured, and `HF_HUB_OFFLINE` forbids it. A download that was
//! cut off goes on where it stopped. Large files are published under their SHA-256, with which they are compared.

use std::fs::File;
use std::path::{Path, PathBuf};

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use sha2::{Digest, Sha256};

use super::hub::{self, Places};
use super::released::{self, Part};
use super::weights::hex;
use crate::error::PipelineError;

/// Told about a file that is downloaded.
pub trait Watch {
    /// A file begins: its name and how many bytes it has.
    fn begin(&mut self, file: &str, bytes: u64);
    /// So many more bytes have arrived.
    fn arrived(&mut self, bytes: u64);
    /// The file has arrived.
    fn end(&mut self);
}

/// Hands the words of one trait to another.
struct Heard<'a>(&'a mut dyn Watch);

impl Progress for Heard<'_> {
    fn init(&mut self, size: usize, file: &str) {
        self.0.begin(file, size as u64);
    }

    fn update(&mut self, size: usize) {
        self.0.arrived(size as u64);
    }

    fn finish(&mut self) {
        self.0.end();
    }
}

/// Downloads what a released model lacks on this machine; gives back what was downloaded.
///
/// # Errors
/// No such model, `HF_HUB_OFFLINE`, a network that does not answer, a full disk, a file that is not the published one.
pub fn fetch(
    name: &str,
    places: &Places,
    watch: &mut dyn Watch,
) -> Result<Vec<PathBuf>, PipelineError> {
    let Some(parts) = released::parts(name, places) else {
        let known: Vec<&str> = released::names().collect();
        let message = format!("there is no released model `{name}`");
        let hint = format!("the released models: {}", known.join(", "));
        return Err(PipelineError::refused_with(message, hint));
    };
    let missing: Vec<&Part> = parts.iter().filter(|part| part.found.is_none()).collect();
    if missing.is_empty() {
        return Ok(vec![]);
    }
    let advice = hub::advice(&missing);
    if is_offline() {
        let message = "HF_HUB_OFFLINE is set, so nothing is downloaded";
        return Err(PipelineError::refused_with(message, advice));
    }
    let api = api().map_err(|e| failed(name, &e, &advice))?;
    let mut fetched = Vec::new();
    for part in missing {
        let repo = api.model(part.repo.to_owned());
        let files = files(part, &repo).map_err(|e| failed(part.repo, &e, &advice))?;
        if files.is_empty() {
            let message = format!("{} has no file `{}`", part.repo, part.file);
            return Err(PipelineError::refused_with(message, advice));
        }
        for file in files {
            let of = format!("{file} of {}", part.repo);
            let got = repo.download_with_progress(&file, Heard(watch));
            let path = got.map_err(|e| failed(&of, &e, &advice))?;
            verify(&path, &of)?;
            fetched.push(path);
        }
    }
    Ok(fetched)
}

/// Whether the tools are told to leave the network alone, as they read it themselves.
fn is_offline() -> bool {
    let value = std::env::var("HF_HUB_OFFLINE").unwrap_or_default();
    matches!(value.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
}

fn api() -> Result<Api, ApiError> {
    let mut builder = ApiBuilder::from_env().with_progress(false).with_retries(3);
    if let Some(cache) = hub::cache() {
        builder = builder.with_cache_dir(cache);
    }
    if let Ok(token) = std::env::var("HF_TOKEN") {
        builder = builder.with_token(Some(token));
    }
    builder.build()
}

/// The names of the files of a part in its repository.
fn files(part: &Part, repo: &ApiRepo) -> Result<Vec<String>, ApiError> {
    if part.file.contains('.') && part.file != "." {
        return Ok(vec![part.file.to_owned()]);
    }
    let all = repo.info()?.siblings.into_iter().map(|file| file.rfilename);
    Ok(wanted(part.file, all.collect()))
}

/// What is needed of a folder of a repository, or of a repository as a whole: description, vocabulary and one kind of weights.
fn wanted(folder: &str, all: Vec<String>) -> Vec<String> {
    if folder != "." {
        let prefix = format!("{folder}/");
        return all
            .into_iter()
            .filter(|name| name.starts_with(&prefix))
            .collect();
    }
    let safe = |name: &str| {
        name.starts_with("model")
            && (name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json"))
    };
    let torch = |name: &str| {
        name.starts_with("pytorch_model")
            && (name.ends_with(".bin") || name.ends_with(".bin.index.json"))
    };
    let has_safe = all.iter().any(|name| safe(name));
    let weights = |name: &str| if has_safe { safe(name) } else { torch(name) };
    let text = ["config.json", "tokenizer.json"];
    all.into_iter()
        .filter(|name| weights(name) || text.contains(&name.as_str()))
        .collect()
}

/// Compares a file with the SHA-256 that it was published under; one that differs is removed.
fn verify(path: &Path, of: &str) -> Result<(), PipelineError> {
    // Files in the cache are links to what is called by its checksum; only that of large files is a SHA-256.
    let blob = path
        .canonicalize()
        .map_err(PipelineError::io("read", path))?;
    let stated = blob
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    if stated.len() != 64 || !stated.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(());
    }
    let mut hash = Sha256::new();
    let copied = File::open(&blob).and_then(|mut file| std::io::copy(&mut file, &mut hash));
    copied.map_err(PipelineError::io("read", &blob))?;
    if hex(&hash.finalize()) == stated {
        return Ok(());
    }
    for damaged in [path, &blob] {
        std::fs::remove_file(damaged).map_err(PipelineError::io("remove", damaged))?;
    }
    let message =
        format!("{of} did not arrive as it was published (its SHA-256 differs), and was removed");
    Err(PipelineError::refused_with(message, "ask for it again"))
}

fn failed(what: &str, error: &ApiError, advice: &str) -> PipelineError {
    // The innermost cause says what happened, without the address around it.
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let message = format!("cannot download {what}: {cause}");
    let hint = format!(
        "a download that was cut off goes on when it is asked for again; without a network, {advice}"
    );
    PipelineError::refused_with(message, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_of_a_repository() {
        let names = |all: &[&str]| {
            all.iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
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
        let found = wanted(".", t5.clone());
        assert_eq!(found.len(), 5, "{found:?}");
        let old = t5
            .into_iter()
            .filter(|name| !name.ends_with("tensors") && !name.starts_with("model."));
        assert_eq!(wanted(".", old.collect()).len(), 4);
        let shards = names(&[
            "a_weights/x-1.bin",
            "a_weights/index.json",
            "a_weights_2/x.bin",
            "b.pth",
        ]);
        assert_eq!(
            wanted("a_weights", shards),
            names(&["a_weights/x-1.bin", "a_weights/index.json"])
        );
    }
}
