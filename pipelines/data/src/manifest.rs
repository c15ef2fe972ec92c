//! The files of a data set: how they are written, and the manifest that describes them.

use std::collections::BTreeMap;
use std::path::Path;

use nextscale_files::{atomic_file, checksum};
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

use crate::entry::Entry;
use crate::error::DataError;
use crate::index;
use crate::recipe::Package;

/// What a data set holds: `manifest.json`.
#[derive(Debug, Clone, SmartDefault, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Side of every image in pixels; 0 if they are not all squares of one size.
    pub size: usize,
    /// Width and height of the images of each bucket in pixels; empty if all are squares of side `size`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<[usize; 2]>,
    /// Frames of each clip; 1 in a set of images.
    #[default = 1]
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub frames: usize,
    /// Frames per second of the clips; 0 in a set of images.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fps: f64,
    /// Whether no image is transparent anywhere: there is no `alpha.bin` then.
    #[serde(default, skip_serializing_if = "is_false")]
    pub opaque: bool,
    /// Number of images.
    pub count: usize,
    /// Number of held-out images.
    pub held_out: usize,
    /// Images of each style, or of each class in a set with classes.
    pub styles: BTreeMap<String, usize>,
    /// Names of the classes in order; empty if images have names of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Fingerprint of the recipe.
    pub recipe: String,
    /// SHA-256 of every other file.
    pub files: BTreeMap<String, String>,
    /// Packages that it was built from.
    pub packages: Vec<Package>,
    /// SHA-256 of the files that it was built from, unless they are packages.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
    /// Files that were left out, at most [`Manifest::MOST_SKIPPED`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// Number of all files that were left out.
    #[serde(default, skip_serializing_if = "is_none")]
    pub skipped_count: usize,
}

fn one() -> usize {
    1
}

fn is_one(number: &usize) -> bool {
    *number == 1
}

fn is_none(number: &usize) -> bool {
    *number == 0
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

fn is_false(value: &bool) -> bool {
    !value
}

/// A file that was left out of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The file, or a file and a line of it.
    pub file: String,
    /// Why.
    pub reason: String,
}

/// A data set that is about to be written.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub size: usize,
    pub recipe: String,
    pub classes: Vec<String>,
    pub packages: Vec<Package>,
    pub inputs: BTreeMap<String, String>,
    pub entries: Vec<Entry>,
    /// Premultiplied RGB.
    pub images: Vec<u8>,
    pub alpha: Vec<u8>,
}

impl Contents {
    /// Writes the four files, the manifest last.
    pub fn write(self, out: &Path) -> Result<Manifest, DataError> {
        let index = index::text(&self.entries, out)?;
        let mut styles: BTreeMap<String, usize> = BTreeMap::new();
        for entry in &self.entries {
            let group = if self.classes.is_empty() {
                &entry.style
            } else {
                &entry.name
            };
            *styles.entry(group.clone()).or_default() += 1;
        }
        let files = [
            ("images.bin", self.images),
            ("alpha.bin", self.alpha),
            ("index.jsonl", index.into_bytes()),
        ];
        let checksum =
            |(name, bytes): &(&str, Vec<u8>)| ((*name).to_owned(), checksum::of_bytes(bytes));
        let manifest = Manifest {
            size: self.size,
            count: self.entries.len(),
            held_out: self.entries.iter().filter(|e| e.held_out).count(),
            styles,
            classes: self.classes,
            recipe: self.recipe,
            files: files.iter().map(checksum).collect(),
            packages: self.packages,
            inputs: self.inputs,
            ..Manifest::default()
        };
        for (name, bytes) in &files {
            write(&out.join(name), bytes)?;
        }
        let text =
            serde_json::to_string_pretty(&manifest).map_err(|e| DataError::content(out, e))?;
        write(&out.join("manifest.json"), (text + "\n").as_bytes())?;
        Ok(manifest)
    }
}

impl Manifest {
    /// How many of the files that were left out are named.
    pub const MOST_SKIPPED: usize = 1000;

    /// Reads the manifest of a data set.
    ///
    /// # Errors
    /// The folder holds no data set.
    pub fn load(folder: &Path) -> Result<Self, DataError> {
        let path = folder.join("manifest.json");
        let text = std::fs::read(&path).map_err(|e| DataError::read(&path, e))?;
        serde_json::from_slice(&text).map_err(|e| DataError::content(&path, e))
    }

    /// Width and height of the images of each bucket in pixels; one bucket if all are squares of one size.
    pub fn buckets(&self) -> Vec<[usize; 2]> {
        if self.sizes.is_empty() {
            return vec![[self.size; 2]];
        }
        self.sizes.clone()
    }

    /// The manifest in `folder` if it is complete and was built from this recipe.
    fn current(folder: &Path, recipe: &str) -> Option<Self> {
        let manifest = Self::load(folder).ok().filter(|m| m.recipe == recipe)?;
        let length = |name| std::fs::metadata(folder.join(name)).map_or(0, |m| m.len() as usize);
        let pixels = manifest.count * manifest.size * manifest.size;
        let whole = length("images.bin") == pixels * 3
            && length("alpha.bin") == pixels
            && length("index.jsonl") > 0;
        whole.then_some(manifest)
    }
}

/// The fingerprint of all that decides the bytes of a data set.
pub(crate) fn fingerprint(decisive: &impl Serialize) -> String {
    let text = serde_json::to_string(decisive).unwrap_or_default();
    checksum::of_bytes(text.as_bytes())
}

/// Creates the folders of a build. Returns the manifest of a finished data set of the same recipe, unless `force`.
pub(crate) fn start(
    out: &Path,
    cache: &Path,
    fingerprint: &str,
    force: bool,
) -> Result<Option<Manifest>, DataError> {
    for folder in [out, cache] {
        std::fs::create_dir_all(folder).map_err(|e| DataError::write(folder, e))?;
    }
    Ok(Manifest::current(out, fingerprint).filter(|_| !force))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    atomic_file::write(path, bytes).map_err(|e| DataError::write(path, e))
}
