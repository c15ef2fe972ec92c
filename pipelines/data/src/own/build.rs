//! From a recipe to the files of a data set.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use nextscale_files::checksum;

use crate::dataset::Dataset;
use crate::entry::Entry;
use crate::error::DataError;
use crate::index;
use crate::manifest::{Manifest, Skipped};
use crate::own::labels::{Described, describe};
use crate::own::media::Media;
use crate::own::pass::{Pass, Passed};
use crate::own::recipe::{Labels, MissingCaptions, OwnRecipe};
use crate::own::source::Source;
use crate::own::videos::ReadVideo;
use crate::own::{install, space};
use crate::progress::OnProgress;

/// Builds the data set of a recipe in `out` and returns its manifest.
///
/// `sizes` are width and height of each bucket in pixels, 8 to 4096, even: [`OwnRecipe::sizes`], or those of the model that
/// the recipe names. `videos` reads the videos of a set of videos. A finished set of the same recipe, sizes and files (by their
/// paths, lengths and times) is left as it is unless `force`. Images that cannot be used are left out and named in the manifest.
///
/// # Errors
/// Nothing that can be used, a column that is not there, a download that fails, sizes out of range, a disk with too little
/// space, a folder that cannot be written. What was in `out` before stays then.
pub fn build_own(
    recipe: &OwnRecipe,
    sizes: &[[usize; 2]],
    out: &Path,
    force: bool,
    videos: &dyn ReadVideo,
    progress: OnProgress<'_>,
) -> Result<Manifest, DataError> {
    let source = Source::find(recipe)?;
    let fingerprint = source.fingerprint(recipe, sizes)?;
    if let Some(manifest) = current(out, &fingerprint).filter(|_| !force) {
        return Ok(manifest);
    }
    let described = describe(recipe, source.samples(recipe, progress)?)?;
    let pass = Pass {
        recipe,
        sizes,
        videos,
        progress,
    };
    space::check(&out.join("images.bin"), estimate(&pass, &described))?;
    let hidden = install::hidden_for(out)?;
    let passed = write_images(&pass, &described, &hidden.path().join("images.bin"))?;
    let manifest = manifest(&pass, &described, &passed, fingerprint);
    let manifest = write_rest(manifest, &passed.entries, hidden.path(), out)?;
    install::install(hidden, out)?;
    Ok(manifest)
}

/// The manifest of a whole data set with this fingerprint.
fn current(out: &Path, fingerprint: &str) -> Option<Manifest> {
    let manifest = Manifest::load(out).ok()?;
    let is_same = manifest.recipe == fingerprint && Dataset::load(out).is_ok();
    is_same.then_some(manifest)
}

/// About how many bytes the images are going to have: all of them in a bucket of mean size.
fn estimate(pass: &Pass<'_>, described: &Described) -> u64 {
    let bytes = |[w, h]: &[usize; 2]| (w * h * 3 * pass.recipe.clip_frames()) as u64;
    let all: u64 = pass.sizes.iter().map(bytes).sum();
    all / pass.sizes.len() as u64 * described.samples.len() as u64
}

fn write_images(pass: &Pass<'_>, described: &Described, path: &Path) -> Result<Passed, DataError> {
    let fail = |e| DataError::write(path, e);
    let mut file = BufWriter::new(File::create(path).map_err(fail)?);
    let passed = pass.run(described, &mut |_, frames| {
        let mut frames = frames.iter();
        frames
            .try_for_each(|frame| file.write_all(frame))
            .map_err(fail)
    })?;
    file.flush().map_err(fail)?;
    check_used(pass.recipe, &passed)?;
    Ok(passed)
}

/// Refuses a set without images.
pub(crate) fn check_used(recipe: &OwnRecipe, passed: &Passed) -> Result<(), DataError> {
    if !passed.entries.is_empty() {
        return Ok(());
    }
    let place = recipe.from.join(", ");
    let mut all = passed.unreadable.iter().chain(&passed.small);
    let noun = Media::of(recipe).noun();
    let message = match all.next() {
        Some(Skipped { file, reason }) => {
            let count = all.count() + 1;
            format!("no {noun} can be used, the first of {count} is {file}: {reason}")
        }
        None => format!("no {noun} is left: none has a caption or a class"),
    };
    Err(DataError::content(Path::new(&place), message))
}

