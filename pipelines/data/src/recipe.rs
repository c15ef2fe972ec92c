//! The recipe of a data set: its packages with their versions and checksums.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{DataError, Invalid, ensure};

/// What a recipe builds a data set from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataKind {
    /// Icons with names, from packages: a [`Recipe`].
    #[default]
    Icons,
    /// Gray images with classes, in the format of MNIST: an [`IdxRecipe`](crate::IdxRecipe).
    Idx,
    /// Own images in a folder, with captions or classes: an [`OwnRecipe`](crate::OwnRecipe).
    Folder,
    /// Own images that a file of JSON lines names: an [`OwnRecipe`](crate::OwnRecipe).
    Jsonl,
    /// Own images that a table names: an [`OwnRecipe`](crate::OwnRecipe).
    Csv,
    /// Own images in tar archives: an [`OwnRecipe`](crate::OwnRecipe).
    Webdataset,
    /// Own videos with captions or classes: an [`OwnRecipe`](crate::OwnRecipe).
    Videos,
}

impl DataKind {
    /// Whether it is the user's own images or videos: the kinds of an [`OwnRecipe`](crate::OwnRecipe).
    pub fn is_own(self) -> bool {
        !matches!(self, Self::Icons | Self::Idx)
    }

    /// The kind that a recipe states.
    ///
    /// # Errors
    /// The file cannot be read, is not YAML, or states an unknown kind.
    pub fn of(path: &Path) -> Result<Self, DataError> {
        #[derive(Deserialize)]
        struct Stated {
            #[serde(default)]
            kind: DataKind,
        }
        read_recipe(path, |_: &Stated| Ok(())).map(|stated| stated.kind)
    }
}

/// The recipe of a data set of icons, as the user wrote it in YAML.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// [`DataKind::Icons`].
    #[serde(default, skip_serializing)]
    pub kind: DataKind,
    /// Side of every image in pixels, 8 to 1024.
    pub size: usize,
    /// SVGs are rendered this many times larger and then reduced, 1 to 8.
    pub supersample: usize,
    /// Folder of the finished data set.
    pub out: PathBuf,
    /// Folder of downloaded tarballs and rendered sources.
    pub cache: PathBuf,
    /// The pairs that training never sees.
    pub held_out: HeldOut,
    /// Packages that name the emoji.
    pub names: NamePackages,
    /// Packages of icons, in order of preference for a plain prompt.
    pub sources: Vec<IconSource>,
    /// Slugs of older icon sets, each with the slug of its current name.
    #[serde(default)]
    pub aliases: BTreeMap<String, String>,
    /// Slugs to leave out; a final `*` matches any ending.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Which icons must not be mirrored.
    #[serde(default)]
    pub no_flip: NoFlip,
}

/// How many (concept, style) pairs are held out, and of which concepts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldOut {
    /// Number of pairs, at most one per concept.
    pub pairs: usize,
    /// Only concepts that at least this many styles have.
    pub min_styles: usize,
}

/// One npm package, pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Name in the npm registry, with its scope.
    pub package: String,
    /// Exact version.
    pub version: String,
    /// SHA-256 of the tarball in lower-case hexadecimal.
    pub sha256: String,
}

/// The packages that name emoji.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamePackages {
    /// `unicode-emoji-json`: the name and group of every emoji.
    pub unicode: Package,
    /// `emojibase-data`: other labels, short codes and tags.
    pub emojibase: Package,
    /// `cldr-annotations-full`: keywords.
    pub cldr: Package,
}

/// How a package stores its icons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One `icons.json` of SVG bodies.
    Iconify,
    /// One WebP file per sequence of code points under `assets/`.
    Webp,
}

/// One package of icons.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IconSource {
    /// The style word of the captions.
    pub style: String,
    /// How the icons are stored.
    pub format: Format,
    /// Whether icons that are not emoji are kept under their own slug.
    #[serde(default)]
    pub keep_unmatched: bool,
    /// Whether icons of this source may be mirrored at all.
    #[serde(default = "yes")]
    pub flip: bool,
    /// Name in the npm registry, with its scope.
    pub package: String,
    /// Exact version.
    pub version: String,
    /// SHA-256 of the tarball in lower-case hexadecimal.
    pub sha256: String,
}

fn yes() -> bool {
    true
}

impl IconSource {
    /// The pinned package of this source.
    fn pinned(&self) -> Package {
        Package {
            package: self.package.clone(),
            version: self.version.clone(),
            sha256: self.sha256.clone(),
        }
    }
}

