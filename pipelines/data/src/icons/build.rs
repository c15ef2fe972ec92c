//! `nextscale data build`: packages to pictures with names, one command, resumable, the same bytes every time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use nextscale_files::checksum;

use super::names::{self, NameFiles, Names};
use super::render::{self, ViewBox};
use crate::archive;
use crate::dataset::{Contents, Manifest};
use crate::entry::Entry;
use crate::error::write_atomically;
use crate::progress::{OnProgress, Progress};
use crate::recipe::{Format, Package, Recipe, Source};

/// Counts up when the same recipe would give other bytes.
const VERSION: u32 = 1;

/// One picture of a finished stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Drawn {
    key: String,
    name: String,
    group: String,
    synonyms: Vec<String>,
}

/// A finished stage: pictures of one source, and their premultiplied RGBA in the same order.
type Stage = (Vec<Drawn>, Vec<u8>);

/// A picture to be drawn.
struct Job<'a> {
    drawn: Drawn,
    picture: Picture<'a>,
}

enum Picture<'a> {
    Svg {
        body: &'a str,
        view: ViewBox,
        mirror: bool,
    },
    Webp(&'a [u8]),
}

/// Builds the data set of a recipe in `out` and returns its manifest.
///
/// Finished stages and downloads in the cache are reused; `force` draws everything again.
///
/// # Errors
/// A package cannot be downloaded or has another checksum, or a folder cannot be written.
pub fn build(
    recipe: &Recipe,
    out: &Path,
    force: bool,
    progress: OnProgress<'_>,
) -> Result<Manifest, DataError> {
    std::fs::create_dir_all(out).map_err(|e| DataError::write(out, e))?;
    std::fs::create_dir_all(&recipe.cache).map_err(|e| DataError::write(&recipe.cache, e))?;
    let fingerprint = fingerprint(recipe);
    if !force && let Some(manifest) = Manifest::current(out, &fingerprint) {
        return Ok(manifest);
    }
    let packages = recipe.packages();
    let mut tarballs = BTreeMap::new();
    for (done, package) in packages.iter().enumerate() {
        progress(Progress {
            step: "packages",
            item: &package.package,
            done,
            total: packages.len(),
        });
        let tarball = super::npm::tarball(package, &recipe.cache)?;
        tarballs.insert(package.package.clone(), tarball);
    }
    let names = load_names(recipe, &tarballs)?;
    let mut stages = Vec::new();
    for source in &recipe.sources {
        stages.push(stage(
            recipe,
            source,
            &tarballs[&source.package],
            &names,
            &fingerprint,
            force,
            progress,
        )?);
    }
    write(recipe, out, fingerprint, &stages)
}

/// What decides the bytes of the data set: everything in the recipe but the folders.
fn fingerprint(recipe: &Recipe) -> String {
    let mut recipe = recipe.clone();
    recipe.out = PathBuf::new();
    recipe.cache = PathBuf::new();
    let text = serde_json::to_string(&(VERSION, recipe)).unwrap_or_default();
    checksum::of_bytes(text.as_bytes())
}

fn load_names(recipe: &Recipe, tarballs: &BTreeMap<String, Vec<u8>>) -> Result<Names, DataError> {
    let read = |package: &Package, keep: &dyn Fn(&str) -> bool| {
        archive::files(
            &tarballs[&package.package],
            Path::new(&package.package),
            keep,
        )
    };
    let one = |package: &Package, file: &str| -> Result<Vec<u8>, DataError> {
        read(package, &|p| p == file)?.remove(file).ok_or_else(|| {
            DataError::content(Path::new(&package.package), format!("{file} is missing"))
        })
    };
    let unicode = one(&recipe.names.unicode, "data-by-emoji.json")?;
    let emojibase = one(&recipe.names.emojibase, "en/data.json")?;
    let shortcodes = read(&recipe.names.emojibase, &|p| {
        p == "en/shortcodes/emojibase.json" || p == "en/shortcodes/github.json"
    })?;
    let cldr = one(&recipe.names.cldr, "annotations/en/annotations.json")?;
    let mut names = Names::new(&NameFiles {
        unicode: &unicode,
        emojibase: &emojibase,
        shortcodes: shortcodes.values().map(Vec::as_slice).collect(),
        cldr: &cldr,
    })?;
    for source in recipe
        .sources
        .iter()
        .filter(|s| s.format == Format::Iconify)
    {
        let files = read(&source.pinned(), &|p| p == "chars.json")?;
        if let Some(chars) = files.get("chars.json") {
            let chars: BTreeMap<String, String> = parse(chars, source, "chars.json")?;
            names.add_chars(&chars);
        }
    }
    for (from, to) in &recipe.aliases {
        names.add_alias(from, to);
    }
    Ok(names)
}