/// The manifest, but for the checksums of the files.
fn manifest(
    pass: &Pass<'_>,
    described: &Described,
    passed: &Passed,
    fingerprint: String,
) -> Manifest {
    let recipe = pass.recipe;
    let (size, sizes) = match pass.sizes {
        [[w, h]] if w == h => (*w, Vec::new()),
        sizes => (0, sizes.to_vec()),
    };
    let mut skipped = left_out(pass, described, passed);
    let skipped_count = skipped.len();
    skipped.truncate(Manifest::MOST_SKIPPED);
    let styles = classes_of(described.labels, &passed.entries);
    Manifest {
        size,
        sizes,
        count: passed.entries.len(),
        held_out: passed.entries.iter().filter(|e| e.held_out).count(),
        classes: in_order(styles.keys()),
        styles,
        frames: recipe.clip_frames(),
        fps: recipe.clip_fps(),
        opaque: true,
        recipe: fingerprint,
        skipped,
        skipped_count,
        ..Manifest::default()
    }
}

/// Everything that is not in the data set, with the reasons.
fn left_out(pass: &Pass<'_>, described: &Described, passed: &Passed) -> Vec<Skipped> {
    let noun = Media::of(pass.recipe).noun();
    let with = |file: &String, reason: String| Skipped {
        file: file.clone(),
        reason,
    };
    let mut all = [&described.unreadable[..], &passed.unreadable, &passed.small].concat();
    // Those whose caption is empty are in the set.
    let empty = pass.recipe.missing_captions == MissingCaptions::Empty;
    let without = described.without_caption.iter().filter(|_| !empty);
    all.extend(without.map(|file| with(file, "it has no caption".into())));
    let orphans = described.orphans.iter();
    all.extend(orphans.map(|file| with(file, format!("no {noun} has its name"))));
    for (&first, files) in &passed.duplicates {
        let first = &passed.entries[first].file;
        let files = files.iter();
        all.extend(files.map(|file| with(file, format!("it is the same as {first}"))));
    }
    all
}

/// Images of each class; none in a set with captions.
pub(crate) fn classes_of(labels: Labels, entries: &[Entry]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    if labels == Labels::Classes {
        for entry in entries {
            *counts.entry(entry.name.clone()).or_default() += 1;
        }
    }
    counts
}

/// Names in order: by number if all are numbers, else by alphabet.
fn in_order<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let names: BTreeSet<&String> = names.collect();
    let numbers: Option<BTreeSet<(u64, &String)>> = names
        .iter()
        .map(|&name| name.parse().ok().map(|number| (number, name)))
        .collect();
    match numbers {
        Some(numbers) => numbers.into_iter().map(|(_, name)| name.clone()).collect(),
        None => names.into_iter().cloned().collect(),
    }
}

/// Writes index and manifest into the hidden folder.
fn write_rest(
    mut manifest: Manifest,
    entries: &[Entry],
    folder: &Path,
    out: &Path,
) -> Result<Manifest, DataError> {
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|e| DataError::write(&out.join(name), e))
    };
    write("index.jsonl", index::text(entries, out)?)?;
    for name in ["images.bin", "index.jsonl"] {
        let checksum = File::open(folder.join(name)).and_then(checksum::of_reader);
        let checksum = checksum.map_err(|e| DataError::read(&out.join(name), e))?;
        manifest.files.insert(name.to_owned(), checksum);
    }
    let text = serde_json::to_string_pretty(&manifest);
    write(
        "manifest.json",
        text.map_err(|e| DataError::content(out, e))? + "\n",
    )?;
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_that_are_numbers_are_in_their_order() {
        let names = ["10", "9", "1"].map(String::from);
        assert_eq!(in_order(names.iter()), ["1", "9", "10"]);
        let names = ["b", "10", "9"].map(String::from);
        assert_eq!(in_order(names.iter()), ["10", "9", "b"]);
    }
}
