//! The finished data set, memory-mapped.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::augment::{self, Augment};
use nextscale_files::checksum;

use crate::captions;
use crate::entry::Entry;
use crate::error::DataError;
use crate::error::write_atomically;
use crate::recipe::Package;

/// What a data set consists of: `manifest.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Side of every picture in pixels.
    pub size: usize,
    /// Number of pictures.
    pub count: usize,
    /// Number of held-out pictures.
    pub held_out: usize,
    /// Pictures a style; of a set with classes, pictures a class.
    pub styles: BTreeMap<String, usize>,
    /// Names of the classes in their order; none if pictures have names of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Fingerprint of the recipe.
    pub recipe: String,
    /// SHA-256 of every other file.
    pub files: BTreeMap<String, String>,
    /// The packages that it was built from.
    pub packages: Vec<Package>,
    /// SHA-256 of the files that it was built from, where they are no packages.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
}

/// A data set that is about to be written.
#[derive(Debug, Default)]
pub(super) struct Contents {
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
        let mut index = String::new();
        let mut styles: BTreeMap<String, usize> = BTreeMap::new();
        for entry in &self.entries {
            let line = serde_json::to_string(entry);
            index += &line.map_err(|e| DataError::content(out, e.to_string()))?;
            index.push('\n');
            let of = match self.classes.is_empty() {
                true => &entry.style,
                false => &entry.name,
            };
            *styles.entry(of.clone()).or_default() += 1;
        }
        let files = [
            ("images.bin", self.images),
            ("alpha.bin", self.alpha),
            ("index.jsonl", index.into_bytes()),
        ];
        let print =
            |(name, bytes): &(&str, Vec<u8>)| ((*name).to_owned(), checksum::of_bytes(bytes));
        let manifest = Manifest {
            size: self.size,
            count: self.entries.len(),
            held_out: self.entries.iter().filter(|e| e.held_out).count(),
            styles,
            classes: self.classes,
            recipe: self.recipe,
            files: files.iter().map(print).collect(),
            packages: self.packages,
            inputs: self.inputs,
        };
        for (name, bytes) in &files {
            write_atomically(&out.join(name), bytes)?;
        }
        let text = serde_json::to_string_pretty(&manifest)
            .map_err(|e| DataError::content(out, e.to_string()))?;
        write_atomically(&out.join("manifest.json"), (text + "\n").as_bytes())?;
        Ok(manifest)
    }
}

impl Manifest {
    /// Reads the manifest of a data set.
    ///
    /// # Errors
    /// The folder holds no data set.
    pub fn load(folder: &Path) -> Result<Self, DataError> {
        let path = folder.join("manifest.json");
        let text = std::fs::read(&path).map_err(|e| DataError::read(&path, e))?;
        serde_json::from_slice(&text).map_err(|e| DataError::content(&path, e.to_string()))
    }

    /// Whether an entry is of one of the classes, if there are classes.
    fn knows(&self, entry: &Entry) -> bool {
        self.classes.is_empty() || self.classes.contains(&entry.name)
    }

    /// The manifest in `folder` if it is complete and was built from this recipe.
    pub(super) fn current(folder: &Path, recipe: &str) -> Option<Self> {
        let manifest = Self::load(folder).ok().filter(|m| m.recipe == recipe)?;
        let length = |name| std::fs::metadata(folder.join(name)).map_or(0, |m| m.len() as usize);
        let pixels = manifest.count * manifest.size * manifest.size;
        let whole = length("images.bin") == pixels * 3
            && length("alpha.bin") == pixels
            && length("index.jsonl") > 0;
        whole.then_some(manifest)
    }
}

/// Pictures with names or classes: they stay on disk and are read on demand.
#[derive(Debug)]
pub struct IconSet {
    folder: PathBuf,
    manifest: Manifest,
    entries: Vec<Entry>,
    images: Mmap,
    alpha: Mmap,
}

