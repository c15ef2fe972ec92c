//! Unpacking: every file is checked before the first one is put in its place.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use nextscale_files::atomic_file::HiddenFolder;
use nextscale_files::checksum;
use tar::{Archive, EntryType};

use super::target::{DESCRIPTION, Description, Entry, FORMAT, Target};
use crate::device::kernel_folder::Usage;
use crate::error::ModelError;

/// Bytes of the largest description that is read.
const MOST_DESCRIPTION: u64 = 1 << 20;

/// What was unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The files.
    pub usage: Usage,
    /// Why the kernels are of no use here, as the rest of a sentence that begins with the archive; none if they are.
    pub unfit: Option<String>,
}

/// Unpacks an archive into a folder of kernels, which is made if it is not there. Kernels of other cards that lie there stay;
/// those of the same name are replaced.
///
/// # Errors
/// A file that is no such archive or is damaged, entries that are not the files which its description names, and, unless
/// `force` is set, kernels that are of no use on `here`. The folder is then as it was.
pub fn import(
    archive: &Path,
    folder: &Path,
    here: &Target,
    force: bool,
) -> Result<Imported, ModelError> {
    let file = File::open(archive).map_err(ModelError::io("read", archive))?;
    let mut tar = Archive::new(BufReader::new(file));
    let damaged = |e: io::Error| wrong(archive, format!("is damaged: {e}"));
    let mut entries = tar.entries().map_err(damaged)?;
    let description = describe(archive, entries.next())?;
    let unfit = description.target.unfit(here);
    if let Some(message) = unfit.as_ref().filter(|_| !force) {
        return Err(ModelError::Content {
            path: archive.to_owned(),
            message: message.clone(),
            hint: Some("unpack it all the same: --force".into()),
        });
    }
    let is_new = !folder.exists();
    fs::create_dir_all(folder).map_err(ModelError::io("write", folder))?;
    let unpacked = unpack(archive, folder, entries, &description.files);
    if unpacked.is_err() && is_new {
        // It is empty: what was unpacked is gone.
        let _ = fs::remove_dir(folder);
    }
    unpacked?;
    let usage = Usage {
        files: description.files.len(),
        bytes: description.files.values().map(|entry| entry.bytes).sum(),
    };
    Ok(Imported { usage, unfit })
}

fn wrong(archive: &Path, message: impl Into<String>) -> ModelError {
    ModelError::Content {
        path: archive.to_owned(),
        message: message.into(),
        hint: None,
    }
}

/// The description in the first entry.
fn describe<R: Read>(
    archive: &Path,
    first: Option<io::Result<tar::Entry<'_, R>>>,
) -> Result<Description, ModelError> {
    let none = || wrong(archive, "is no archive of kernels");
    let entry = first.and_then(Result::ok).ok_or_else(none)?;
    let is_description = entry
        .path()
        .is_ok_and(|path| path.as_ref() == Path::new(DESCRIPTION));
    if !is_description || entry.size() > MOST_DESCRIPTION {
        return Err(none());
    }
    let value: serde_json::Value = serde_json::from_reader(entry).map_err(|_| none())?;
    match value["format"].as_u64() {
        Some(format) if format == u64::from(FORMAT) => {}
        Some(format) => {
            return Err(wrong(
                archive,
                format!("has format {format}, which this version of nextscale does not know"),
            ));
        }
        None => return Err(none()),
    }
    let read = serde_json::from_value(value);
    read.map_err(|e| wrong(archive, format!("has an unreadable {DESCRIPTION}: {e}")))
}

/// Writes the entries to a hidden folder, checks them, and puts them in their places.
fn unpack<'a, R: Read + 'a>(
    archive: &Path,
    folder: &Path,
    entries: impl Iterator<Item = io::Result<tar::Entry<'a, R>>>,
    files: &BTreeMap<String, Entry>,
) -> Result<(), ModelError> {
    let cannot_write = || ModelError::io("write", folder);
    let hidden = HiddenFolder::new_in(folder).map_err(cannot_write())?;
    let mut left = files.clone();
    for entry in entries {
        let entry = entry.map_err(|e| wrong(archive, format!("is damaged: {e}")))?;
        let name = file_name(&entry).map_err(|message| wrong(archive, message))?;
        let Some(expected) = left.remove(&name) else {
            return Err(wrong(
                archive,
                format!("has the entry `{name}`, which its description does not name"),
            ));
        };
        let path = hidden.path().join(&name);
        let mut file = File::create_new(&path).map_err(cannot_write())?;
        let copied = io::copy(&mut entry.take(expected.bytes + 1), &mut file);
        copied.map_err(|e| wrong(archive, format!("is damaged: {e}")))?;
        let written = File::open(&path).and_then(checksum::of_reader);
        if written.map_err(cannot_write())? != expected.sha256 {
            return Err(wrong(
                archive,
                format!("is damaged: `{name}` has another checksum"),
            ));
        }
    }
    if let Some(name) = left.keys().next() {
        return Err(wrong(archive, format!("is damaged: `{name}` is missing")));
    }
    place(hidden.path(), folder, files).map_err(cannot_write())
}

/// The name of an entry: of a regular file, without a folder.
fn file_name<R: Read>(entry: &tar::Entry<'_, R>) -> Result<String, String> {
    let path = entry.path_bytes();
    let name = String::from_utf8_lossy(&path).into_owned();
    if entry.header().entry_type() != EntryType::Regular {
        return Err(format!("has the entry `{name}`, which is not a file"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(format!("has the entry `{name}`, which is not a plain name"));
    }
    Ok(name)
}

/// Moves files from one folder to another. A database goes with its journal: what lies there of one that is replaced is removed.
fn place(from: &Path, to: &Path, files: &BTreeMap<String, Entry>) -> io::Result<()> {
    let database = |name: &str| name.find(".db").map(|at| name[..at + 3].to_owned());
    let replaced: Vec<String> = files.keys().filter_map(|name| database(name)).collect();
    for entry in fs::read_dir(to)?.flatten() {
        let name = entry.file_name();
        let of = name.to_str().and_then(database);
        if of.is_some_and(|of| replaced.contains(&of)) {
            fs::remove_file(entry.path())?;
        }
    }
    for name in files.keys() {
        fs::rename(from.join(name), to.join(name))?;
    }
    Ok(())
}
