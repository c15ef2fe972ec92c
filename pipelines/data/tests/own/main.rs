//! Data sets of own images and videos: small generated files in, a data set or a report out.

mod checks;
mod folders;
mod kept;
mod mutations;
mod tables;
mod videos;
mod webdatasets;

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use nextscale_data::{
    DataError, DataKind, Dataset, Manifest, NoVideos, OwnRecipe, Progress, Report, build_own,
    check_own,
};
use tempfile::TempDir;

/// A folder with files, and the recipe that uses them.
pub(crate) struct Place {
    folder: TempDir,
    pub recipe: OwnRecipe,
}

impl Place {
    /// `from` is inside the folder; images become squares of 16 pixels, none of them held out.
    pub fn new(kind: DataKind, from: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        let recipe = OwnRecipe {
            kind,
            from: vec![folder.path().join(from).display().to_string()],
            out: folder.path().join("out"),
            size: Some(16),
            held_out: 0.0,
            ..OwnRecipe::default()
        };
        Self { folder, recipe }
    }

    pub fn folder() -> Self {
        Self::new(DataKind::Folder, "in")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file with its folders.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn try_build(&self) -> Result<Manifest, DataError> {
        self.build_with(false)
    }

    pub fn build_with(&self, force: bool) -> Result<Manifest, DataError> {
        let sizes = self.recipe.sizes().unwrap();
        let quiet = |_: Progress<'_>| {};
        build_own(
            &self.recipe,
            &sizes,
            &self.recipe.out,
            force,
            &NoVideos,
            &quiet,
        )
    }

    /// The data set, which is as its manifest says.
    pub fn build(&self) -> Dataset {
        let manifest = self.try_build().unwrap();
        let set = Dataset::load(&self.recipe.out).unwrap();
        assert_eq!(*set.manifest(), manifest);
        set
    }

    /// Why the set cannot be built, and a report neither; nothing is left behind.
    pub fn error(&self) -> String {
        let before = self.all_files();
        let error = self.try_build().unwrap_err().to_string();
        assert_eq!(self.all_files(), before, "something was left behind");
        assert_eq!(error.lines().count(), 1, "{error}");
        let sizes = self.recipe.sizes().unwrap();
        let check = check_own(&self.recipe, &sizes, &NoVideos, &|_| {});
        assert_eq!(check.unwrap_err().to_string(), error);
        error
    }

    pub fn check(&self) -> Report {
        let before = self.all_files();
        let sizes = self.recipe.sizes().unwrap();
        let report = check_own(&self.recipe, &sizes, &NoVideos, &|_| {}).unwrap();
        assert_eq!(self.all_files(), before, "a check writes nothing");
        report
    }

    /// All files and folders, sorted.
    pub fn all_files(&self) -> Vec<PathBuf> {
        list(self.folder.path())
    }
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(list(&path));
        }
        all.push(path);
    }
    all.sort();
    all
}

/// A picture of one colour.
pub(crate) fn plain(w: u32, h: u32, colour: [u8; 3]) -> RgbImage {
    RgbImage::from_pixel(w, h, Rgb(colour))
}

pub(crate) fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let image = DynamicImage::ImageRgb8(image.clone());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A PNG of 20x20 pixels; every number has a colour of its own.
pub(crate) fn png(number: u8) -> Vec<u8> {
    encoded(&plain(20, 20, colour(number)), ImageFormat::Png)
}

pub(crate) fn colour(number: u8) -> [u8; 3] {
    [number, 255 - number, 40]
}

/// The files that a set was made from, in order.
pub(crate) fn files(set: &Dataset) -> Vec<&str> {
    set.entries()
        .iter()
        .map(|entry| entry.file.as_str())
        .collect()
}

/// The captions of a set, in order.
pub(crate) fn captions(set: &Dataset) -> Vec<Vec<&str>> {
    let entries = set.entries().iter();
    entries
        .map(|entry| entry.captions.iter().map(String::as_str).collect())
        .collect()
}

/// What was left out, with the reasons.
pub(crate) fn skipped(manifest: &Manifest) -> Vec<String> {
    assert_eq!(manifest.skipped.len(), manifest.skipped_count);
    let skipped = manifest.skipped.iter();
    skipped
        .map(|s| format!("{}: {}", s.file, s.reason))
        .collect()
}
