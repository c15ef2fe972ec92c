//! A folder of images, with captions in text files beside them, or with one folder per class.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use nextscale_files::bounded::{self, MOST_TEXT};
use nextscale_files::path_text;
use rayon::prelude::*;
use walkdir::{DirEntry, WalkDir};

use crate::error::DataError;
use crate::own::media::{Media, extension};
use crate::own::samples::{Place, Sample, Samples, merge};
use crate::own::text;

/// The files of a folder that matter, in order.
#[derive(Debug)]
pub(crate) struct Listing {
    root: PathBuf,
    /// Images or videos.
    media: Vec<PathBuf>,
    /// Text files.
    texts: Vec<PathBuf>,
    /// What is known so far to be left out.
    found: Samples,
}

/// Lists a folder with its sub-folders. What is hidden is left alone; links are followed.
///
/// # Errors
/// It is not a folder or cannot be read.
pub(crate) fn list(root: &Path, media: Media) -> Result<Listing, DataError> {
    fs::read_dir(root).map_err(|e| DataError::read(root, e))?;
    let mut listing = Listing {
        root: root.into(),
        media: Vec::new(),
        texts: Vec::new(),
        found: Samples::default(),
    };
    let walk = WalkDir::new(root).follow_links(true).sort_by_file_name();
    for entry in walk.into_iter().filter_entry(is_visible) {
        match entry {
            Ok(entry) if entry.file_type().is_file() => listing.add(entry.into_path(), media),
            Ok(_) => {}
            Err(error) => {
                let path = error.path().unwrap_or(root);
                let name = listing.name(path);
                listing.found.skip(name, reason(&error));
            }
        }
    }
    Ok(listing)
}

fn is_visible(entry: &DirEntry) -> bool {
    entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".")
}

fn reason(error: &walkdir::Error) -> String {
    if error.loop_ancestor().is_some() {
        return "it is a link to a folder that it is in".into();
    }
    match error.io_error() {
        Some(error) => error.to_string(),
        None => error.to_string(),
    }
}

impl Listing {
    fn add(&mut self, path: PathBuf, media: Media) {
        match extension(&path).as_str() {
            "txt" | "caption" => self.texts.push(path),
            extension if media.has(extension) => self.media.push(path),
            extension if media.lacks(extension) => {
                let reason = format!(
                    "{extension} is not read, only {}",
                    media.extensions().join(", ")
                );
                self.found.skip(self.name(&path), reason);
            }
            _ => {}
        }
    }

    /// All files whose content matters.
    pub fn inputs(&self) -> impl Iterator<Item = &Path> {
        let all = self.media.iter().chain(&self.texts);
        all.map(PathBuf::as_path)
    }

    /// A path inside the folder, for messages.
    fn name(&self, path: &Path) -> String {
        path_text::to_text(path.strip_prefix(&self.root).unwrap_or(path))
    }

    /// Reads the captions.
    pub fn samples(mut self) -> Samples {
        let mut texts = BTreeMap::<PathBuf, Vec<&PathBuf>>::new();
        for path in &self.texts {
            texts.entry(path.with_extension("")).or_default().push(path);
        }
        let stems: BTreeSet<PathBuf> = self.media.iter().map(|p| p.with_extension("")).collect();
        let mut found = std::mem::take(&mut self.found);
        for (stem, paths) in &texts {
            if !stems.contains(stem) {
                found
                    .orphans
                    .extend(paths.iter().map(|path| self.name(path)));
            }
        }
        let none = Vec::new();
        let read = |path: &PathBuf| {
            let texts = texts.get(&path.with_extension("")).unwrap_or(&none);
            self.sample(path, texts)
        };
        let read: Vec<Samples> = self.media.par_iter().map(read).collect();
        let mut bad = BTreeSet::new();
        for mut one in read {
            // Two images may share a text.
            one.unreadable.retain(|text| bad.insert(text.file.clone()));
            found.extend(one);
        }
        found
    }

    /// One image with what its text files say.
    fn sample(&self, path: &Path, texts: &[&PathBuf]) -> Samples {
        let mut found = Samples::default();
        let mut captions = Vec::new();
        for text in texts {
            let bytes = bounded::read(text, MOST_TEXT).map_err(|e| e.to_string());
            match bytes.and_then(|bytes| text::lines(&bytes).map_err(|e| e.0)) {
                Ok(lines) => merge(&mut captions, lines),
                Err(reason) => found.skip(self.name(text), reason),
            }
        }
        let folder = path.parent().map(|folder| self.name(folder));
        found.samples.push(Sample {
            file: self.name(path),
            place: Place::File(path.into()),
            captions,
            class: folder.filter(|folder| !folder.is_empty()),
        });
        found
    }
}