fn parse<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    source: &Source,
    file: &str,
) -> Result<T, DataError> {
    serde_json::from_slice(bytes)
        .map_err(|e| DataError::content(Path::new(&source.package), format!("{file}: {e}")))
}

/// The pictures of one source, from the cache or drawn now.
fn stage(
    recipe: &Recipe,
    source: &Source,
    tarball: &[u8],
    names: &Names,
    fingerprint: &str,
    force: bool,
    progress: OnProgress<'_>,
) -> Result<Stage, DataError> {
    let id =
        checksum::of_bytes(format!("{fingerprint} {} {}", source.style, source.sha256).as_bytes());
    let path = recipe
        .cache
        .join(format!("{}-{}.stage", source.style, &id[..16]));
    let pixels = recipe.size * recipe.size * 4;
    if !force && let Some(stage) = read_stage(&path, pixels) {
        return Ok(stage);
    }
    let stage = match source.format {
        Format::Iconify => {
            let files = archive::files(tarball, Path::new(&source.package), |p| p == "icons.json")?;
            let Some(bytes) = files.get("icons.json") else {
                return Err(DataError::content(
                    Path::new(&source.package),
                    "icons.json is missing",
                ));
            };
            let set: IconifySet = parse(bytes, source, "icons.json")?;
            draw(
                recipe,
                source,
                iconify_jobs(recipe, source, &set, names),
                progress,
            )?
        }
        Format::Webp => {
            let files = archive::files(tarball, Path::new(&source.package), |p| {
                p.ends_with(".webp")
            })?;
            draw(recipe, source, webp_jobs(&files, names), progress)?
        }
    };
    let head =
        serde_json::to_vec(&stage.0).map_err(|e| DataError::content(&path, e.to_string()))?;
    let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
    bytes.extend(&head);
    bytes.extend(&stage.1);
    write_atomically(&path, &bytes)?;
    Ok(stage)
}

fn read_stage(path: &Path, pixels: usize) -> Option<Stage> {
    let bytes = std::fs::read(path).ok()?;
    let length = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?) as usize;
    let drawn: Vec<Drawn> = serde_json::from_slice(bytes.get(8..8 + length)?).ok()?;
    let pictures = bytes[8 + length..].to_vec();
    (pictures.len() == drawn.len() * pixels).then_some((drawn, pictures))
}

#[derive(Deserialize)]
struct IconifySet {
    icons: BTreeMap<String, Icon>,
    #[serde(default)]
    aliases: BTreeMap<String, Alias>,
    width: Option<f64>,
    height: Option<f64>,
    left: Option<f64>,
    top: Option<f64>,
}

