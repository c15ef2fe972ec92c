//! How a finished data set gets to its folder: whole, or not at all.

use std::fs;
use std::path::Path;

use nextscale_files::atomic_file::{HiddenFolder, folder_of};

use crate::error::DataError;

/// The files of a data set but for its manifest.
const FILES: [&str; 3] = ["images.bin", "alpha.bin", "index.jsonl"];
const MANIFEST: &str = "manifest.json";

/// A hidden folder on the disk of `out`: inside it if it is there, else beside it.
///
/// # Errors
/// A folder that cannot be written.
pub(crate) fn hidden_for(out: &Path) -> Result<HiddenFolder, DataError> {
    let place = if out.is_dir() { out } else { folder_of(out) };
    let fail = |e| DataError::write(place, e);
    fs::create_dir_all(place).map_err(fail)?;
    HiddenFolder::new_in(place).map_err(fail)
}

/// Moves the files of a hidden folder to `out`, the manifest last. Other files there stay as they are.
///
/// # Errors
/// A file that cannot be moved. There is no manifest in `out` then.
pub(crate) fn install(hidden: HiddenFolder, out: &Path) -> Result<(), DataError> {
    let fail = |e| DataError::write(out, e);
    if !out.is_dir() {
        return hidden.persist(out).map_err(fail);
    }
    // Between the first and the last move the folder holds no data set, rather than a mixed one.
    for name in [&[MANIFEST][..], &FILES].concat() {
        match fs::remove_file(out.join(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(fail(e)),
            _ => {}
        }
    }
    for name in [&FILES[..], &[MANIFEST]].concat() {
        let from = hidden.path().join(name);
        if from.is_file() {
            fs::rename(from, out.join(name)).map_err(fail)?;
        }
    }
    Ok(())
}
