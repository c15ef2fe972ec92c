//! The finished data set, memory-mapped.

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use rand::Rng;

use crate::augment::{self, Augment, Change};
use crate::entry::Entry;
use crate::error::DataError;
use crate::manifest::Manifest;

/// Images with names or classes: they stay on disk and are read on demand.
#[derive(Debug)]
pub struct Dataset {
    folder: PathBuf,
    manifest: Manifest,
    entries: Vec<Entry>,
    images: Mmap,
    alpha: Mmap,
}

impl Dataset {
    /// Opens a data set that `nextscale data build` wrote.
    ///
    /// # Errors
    /// A file is missing, or its length does not fit the manifest.
    pub fn load(folder: &Path) -> Result<Self, DataError> {
        let manifest = Manifest::load(folder)?;
        let pixels = manifest.count * manifest.size * manifest.size;
        Ok(Self {
            images: map(&folder.join("images.bin"), pixels * 3)?,
            alpha: map(&folder.join("alpha.bin"), pixels)?,
            entries: read_index(&folder.join("index.jsonl"), &manifest)?,
            folder: folder.into(),
            manifest,
        })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Side of every image in pixels.
    pub fn size(&self) -> usize {
        self.manifest.size
    }

    /// The folder that it was opened from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All entries in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of image `i`.
    pub fn entry(&self, i: usize) -> &Entry {
        &self.entries[i]
    }

    /// Names of the classes in order; empty if images have names of their own.
    pub fn classes(&self) -> &[String] {
        &self.manifest.classes
    }

    /// The number of image `i`'s class; `None` in a set without classes.
    pub fn class(&self, i: usize) -> Option<usize> {
        let name = &self.entries[i].name;
        self.manifest.classes.iter().position(|class| class == name)
    }

    /// Images that training may see.
    pub fn train_ids(&self) -> Vec<usize> {
        self.ids(false)
    }

    /// Images that training must not see.
    pub fn held_out_ids(&self) -> Vec<usize> {
        self.ids(true)
    }

    fn ids(&self, held_out: bool) -> Vec<usize> {
        let entries = self.entries.iter().filter(|e| e.held_out == held_out);
        entries.map(|e| e.id).collect()
    }

    /// Premultiplied RGB (size * size * 3) and alpha (size * size) of image `i`.
    pub fn raw(&self, i: usize) -> (&[u8], &[u8]) {
        let pixels = self.size() * self.size();
        (
            &self.images[i * pixels * 3..(i + 1) * pixels * 3],
            &self.alpha[i * pixels..(i + 1) * pixels],
        )
    }

    /// Image `i` on a background: RGB bytes in rows, size * size * 3.
    pub fn image(&self, i: usize, background: [u8; 3]) -> Vec<u8> {
        let (rgb, alpha) = self.raw(i);
        augment::composite(rgb, alpha, background)
    }

    /// Image `i`, slightly shifted, scaled and perhaps mirrored, on a background: RGB bytes.
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

    /// Images `i` and `j` at half their size on one background: `i` is shifted from the centre by a quarter of the side in
    /// the direction of `towards` (right, down), `j` the other way.
    pub fn pair(&self, i: usize, j: usize, towards: [f32; 2], background: [u8; 3]) -> Vec<u8> {
        let half = |index: usize, sign: f32| {
            let change = Change {
                scale: 0.5,
                dx: 0.25 * sign * towards[0],
                dy: 0.25 * sign * towards[1],
                ..Change::NONE
            };
            let (rgb, alpha) = self.raw(index);
            change.apply(rgb, alpha, self.size())
        };
        let ((front, front_alpha), (back, back_alpha)) = (half(i, 1.0), half(j, -1.0));
        let below = augment::composite(&back, &back_alpha, background);
        let pixels = front
            .chunks_exact(3)
            .zip(&front_alpha)
            .zip(below.chunks_exact(3));
        let over = pixels.flat_map(|((front, &alpha), below)| {
            let below = [below[0], below[1], below[2]];
            augment::composite(front, &[alpha], below)
        });
        over.collect()
    }
}

fn read_index(path: &Path, manifest: &Manifest) -> Result<Vec<Entry>, DataError> {
    let text = std::fs::read_to_string(path).map_err(|e| DataError::read(path, e))?;
    let mut entries = Vec::<Entry>::with_capacity(manifest.count);
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
    if let Some(entry) = entries.iter().find(|e| !manifest.has_class_of(e)) {
        let message = format!("{:?} is not a class of the manifest", entry.name);
        return Err(DataError::content(path, message));
    }
    Ok(entries)
}

#[allow(unsafe_code)]
fn map(path: &Path, length: usize) -> Result<Mmap, DataError> {
    let file = File::open(path).map_err(|e| DataError::read(path, e))?;
    // SAFETY: the builder replaces files by rename and never changes one in place, so the mapping stays valid.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| DataError::read(path, e))?;
    if map.len() != length {
        let message = format!("{} bytes, but the manifest needs {length}", map.len());
        return Err(DataError::content(path, message));
    }
    Ok(map)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An image of 2x2 pixels.
    #[derive(Clone, Copy)]
    pub(crate) struct Image {
        pub name: &'static str,
        pub style: &'static str,
        pub rgb: [u8; 12],
        pub alpha: [u8; 4],
        pub held_out: bool,
    }

    /// A data set of these images.
    pub(crate) fn small(images: &[Image]) -> (tempfile::TempDir, Dataset) {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        };
        let manifest = Manifest {
            size: 2,
            count: images.len(),
            held_out: images.iter().filter(|image| image.held_out).count(),
            recipe: "r".into(),
            ..Manifest::default()
        };
        let lines = images.iter().enumerate().map(|(id, image)| {
            let entry = Entry {
                id,
                name: image.name.into(),
                style: image.style.into(),
                held_out: image.held_out,
                ..Entry::default()
            };
            serde_json::to_string(&entry).unwrap() + "\n"
        });
        write("manifest.json", &serde_json::to_vec(&manifest).unwrap());
        write("index.jsonl", lines.collect::<String>().as_bytes());
        let rgb: Vec<u8> = images.iter().flat_map(|image| image.rgb).collect();
        let alpha: Vec<u8> = images.iter().flat_map(|image| image.alpha).collect();
        write("images.bin", &rgb);
        write("alpha.bin", &alpha);
        let set = Dataset::load(folder.path()).unwrap();
        (folder, set)
    }

