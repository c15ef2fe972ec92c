//! The folder of a run: its lock, its configuration, its checkpoints and the names of its classes.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use nextscale_data::Dataset;
use nextscale_files::atomic_file;
use nextscale_var_core::train::{Checkpoint, latest};
use serde::de::DeserializeOwned;

use crate::config;
use crate::error::{Result, TrainError, ensure};

/// The configuration of a run.
pub(crate) const CONFIG: &str = "config.yaml";
/// The vocabulary of the text encoder.
pub(crate) const VOCABULARY: &str = "tokenizer.json";
/// The words of the captions.
pub(crate) const WORDS: &str = "words.txt";
/// The names of the classes.
const CLASSES: &str = "classes.json";

/// Creates the folder `out` with a copy of the configuration, and keeps other programs out of it for as long as the
/// returned file is open.
pub(crate) fn lock(out: &Path, config: &Path) -> Result<File> {
    fs::create_dir_all(out).map_err(TrainError::io("create", out))?;
    let path = out.join("lock");
    let lock = File::create(&path).map_err(TrainError::io("write", &path))?;
    if let Err(TryLockError::WouldBlock) = lock.try_lock() {
        return Err(TrainError::Locked(out.to_path_buf()));
    }
    let text = fs::read(config).map_err(TrainError::io("read", config))?;
    let copy = out.join(CONFIG);
    write(&copy, &text)?;
    Ok(lock)
}

/// Writes a file of a run as a whole or not at all: a run that is killed has to resume.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    atomic_file::write(path, bytes).map_err(TrainError::io("write", path))
}

/// Copies a file of another run.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    write(to, &fs::read(from).map_err(TrainError::io("read", from))?)
}

/// The newest checkpoint of a run.
pub(crate) fn checkpoint(folder: &Path) -> Result<Checkpoint> {
    latest(folder)?.ok_or_else(|| TrainError::Invalid(no_checkpoint(folder)))
}

pub(crate) fn no_checkpoint(folder: &Path) -> String {
    format!("there is no checkpoint in `{}`", folder.display())
}

/// The configuration and the newest checkpoint of the run that the setting `key` names.
pub(crate) fn source<T: DeserializeOwned>(key: &str, folder: &Path) -> Result<(T, Checkpoint)> {
    let checkpoint = latest(folder)?;
    let checkpoint = checkpoint.ok_or_else(|| TrainError::setting(key, no_checkpoint(folder)))?;
    Ok((config::read(&folder.join(CONFIG))?, checkpoint))
}

/// Stores the names of the classes in the run `out`, the first time.
pub(crate) fn store_classes(out: &Path, set: &Dataset) -> Result<()> {
    let path = out.join(CLASSES);
    if !path.is_file() {
        let text = serde_json::to_string(set.classes()).expect("names are JSON");
        return write(&path, text.as_bytes());
    }
    let stored = classes(out)?;
    ensure!(
        stored == set.classes(),
        "data: `{}` was started with the classes {stored:?}, not {:?}",
        out.display(),
        set.classes()
    );
    Ok(())
}

/// The names of the classes that are stored in the run `out`.
pub(crate) fn classes(out: &Path) -> Result<Vec<String>> {
    let path = out.join(CLASSES);
    let text = fs::read(&path).map_err(TrainError::io("read", &path))?;
    serde_json::from_slice(&text).map_err(|error| TrainError::io("read", &path)(error.into()))
}
