//! Packages to images with names: resumable, and the same bytes every time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nextscale_files::checksum;
use serde::de::DeserializeOwned;

use super::icon;
use super::icon::Label;
use super::iconify::IconifySet;
use super::names::{NameFiles, Names};
use super::npm;
use super::rendered::Rendered;
use super::split;
use crate::archive;
use crate::entry::Entry;
use crate::error::DataError;
use crate::manifest::{self, Contents, Manifest};
use crate::progress::{OnProgress, Progress};
use crate::recipe::{Format, IconSource, Package, Recipe};

/// Counts up when the same recipe would give other bytes.
const VERSION: u32 = 1;

/// Builds the data set of a recipe in `out` and returns its manifest.
///
/// Downloads and rendered sources in the cache are reused; `force` renders everything again.
///
/// # Errors
/// A package cannot be downloaded, has another checksum or does not hold what it should, or a folder cannot be written.
pub fn build(
    recipe: &Recipe,
    out: &Path,
    force: bool,
    progress: OnProgress<'_>,
) -> Result<Manifest, DataError> {
    let fingerprint = fingerprint(recipe);
    if let Some(manifest) = manifest::start(out, &recipe.cache, &fingerprint, force)? {
        return Ok(manifest);
    }
    let tarballs = Tarballs::collect(recipe, progress)?;
    let names = names(recipe, &tarballs)?;
    let mut rendered = Vec::new();
    for source in &recipe.sources {
        let id = format!("{fingerprint} {} {}", source.style, source.sha256);
        let id = checksum::of_bytes(id.as_bytes());
        let file = format!("{}-{}.stage", source.style, &id[..16]);
        let path = recipe.cache.join(file);
        let cached = Rendered::read(&path, recipe.size * recipe.size * 4);
        rendered.push(match cached.filter(|_| !force) {
            Some(cached) => cached,
            None => {
                let new = render(recipe, source, &tarballs, &names, progress)?;
                new.write(&path)?;
                new
            }
        });
    }
    contents(recipe, fingerprint, &rendered).write(out)
}

/// Words that emoji are found by, each with the names of its emoji: first those with few others.
///
/// # Errors
/// As for [`build`].
pub(crate) fn keywords(
    recipe: &Recipe,
    progress: OnProgress<'_>,
) -> Result<BTreeMap<String, Vec<String>>, DataError> {
    let tarballs = Tarballs::collect(recipe, progress)?;
    Ok(names(recipe, &tarballs)?.into_keywords())
}

/// What decides the bytes of the data set: everything in the recipe but the folders.
fn fingerprint(recipe: &Recipe) -> String {
    let mut recipe = recipe.clone();
    recipe.out = PathBuf::new();
    recipe.cache = PathBuf::new();
    manifest::fingerprint(&(VERSION, recipe))
}

/// The tarballs of a recipe by the names of their packages.
struct Tarballs(BTreeMap<String, Vec<u8>>);

impl Tarballs {
    fn collect(recipe: &Recipe, progress: OnProgress<'_>) -> Result<Self, DataError> {
        let packages = recipe.packages();
        let mut tarballs = BTreeMap::new();
        for (done, package) in packages.iter().enumerate() {
            progress(Progress {
                step: "packages",
                item: &package.package,
                done,
                total: packages.len(),
            });
            let tarball = npm::tarball(package, &recipe.cache)?;
            tarballs.insert(package.package.clone(), tarball);
        }
        Ok(Self(tarballs))
    }

    /// The files of a package whose path passes `keep`.
    fn files(
        &self,
        package: &str,
        keep: impl Fn(&str) -> bool,
    ) -> Result<BTreeMap<String, Vec<u8>>, DataError> {
        archive::files(&self.0[package], Path::new(package), keep)
    }

