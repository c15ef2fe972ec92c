//! Which files hold the weights of a path, and opening one of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use burn::store::{ModuleStore, PytorchStore, SafetensorsStore, burn_pack::Tensor};
use safetensors::tensor::Metadata;
use tempfile::TempPath;

use crate::{archive, error::WeightError};

/// A repaired copy of a file, removed when the last reader of it is gone.
pub(crate) type RepairedCopy = Arc<TempPath>;

/// Tensors by name, not read yet.
pub(crate) type Tensors = BTreeMap<String, Tensor>;

/// Opens one file: safetensors (memory-mapped) if its name says so, PyTorch otherwise.
pub(crate) fn open(path: &Path) -> Result<(Tensors, Option<RepairedCopy>), WeightError> {
    if path.extension().is_some_and(|e| e == "safetensors") {
        check_header(path)?;
        let mut store = SafetensorsStore::from_file(path);
        let tensors = store.get_all_tensors();
        return Ok((
            tensors.map_err(|e| WeightError::read(path, e))?.clone(),
            None,
        ));
    }
    let copy = archive::repaired(path).map_err(|e| WeightError::read(path, e))?;
    let file = copy.as_deref().unwrap_or(path);
    let mut store = PytorchStore::from_file(file).map_indices_contiguous(false);
    let tensors = store.get_all_tensors();
    let tensors = tensors.map_err(|e| WeightError::read(path, e))?.clone();
    Ok((tensors, copy.map(Arc::new)))
}

/// Opens the bytes of a `.safetensors` file, called `path` in errors.
pub(crate) fn open_bytes(bytes: Vec<u8>, path: &Path) -> Result<Tensors, WeightError> {
    let mut store = SafetensorsStore::from_bytes(Some(bytes));
    let tensors = store.get_all_tensors();
    Ok(tensors.map_err(|e| WeightError::read(path, e))?.clone())
}

/// Whether a `.safetensors` file is as long as its header says. Only the header is read.
///
/// # Errors
/// [`WeightError::Read`] if the file cannot be read, has no valid header, or is cut off.
pub fn check_header(path: &Path) -> Result<(), WeightError> {
    let (header, length) = header(path).map_err(|e| WeightError::read(path, e))?;
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|e| WeightError::read(path, format!("its header is damaged: {e}")))?;
    let wanted = (8 + header.len() + metadata.data_len()) as u64;
    if length != wanted {
        let reason =
            format!("it is cut off or damaged: {length} bytes, and its header says {wanted}");
        return Err(WeightError::read(path, reason));
    }
    Ok(())
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

/// The files to read for `path`: the file itself, or the shards of an index or a folder.
pub(crate) fn shards(path: &Path) -> Result<Vec<PathBuf>, WeightError> {
    let meta = fs::metadata(path).map_err(|e| WeightError::read(path, e))?;
    if is_index(path) {
        return indexed(path);
    }
    if !meta.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).map_err(|e| WeightError::read(path, e))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    files.sort();
    if let Some(index) = files.iter().find(|path| is_index(path)) {
        return indexed(index);
    }
    for extensions in [&["safetensors"][..], &["bin", "pth", "pt"]] {
        let matches = |path: &&PathBuf| {
            let extension = path.extension().and_then(|e| e.to_str());
            extension.is_some_and(|e| extensions.contains(&e))
        };
        let found: Vec<PathBuf> = files.iter().filter(matches).cloned().collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Err(WeightError::read(path, "a folder without weights"))
}

fn is_index(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".index.json")
}

/// The shards that an index in Hugging Face's layout names, sorted. All of them have to lie next to it.
fn indexed(index: &Path) -> Result<Vec<PathBuf>, WeightError> {
    let fail = |reason: String| WeightError::read(index, reason);
    let text = fs::read_to_string(index).map_err(|e| fail(e.to_string()))?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| fail(e.to_string()))?;
    let map = value["weight_map"].as_object();
    let map = map.ok_or_else(|| fail("there is no `weight_map`".to_owned()))?;
    let names: BTreeSet<&str> = map.values().filter_map(|v| v.as_str()).collect();
    let folder = index.parent().unwrap_or(Path::new("."));
    let shard = |name: &str| {
        if Path::new(name).components().count() != 1 || name == ".." {
            return Err(fail(format!(
                "it names {name:?}, which is not in its folder"
            )));
        }
        let path = folder.join(name);
        if !path.is_file() {
            return Err(fail(format!(
                "it names {}, which does not exist",
                path.display()
            )));
        }
        Ok(path)
    };
    names.into_iter().map(shard).collect()
}