#[derive(Deserialize)]
struct Icon {
    body: String,
    width: Option<f64>,
    height: Option<f64>,
    left: Option<f64>,
    top: Option<f64>,
    #[serde(default)]
    hidden: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alias {
    parent: String,
    #[serde(default)]
    h_flip: bool,
    #[serde(default)]
    v_flip: bool,
    #[serde(default)]
    rotate: u8,
}

/// Chooses the icons to draw: one for a concept, the icon with the concept's own slug first.
fn iconify_jobs<'a>(
    recipe: &Recipe,
    source: &Source,
    set: &'a IconifySet,
    names: &Names,
) -> Vec<Job<'a>> {
    let mut chosen: BTreeMap<String, (u8, Drawn, &'a Icon, bool)> = BTreeMap::new();
    let mut offer = |rank: u8, drawn: Drawn, icon: &'a Icon, mirror: bool| {
        let better = chosen.get(&drawn.key).is_none_or(|(old, ..)| rank < *old);
        if better {
            chosen.insert(drawn.key.clone(), (rank, drawn, icon, mirror));
        }
    };
    let usable = |slug: &str, icon: &Icon| {
        !icon.hidden && !names::has_skin_tone(slug) && !recipe.excludes(slug)
    };
    let mut known_by_alias = BTreeSet::new();
    for (slug, alias) in &set.aliases {
        let Some(icon) = set
            .icons
            .get(&alias.parent)
            .filter(|icon| usable(slug, icon))
        else {
            continue;
        };
        if alias.v_flip || alias.rotate != 0 {
            continue; // no set of emoji turns one picture into another
        }
        if let Some(drawn) = emoji(slug, names) {
            known_by_alias.insert(&alias.parent);
            offer(if alias.h_flip { 1 } else { 3 }, drawn, icon, alias.h_flip);
        }
    }
    for (slug, icon) in set.icons.iter().filter(|(slug, icon)| usable(slug, icon)) {
        if let Some(drawn) = emoji(slug, names) {
            let rank = if names::slug(&drawn.name) == *slug {
                0
            } else {
                2
            };
            offer(rank, drawn, icon, false);
        } else if source.keep_unmatched && !known_by_alias.contains(slug) {
            let name = names::clean(&slug.replace('-', " "));
            let drawn = Drawn {
                key: format!("icon:{slug}"),
                name,
                group: "Icons".into(),
                synonyms: Vec::new(),
            };
            offer(0, drawn, icon, false);
        }
    }
    let view = |icon: &Icon| ViewBox {
        left: icon.left.or(set.left).unwrap_or(0.0),
        top: icon.top.or(set.top).unwrap_or(0.0),
        width: icon.width.or(set.width).unwrap_or(16.0),
        height: icon.height.or(set.height).unwrap_or(16.0),
    };
    let job = |(_, drawn, icon, mirror): (u8, Drawn, &'a Icon, bool)| Job {
        drawn,
        picture: Picture::Svg {
            body: &icon.body,
            view: view(icon),
            mirror,
        },
    };
    chosen.into_values().map(job).collect()
}

fn emoji(slug: &str, names: &Names) -> Option<Drawn> {
    let key = names.key(slug)?;
    drawn_of(key, names)
}

fn drawn_of(key: &str, names: &Names) -> Option<Drawn> {
    let concept = names.concept(key)?;
    Some(Drawn {
        key: key.to_owned(),
        name: concept.name.clone(),
        group: concept.group.clone(),
        synonyms: concept.synonyms.clone(),
    })
}

/// Files named by code points; the first file of a sequence wins.
fn webp_jobs<'a>(files: &'a BTreeMap<String, Vec<u8>>, names: &Names) -> Vec<Job<'a>> {
    let mut chosen: BTreeMap<String, Job<'a>> = BTreeMap::new();
    for (path, bytes) in files {
        let stem = path
            .rsplit('/')
            .next()
            .unwrap_or(path)
            .trim_end_matches(".webp");
        if let Some(drawn) = drawn_of(&names::hex_key(stem), names) {
            chosen.entry(drawn.key.clone()).or_insert(Job {
                drawn,
                picture: Picture::Webp(bytes),
            });
        }
    }
    chosen.into_values().collect()
}

/// Draws every job in parallel, in order, and leaves out what is empty or cannot be drawn.
fn draw(
    recipe: &Recipe,
    source: &Source,
    jobs: Vec<Job<'_>>,
    progress: OnProgress<'_>,
) -> Result<Stage, DataError> {
    let drawn = AtomicUsize::new(0);
    let one = |job: &Job<'_>| {
        let picture = match job.picture {
            Picture::Webp(bytes) => render::webp(bytes, recipe.size),
            Picture::Svg { body, view, mirror } => {
                render::svg(body, view, recipe.size, recipe.supersample).map(|mut picture| {
                    if mirror {
                        render::mirror(&mut picture, recipe.size, 4);
                    }
                    picture
                })
            }
        };
        progress(Progress {
            step: &source.style,
            item: "",
            done: drawn.fetch_add(1, Ordering::Relaxed) + 1,
            total: jobs.len(),
        });
        picture.map_err(|e| {
            DataError::content(
                Path::new(&source.package),
                format!("cannot draw {:?}: {e}", job.drawn.name),
            )
        })
    };
    let pictures: Vec<Vec<u8>> = jobs.par_iter().map(one).collect::<Result<_, _>>()?;
    let mut stage: Stage = (Vec::new(), Vec::new());
    for (job, picture) in jobs.into_iter().zip(pictures) {
        if !render::is_empty(&picture) {
            stage.0.push(job.drawn);
            stage.1.extend(picture);
        }
    }
    Ok(stage)
}

