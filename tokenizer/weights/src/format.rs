//! Opening one file.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use burn::store::{ModuleStore, PytorchStore, burn_pack::Tensor};
use bytes::Bytes;
use safetensors::tensor::{Metadata, SafeTensors};
use tempfile::TempPath;

use crate::{
    archive,
    content::{self, Content},
    error::WeightError,
    mapped, scripted,
};

/// A repaired copy of a file, removed when the last reader of it is gone.
pub(crate) type RepairedCopy = Arc<TempPath>;

/// Tensors by name, not read yet.
pub(crate) type Tensors = BTreeMap<String, Tensor>;

/// Opens one file: safetensors (memory-mapped) or PyTorch, whatever its name.
pub(crate) fn open(path: &Path) -> Result<(Tensors, Option<RepairedCopy>), WeightError> {
    if content::of(path)? == Content::Safetensors {
        let (metadata, length) = checked_header(path)?;
        return Ok((mapped::open(path, &metadata, length)?, None));
    }
    let copy = match scripted::without_program(path) {
        Ok(None) => archive::repaired(path),
        other => other,
    };
    let copy = copy.map_err(|e| WeightError::read(path, e))?;
    let file = copy.as_deref().unwrap_or(path);
    archive::check(file).map_err(|e| WeightError::read(path, e))?;
    let mut store = PytorchStore::from_file(file).map_indices_contiguous(false);
    let tensors = store.get_all_tensors();
    let tensors = tensors.map_err(|e| WeightError::read(path, e))?.clone();
    Ok((tensors, copy.map(Arc::new)))
}

/// Opens the bytes of a `.safetensors` file, called `path` in errors.
pub(crate) fn open_bytes(bytes: Bytes, path: &Path) -> Result<Tensors, WeightError> {
    let header = SafeTensors::read_metadata(&bytes);
    let (length, metadata) = header.map_err(|e| WeightError::read(path, e))?;
    mapped::of_bytes(path, bytes, &metadata, length)
}

/// Whether a `.safetensors` file is as long as its header says. Only the header is read.
///
/// # Errors
/// [`WeightError::Read`] if the file cannot be read, has no valid header, or is cut off.
pub fn check_header(path: &Path) -> Result<(), WeightError> {
    content::of(path)?;
    checked_header(path).map(drop)
}

/// The notes in the header of a `.safetensors` file; none of any other file.
pub(crate) fn notes(path: &Path) -> HashMap<String, String> {
    let header = checked_header(path).ok();
    let notes = header.and_then(|(header, _)| header.metadata().clone());
    notes.unwrap_or_default()
}

/// The header and its length in bytes, if the file is as long as it says.
fn checked_header(path: &Path) -> Result<(Metadata, usize), WeightError> {
    let (header, length) = header(path).map_err(|e| WeightError::read(path, e))?;
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|e| WeightError::read(path, format!("its header is damaged: {e}")))?;
    let wanted = (8 + header.len() + metadata.data_len()) as u64;
    if length != wanted {
        let reason = format!(
            "it is cut off or damaged: {length} bytes, and its header says {wanted}: download it again"
        );
        return Err(WeightError::read(path, reason));
    }
    Ok((metadata, header.len()))
}

/// The header without its size, and the length of the file.
fn header(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let mut file = File::open(path)?;
    let (mut size, length) = ([0; 8], file.metadata()?.len());
    file.read_exact(&mut size)?;
    // A damaged size must not become an allocation of that size.
    let size = u64::from_le_bytes(size).min(length);
    let mut header = vec![0; size as usize];
    file.read_exact(&mut header)?;
    Ok((header, length))
}