    /// Opaque red, and nothing, which is held out.
    fn tiny() -> (tempfile::TempDir, Dataset) {
        let red = Image {
            name: "dot",
            style: "3d",
            rgb: [255, 0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0],
            alpha: [255; 4],
            held_out: false,
        };
        let nothing = Image {
            rgb: [0; 12],
            alpha: [0; 4],
            held_out: true,
            ..red
        };
        small(&[red, nothing])
    }

    #[test]
    fn images_lie_on_the_background() {
        let (_folder, set) = tiny();
        assert_eq!(set.image(0, [0, 0, 255]), [255, 0, 0].repeat(4));
        assert_eq!(set.image(1, [0, 0, 255]), [0, 0, 255].repeat(4));
        assert_eq!((set.train_ids(), set.held_out_ids()), (vec![0], vec![1]));
    }

    #[test]
    fn two_images_share_a_scene() {
        let (_folder, set) = tiny();
        // Image 0 is red, image 1 is empty: red on the left half alone, blue elsewhere.
        let left = set.pair(0, 1, [-1.0, 0.0], [0, 0, 255]);
        let (a, b) = (&left[..3], &left[3..6]);
        assert!(a[0] > 100 && b[0] < a[0], "{left:?}");
        assert_eq!(
            set.pair(1, 1, [0.0, 1.0], [0, 0, 255]),
            [0, 0, 255].repeat(4)
        );
        let other = set.pair(1, 0, [1.0, 0.0], [0, 0, 255]);
        assert_eq!(other, left, "the second one is where the first one is not");
    }

    #[test]
    fn a_short_file_is_an_error_with_its_path() {
        let (folder, _) = tiny();
        std::fs::write(folder.path().join("alpha.bin"), [0u8; 7]).unwrap();
        let error = Dataset::load(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("alpha.bin") && error.contains("needs 8"),
            "{error}"
        );
    }
}