/// Numbers the pictures, marks the held-out pairs and writes the four files, the manifest last.
fn write(
    recipe: &Recipe,
    out: &Path,
    fingerprint: String,
    stages: &[Stage],
) -> Result<Manifest, DataError> {
    let pixels = recipe.size * recipe.size;
    let (mut entries, mut images, mut alphas) = (Vec::<Entry>::new(), Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for (source, (drawn, pictures)) in recipe.sources.iter().zip(stages) {
        for (drawn, picture) in drawn.iter().zip(pictures.chunks_exact(pixels * 4)) {
            if !seen.insert((drawn.name.clone(), source.style.clone())) {
                continue;
            }
            for pixel in picture.chunks_exact(4) {
                images.extend(&pixel[..3]);
                alphas.push(pixel[3]);
            }
            entries.push(Entry {
                id: entries.len(),
                name: drawn.name.clone(),
                style: source.style.clone(),
                synonyms: drawn.synonyms.clone(),
                category: drawn.group.clone(),
                flip: source.flip && may_flip(recipe, drawn),
                held_out: false,
                plain: false,
            });
        }
    }
    mark_held_out(
        &mut entries,
        recipe.held_out.pairs,
        recipe.held_out.min_styles,
    );
    mark_plain(&mut entries);
    let contents = Contents {
        size: recipe.size,
        recipe: fingerprint,
        packages: recipe.packages(),
        entries,
        images,
        alpha: alphas,
        ..Contents::default()
    };
    contents.write(out)
}

fn may_flip(recipe: &Recipe, drawn: &Drawn) -> bool {
    let mut words = drawn.name.split([' ', '-']);
    !recipe.no_flip.groups.contains(&drawn.group)
        && !words.any(|w| recipe.no_flip.words.iter().any(|n| n == w))
}

/// Marks the pairs with the smallest hashes of name and style, at most one for a concept.
fn mark_held_out(entries: &mut [Entry], pairs: usize, min_styles: usize) {
    let mut styles: BTreeMap<String, usize> = BTreeMap::new();
    for entry in entries.iter() {
        *styles.entry(entry.name.clone()).or_default() += 1;
    }
    let hash =
        |e: &Entry| checksum::of_bytes(format!("held out\n{}\n{}", e.name, e.style).as_bytes());
    let mut order: Vec<(String, usize)> = entries
        .iter()
        .filter(|e| styles[&e.name] >= min_styles)
        .map(|e| (hash(e), e.id))
        .collect();
    order.sort();
    let mut names = BTreeSet::new();
    for (_, id) in order {
        if names.len() == pairs {
            break;
        }
        if names.insert(entries[id].name.clone()) {
            entries[id].held_out = true;
        }
    }
}

/// Marks one picture a concept as the answer to its plain name: the first style that training sees.
fn mark_plain(entries: &mut [Entry]) {
    let mut names = BTreeSet::new();
    for entry in entries.iter_mut().filter(|e| !e.held_out) {
        entry.plain = names.insert(entry.name.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(concepts: usize, styles: &[&str]) -> Vec<Entry> {
        let mut list = Vec::new();
        for style in styles {
            for c in 0..concepts {
                list.push(Entry {
                    id: list.len(),
                    name: format!("thing {c}"),
                    style: (*style).into(),
                    ..Entry::default()
                });
            }
        }
        list
    }

    #[test]
    fn held_out_pairs_are_stable_and_leave_a_plain_answer() {
        let mut list = entries(50, &["3d", "noto", "flat"]);
        list.push(Entry {
            id: list.len(),
            name: "lonely".into(),
            style: "3d".into(),
            ..Entry::default()
        });
        mark_held_out(&mut list, 20, 3);
        mark_plain(&mut list);
        let held: BTreeSet<_> = list
            .iter()
            .filter(|e| e.held_out)
            .map(|e| e.name.clone())
            .collect();
        assert_eq!(held.len(), 20);
        assert!(!held.contains("lonely"));
        assert_eq!(list.iter().filter(|e| e.plain).count(), 51);
        assert!(list.iter().all(|e| !(e.plain && e.held_out)));

        // A picture that joins later with another name does not move the others.
        let mut reversed = entries(50, &["3d", "noto", "flat"]);
        mark_held_out(&mut reversed, 20, 3);
        assert!(
            reversed
                .iter()
                .zip(&list)
                .all(|(a, b)| a.held_out == b.held_out)
        );
    }

    #[test]
    fn a_damaged_stage_is_drawn_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.stage");
        assert!(read_stage(&path, 16).is_none());
        std::fs::write(&path, [9u8; 20]).unwrap();
        assert!(read_stage(&path, 16).is_none());
    }
}