    fn file(&self, package: &str, file: &str) -> Result<Vec<u8>, DataError> {
        let found = self.files(package, |path| path == file)?.remove(file);
        found.ok_or_else(|| DataError::content(Path::new(package), format!("{file} is missing")))
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8], package: &str, file: &str) -> Result<T, DataError> {
    serde_json::from_slice(bytes)
        .map_err(|e| DataError::content(Path::new(package), format!("{file}: {e}")))
}

fn names(recipe: &Recipe, tarballs: &Tarballs) -> Result<Names, DataError> {
    let of = |package: &Package, file: &str| tarballs.file(&package.package, file);
    let emojibase = &recipe.names.emojibase;
    let shortcodes = tarballs.files(&emojibase.package, |path| {
        path == "en/shortcodes/emojibase.json" || path == "en/shortcodes/github.json"
    })?;
    let mut names = Names::new(&NameFiles {
        unicode: &of(&recipe.names.unicode, "data-by-emoji.json")?,
        emojibase: &of(emojibase, "en/data.json")?,
        shortcodes: shortcodes.values().map(Vec::as_slice).collect(),
        cldr: &of(&recipe.names.cldr, "annotations/en/annotations.json")?,
    })?;
    let sources = recipe.sources.iter();
    for IconSource { package, .. } in sources.filter(|s| s.format == Format::Iconify) {
        let files = tarballs.files(package, |path| path == "chars.json")?;
        if let Some(chars) = files.get("chars.json") {
            names.add_chars(&parse(chars, package, "chars.json")?);
        }
    }
    for (from, to) in &recipe.aliases {
        names.add_alias(from, to);
    }
    Ok(names)
}

/// Renders the icons of one source.
fn render(
    recipe: &Recipe,
    source: &IconSource,
    tarballs: &Tarballs,
    names: &Names,
    progress: OnProgress<'_>,
) -> Result<Rendered, DataError> {
    let package = &source.package;
    match source.format {
        Format::Iconify => {
            let bytes = tarballs.file(package, "icons.json")?;
            let set: IconifySet = parse(&bytes, package, "icons.json")?;
            let icons = set.choose(recipe, source, names);
            Rendered::new(recipe, source, icons, progress)
        }
        Format::Webp => {
            let files = tarballs.files(package, |path| path.ends_with(".webp"))?;
            let icons = icon::of_webp_files(&files, names);
            Rendered::new(recipe, source, icons, progress)
        }
    }
}

/// Numbers the icons, drops what has the name of an earlier one of its style, and marks the held-out pairs.
fn contents(recipe: &Recipe, fingerprint: String, rendered: &[Rendered]) -> Contents {
    let mut contents = Contents {
        size: recipe.size,
        recipe: fingerprint,
        packages: recipe.packages(),
        ..Contents::default()
    };
    let image_bytes = recipe.size * recipe.size * 4;
    let mut known = BTreeSet::new();
    for (source, Rendered { labels, pixels }) in recipe.sources.iter().zip(rendered) {
        for (label, image) in labels.iter().zip(pixels.chunks_exact(image_bytes)) {
            if !known.insert((label.name.clone(), source.style.clone())) {
                continue;
            }
            for pixel in image.chunks_exact(4) {
                contents.images.extend(&pixel[..3]);
                contents.alpha.push(pixel[3]);
            }
            contents.entries.push(Entry {
                id: contents.entries.len(),
                name: label.name.clone(),
                style: source.style.clone(),
                synonyms: label.synonyms.clone(),
                category: label.group.clone(),
                flip: source.flip && may_flip(recipe, label),
                held_out: false,
                plain: false,
                ..Entry::default()
            });
        }
    }
    split::mark_held_out(&mut contents.entries, &recipe.held_out);
    split::mark_plain(&mut contents.entries);
    contents
}

fn may_flip(recipe: &Recipe, label: &Label) -> bool {
    let mut words = label.name.split([' ', '-']);
    !recipe.no_flip.groups.contains(&label.group)
        && !words.any(|w| recipe.no_flip.words.iter().any(|n| n == w))
}