impl IconSet {
    /// Opens a data set that `nextscale data build` wrote.
    ///
    /// # Errors
    /// A file is missing, or its length does not fit the manifest.
    pub fn load(folder: &Path) -> Result<Self, DataError> {
        let manifest = Manifest::load(folder)?;
        let pixels = manifest.count * manifest.size * manifest.size;
        let images = map(&folder.join("images.bin"), pixels * 3)?;
        let alpha = map(&folder.join("alpha.bin"), pixels)?;
        let path = folder.join("index.jsonl");
        let text = std::fs::read_to_string(&path).map_err(|e| DataError::read(&path, e))?;
        let mut entries = Vec::with_capacity(manifest.count);
        for (i, line) in text.lines().enumerate() {
            let entry: Entry = serde_json::from_str(line)
                .map_err(|e| DataError::content(&path, format!("line {}: {e}", i + 1)))?;
            entries.push(entry);
        }
        if entries.len() != manifest.count {
            let message = format!(
                "{} lines, but the manifest counts {} pictures",
                entries.len(),
                manifest.count
            );
            return Err(DataError::content(&path, message));
        }
        if let Some(entry) = entries.iter().find(|e| !manifest.knows(e)) {
            let message = format!("{:?} is no class of the manifest", entry.name);
            return Err(DataError::content(&path, message));
        }
        Ok(IconSet {
            folder: folder.into(),
            manifest,
            entries,
            images,
            alpha,
        })
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no picture.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Side of every picture in pixels.
    pub fn size(&self) -> usize {
        self.manifest.size
    }

    /// What the data set was built from.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The folder that it was opened from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All entries in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of picture `i`.
    pub fn entry(&self, i: usize) -> &Entry {
        &self.entries[i]
    }

    /// Names of the classes in their order; none if pictures have names of their own.
    pub fn classes(&self) -> &[String] {
        &self.manifest.classes
    }

    /// The class of picture `i`, as a number; none in a set without classes.
    pub fn class(&self, i: usize) -> Option<usize> {
        let name = &self.entries[i].name;
        self.manifest.classes.iter().position(|class| class == name)
    }

    /// Pictures that training may see.
    pub fn train_ids(&self) -> Vec<usize> {
        self.entries
            .iter()
            .filter(|e| !e.held_out)
            .map(|e| e.id)
            .collect()
    }

    /// Pictures that training must not see.
    pub fn held_out_ids(&self) -> Vec<usize> {
        self.entries
            .iter()
            .filter(|e| e.held_out)
            .map(|e| e.id)
            .collect()
    }

    /// Premultiplied RGB (size * size * 3) and alpha (size * size) of picture `i`.
    pub fn raw(&self, i: usize) -> (&[u8], &[u8]) {
        let pixels = self.size() * self.size();
        (
            &self.images[i * pixels * 3..(i + 1) * pixels * 3],
            &self.alpha[i * pixels..(i + 1) * pixels],
        )
    }

    /// Picture `i` on a background: RGB bytes in rows, size * size * 3.
    pub fn picture(&self, i: usize, background: [u8; 3]) -> Vec<u8> {
        let (rgb, alpha) = self.raw(i);
        augment::composite(rgb, alpha, background)
    }

    /// Picture `i`, slightly moved, scaled and perhaps mirrored, on a background.
    pub fn augmented(
        &self,
        i: usize,
        background: [u8; 3],
        augment: &Augment,
        rng: &mut impl Rng,
    ) -> Vec<u8> {
        let (rgb, alpha) = self.raw(i);
        let change = augment.sample(self.entries[i].flip, rng);
        let (rgb, alpha) = change.apply(rgb, alpha, self.size());
        augment::composite(&rgb, &alpha, background)
    }

    /// Pictures `i` and `j` at half their size beside each other, `i` shifted from the middle by a quarter of the side in
    /// the direction of `towards` (right, down) and `j` the other way, on a background.
    pub fn scene(&self, i: usize, j: usize, towards: [f32; 2], background: [u8; 3]) -> Vec<u8> {
        let half = |index: usize, sign: f32| {
            let change = augment::Change {
                scale: 0.5,
                dx: 0.25 * sign * towards[0],
                dy: 0.25 * sign * towards[1],
                mirror: false,
            };
            let (rgb, alpha) = self.raw(index);
            change.apply(rgb, alpha, self.size())
        };
        let ((front, front_alpha), (back, back_alpha)) = (half(i, 1.0), half(j, -1.0));
        let behind = augment::composite(&back, &back_alpha, background);
        let pixels = front
            .chunks_exact(3)
            .zip(&front_alpha)
            .zip(behind.chunks_exact(3));
        let over = pixels.flat_map(|((front, &alpha), behind)| {
            let behind = [behind[0], behind[1], behind[2]];
            augment::composite(front, &[alpha], behind)
        });
        over.collect()
    }

    /// A random caption of picture `i` and the background that it speaks of; `plain` is the chance that a picture
    /// which answers a plain name is called by it.
    pub fn caption(&self, i: usize, plain: f64, rng: &mut impl Rng) -> (String, [u8; 3]) {
        captions::caption(&self.entries[i], plain, rng)
    }
}

#[allow(unsafe_code)]
fn map(path: &Path, length: usize) -> Result<Mmap, DataError> {
    let file = File::open(path).map_err(|e| DataError::read(path, e))?;
    // SAFETY: the builder replaces files by rename and never changes one in place, so a mapping stays valid.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| DataError::read(path, e))?;
    if map.len() != length {
        let message = format!("{} bytes, but the manifest needs {length}", map.len());
        return Err(DataError::content(path, message));
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two 2x2 pictures: opaque red, and nothing.
    fn tiny(folder: &Path) {
        let manifest = Manifest {
            size: 2,
            count: 2,
            held_out: 1,
            recipe: "r".into(),
            ..Manifest::default()
        };
        let entry = |id: usize| Entry {
            id,
            name: "dot".into(),
            style: "3d".into(),
            held_out: id == 1,
            ..Entry::default()
        };
        let line = |id| serde_json::to_string(&entry(id)).unwrap() + "\n";
        std::fs::write(
            folder.join("manifest.json"),
            serde_json::to_vec(&manifest).unwrap(),
        )
        .unwrap();
        std::fs::write(folder.join("index.jsonl"), line(0) + &line(1)).unwrap();
        let images: Vec<u8> = [[255u8, 0, 0].repeat(4), vec![0; 12]].concat();
        std::fs::write(folder.join("images.bin"), images).unwrap();
        std::fs::write(folder.join("alpha.bin"), [[255u8; 4], [0; 4]].concat()).unwrap();
    }

    #[test]
    fn pictures_lie_on_the_background() {
        let folder = tempfile::tempdir().unwrap();
        tiny(folder.path());
        let set = IconSet::load(folder.path()).unwrap();
        assert_eq!(set.picture(0, [0, 0, 255]), [255, 0, 0].repeat(4));
        assert_eq!(set.picture(1, [0, 0, 255]), [0, 0, 255].repeat(4));
        assert_eq!((set.train_ids(), set.held_out_ids()), (vec![0], vec![1]));
    }

    #[test]
    fn two_pictures_share_a_scene() {
        let folder = tempfile::tempdir().unwrap();
        tiny(folder.path());
        let set = IconSet::load(folder.path()).unwrap();
        // Picture 0 is red, picture 1 is nothing: red on the left half alone, blue elsewhere.
        let left = set.scene(0, 1, [-1.0, 0.0], [0, 0, 255]);
        let (a, b) = (&left[..3], &left[3..6]);
        assert!(a[0] > 100 && b[0] < a[0], "{left:?}");
        assert_eq!(
            set.scene(1, 1, [0.0, 1.0], [0, 0, 255]),
            [0, 0, 255].repeat(4)
        );
        let other = set.scene(1, 0, [1.0, 0.0], [0, 0, 255]);
        assert_eq!(other, left, "the second one is where the first one is not");
    }

    #[test]
    fn a_short_file_is_an_error_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        tiny(folder.path());
        std::fs::write(folder.path().join("alpha.bin"), [0u8; 7]).unwrap();
        let error = IconSet::load(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("alpha.bin") && error.contains("needs 8"),
            "{error}"
        );
    }
}