/// Which icons must not be mirrored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoFlip {
    /// Emoji groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Words of names.
    #[serde(default)]
    pub words: Vec<String>,
}

impl Recipe {
    /// Reads and checks a recipe.
    ///
    /// # Errors
    /// The file cannot be read, is not valid YAML for a recipe, or holds a value out of range.
    pub fn load(path: &Path) -> Result<Self, DataError> {
        read_recipe(path, Self::check)
    }

    fn check(&self) -> Result<(), Invalid> {
        ensure!(self.kind == DataKind::Icons, "kind must be icons");
        check_size(self.size)?;
        let supersample = self.supersample;
        ensure!(
            (1..=8).contains(&supersample),
            "supersample must be 1 to 8, not {supersample}"
        );
        ensure!(
            !self.sources.is_empty(),
            "sources must list at least one package"
        );
        let mut styles = BTreeSet::new();
        for IconSource { style, .. } in &self.sources {
            ensure!(styles.insert(style), "two sources have the style {style:?}");
        }
        let packages = self.packages();
        packages
            .iter()
            .try_for_each(|p| check_sha256(&p.package, &p.sha256))
    }

    /// Every package of the recipe: names first, then the sources in order.
    pub(crate) fn packages(&self) -> Vec<Package> {
        let names = &self.names;
        let mut all = vec![
            names.unicode.clone(),
            names.emojibase.clone(),
            names.cldr.clone(),
        ];
        all.extend(self.sources.iter().map(IconSource::pinned));
        all
    }

    /// Whether the recipe leaves this icon out.
    pub(crate) fn excludes(&self, slug: &str) -> bool {
        self.exclude
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => slug.starts_with(prefix),
                None => slug == pattern,
            })
    }
}

/// Reads a recipe of any kind and checks it.
pub(crate) fn read_recipe<T: serde::de::DeserializeOwned>(
    path: &Path,
    check: impl FnOnce(&T) -> Result<(), Invalid>,
) -> Result<T, DataError> {
    let text = std::fs::read_to_string(path).map_err(|e| DataError::read(path, e))?;
    let wrong = |message| DataError::Recipe {
        path: path.into(),
        message,
    };
    let recipe = serde_saphyr::from_str(&text);
    let recipe: T = recipe.map_err(|e| wrong(first_sentence(&e.to_string())))?;
    check(&recipe).map_err(|Invalid(message)| wrong(message))?;
    Ok(recipe)
}

/// Refuses a side of images out of range.
pub(crate) fn check_size(size: usize) -> Result<(), Invalid> {
    ensure!(
        (8..=1024).contains(&size),
        "size must be 8 to 1024, not {size}"
    );
    Ok(())
}

/// Refuses what is not a SHA-256.
pub(crate) fn check_sha256(subject: &str, sha256: &str) -> Result<(), Invalid> {
    let digit = |b| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    ensure!(
        sha256.len() == 64 && sha256.bytes().all(digit),
        "sha256 of {subject} must be 64 lower-case hexadecimal digits, not {sha256:?}"
    );
    Ok(())
}

/// The parser's message without the excerpt of the file that follows it.
fn first_sentence(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn icons() -> Recipe {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/icons.yaml");
        Recipe::load(&path).expect("the recipe in the repository is valid")
    }

    #[test]
    fn the_recipe_in_the_repository_is_valid() {
        let recipe = icons();
        assert_eq!(recipe.size, 64);
        assert_eq!(recipe.packages().len(), 9);
        assert!(recipe.excludes("flag-for-flag-japan"));
        assert!(!recipe.excludes("flag-in-hole"));
    }

    #[test]
    fn a_short_checksum_and_a_repeated_style_are_refused() {
        let mut recipe = icons();
        recipe.sources[1].sha256.pop();
        assert!(recipe.check().unwrap_err().0.contains("64 lower-case"));
        let mut recipe = icons();
        recipe.sources[1].style = recipe.sources[0].style.clone();
        assert!(recipe.check().unwrap_err().0.contains("style"));
    }

    #[test]
    fn mistakes_are_told_in_one_line_with_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.yaml");
        std::fs::write(&path, "# pictures\nsise: 64\n").unwrap();
        let text = Recipe::load(&path).unwrap_err().to_string();
        assert!(text.contains("line 2") && text.contains("sise"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        let missing = Recipe::load(Path::new("none.yaml")).unwrap_err();
        assert_eq!(missing.to_string().matches("No such file").count(), 1);
        assert!(std::error::Error::source(&missing).is_none(), "said twice");
    }
}
