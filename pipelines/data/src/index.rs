//! `index.jsonl`: the entries of a data set.

use std::collections::HashSet;
use std::path::Path;

use crate::entry::Entry;
use crate::error::DataError;
use crate::manifest::Manifest;

/// Reads the entries of a data set.
///
/// # Errors
/// The file cannot be read, or does not fit the manifest.
pub(crate) fn read(path: &Path, manifest: &Manifest) -> Result<Vec<Entry>, DataError> {
    let text = std::fs::read_to_string(path).map_err(|e| DataError::read(path, e))?;
    let mut entries = Vec::<Entry>::new();
    for (i, line) in text.lines().enumerate() {
        let entry = serde_json::from_str(line);
        let wrong = |e| DataError::content(path, format!("line {}: {e}", i + 1));
        entries.push(entry.map_err(wrong)?);
    }
    if entries.len() != manifest.count {
        let (lines, count) = (entries.len(), manifest.count);
        let message = format!("{lines} lines, but the manifest counts {count} images");
        return Err(DataError::content(path, message));
    }
    let classes: HashSet<&String> = manifest.classes.iter().collect();
    let mut strangers = entries.iter().filter(|e| !classes.contains(&e.name));
    if !classes.is_empty()
        && let Some(entry) = strangers.next()
    {
        let message = format!("{:?} is not a class of the manifest", entry.name);
        return Err(DataError::content(path, message));
    }
    Ok(entries)
}

/// The entries as text, one a line.
///
/// # Errors
/// None that is known of; `folder` would be named.
pub(crate) fn text(entries: &[Entry], folder: &Path) -> Result<String, DataError> {
    let mut text = String::new();
    for entry in entries {
        let line = serde_json::to_string(entry);
        text += &line.map_err(|e| DataError::content(folder, e))?;
        text.push('\n');
    }
    Ok(text)
}
