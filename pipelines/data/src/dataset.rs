//! The finished data set, memory-mapped.

use std::fs::File;
use std::path::{Path, PathBuf};

use image::RgbImage;
use memmap2::Mmap;
use rand::Rng;

use crate::augment::{self, Augment, Change};
use crate::captions;
use crate::entry::Entry;
use crate::error::DataError;
use crate::index;
use crate::layout::Layout;
use crate::manifest::Manifest;

/// Images or clips with captions, names or classes: they stay on disk and are read on demand.
#[derive(Debug)]
pub struct Dataset {
    folder: PathBuf,
    manifest: Manifest,
    entries: Vec<Entry>,
    layout: Layout,
    images: Mmap,
    alpha: Alpha,
}

/// How opaque the pixels are.
#[derive(Debug)]
enum Alpha {
    /// One byte a pixel, image after image.
    Stored(Mmap),
    /// As many bytes of 255 as the largest image has pixels, for every image.
    Opaque(Vec<u8>),
}

impl Dataset {
    /// Opens a data set that `nextscale data build` wrote.
    ///
    /// # Errors
    /// A file is missing, or its length does not fit the manifest.
    pub fn load(folder: &Path) -> Result<Self, DataError> {
        let manifest = Manifest::load(folder)?;
        let index = folder.join("index.jsonl");
        let entries = index::read(&index, &manifest)?;
        let layout = Layout::new(&manifest, &entries);
        let layout = layout.map_err(|e| DataError::content(&index, e))?;
        let images = map(&folder.join("images.bin"), layout.pixels() * 3)?;
        let alpha = if manifest.opaque {
            Alpha::Opaque(vec![255; layout.largest()])
        } else {
            Alpha::Stored(map(&folder.join("alpha.bin"), layout.pixels())?)
        };
        Ok(Self {
            folder: folder.into(),
            manifest,
            entries,
            layout,
            images,
            alpha,
        })
    }

    /// Whether `nextscale data build` wrote a data set into this folder.
    pub fn is_at(folder: &Path) -> bool {
        let has = |name| folder.join(name).is_file();
        has("manifest.json") && has("images.bin")
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Side of every image in pixels; 0 if they are not all squares of one size.
    pub fn size(&self) -> usize {
        self.manifest.size
    }

    /// Whether all images are squares of one size, which is [`Dataset::size`].
    pub fn is_square(&self) -> bool {
        self.manifest.sizes.is_empty()
    }

    /// Width and height of the images of each bucket in pixels; one bucket if all are squares of one size.
    pub fn sizes(&self) -> &[[usize; 2]] {
        self.layout.sizes()
    }

    /// Width and height of image `i` in pixels.
    pub fn size_of(&self, i: usize) -> [usize; 2] {
        self.layout.size_of(i)
    }

    /// The bucket of image `i`: a position in [`Dataset::sizes`].
    pub fn bucket(&self, i: usize) -> usize {
        self.entries[i].bucket
    }

    /// Frames of each clip; 1 in a set of images.
    pub fn frames(&self) -> usize {
        self.manifest.frames
    }

    /// Frames per second of the clips; 0 in a set of images.
    pub fn fps(&self) -> f64 {
        self.manifest.fps
    }

    /// What the data set holds.
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

    /// The entry of image `i`.
    pub fn entry(&self, i: usize) -> &Entry {
        &self.entries[i]
    }

    /// Names of the classes in order; empty if images have names of their own.
    pub fn classes(&self) -> &[String] {
        &self.manifest.classes
    }

    /// The default caption of image `i`: see [`captions::canonical`].
    pub fn caption(&self, i: usize) -> String {
        captions::canonical(&self.entries[i])
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

    /// Premultiplied RGB (width * height * 3) and alpha (width * height) of image `i`, or of the first frame of clip `i`.
    pub fn raw(&self, i: usize) -> (&[u8], &[u8]) {
        let pixels = self.layout.frame(i, 0);
        let alpha = match &self.alpha {
            Alpha::Stored(map) => &map[pixels.clone()],
            Alpha::Opaque(all) => &all[..pixels.len()],
        };
        (&self.images[pixels.start * 3..pixels.end * 3], alpha)
    }

    /// The frames of clip `i`, first to last, each premultiplied RGB bytes in rows (width * height * 3); an image is a clip of
    /// one frame.
    pub fn clip(&self, i: usize) -> Vec<&[u8]> {
        let frames = (0..self.frames()).map(|frame| self.layout.frame(i, frame));
        frames
            .map(|pixels| &self.images[pixels.start * 3..pixels.end * 3])
            .collect()
    }

    /// Image `i`, or the first frame of clip `i`, on a background: RGB bytes in rows, width * height * 3.
    pub fn image(&self, i: usize, background: [u8; 3]) -> Vec<u8> {
        let (rgb, alpha) = self.raw(i);
        augment::composite(rgb, alpha, background)
    }

    /// [`Dataset::image`] with its width and height.
    pub fn picture(&self, i: usize, background: [u8; 3]) -> RgbImage {
        let [width, height] = self.size_of(i).map(|side| side as u32);
        let picture = RgbImage::from_raw(width, height, self.image(i, background));
        picture.expect("an image has the bytes of its size")
    }

    /// Image `i`, or the first frame of clip `i`, slightly shifted, scaled and perhaps mirrored, on a background: RGB bytes.
    pub fn augmented(
        &self,
        i: usize,
        background: [u8; 3],
        augment: &Augment,
        rng: &mut impl Rng,
    ) -> Vec<u8> {
        let (rgb, alpha) = self.raw(i);
        let change = augment.sample(self.entries[i].flip, rng);
        let (rgb, alpha) = change.apply(rgb, alpha, self.size_of(i));
        augment::composite(&rgb, &alpha, background)
    }

    /// Images `i` and `j` at half their size on one background: `i` is shifted from the centre by a quarter of the side in
    /// the direction of `towards` (right, down), `j` the other way. Only for sets whose images are squares of one size.
    ///
    /// # Panics
    /// The images differ in size.
    pub fn pair(&self, i: usize, j: usize, towards: [f32; 2], background: [u8; 3]) -> Vec<u8> {
        let half = |sign: f32| half(sign * towards[0], sign * towards[1]);
        self.composed(&[(j, half(-1.0)), (i, half(1.0))], background)
    }

    /// Image `i` so many times at half its size on a background: 2 next to each other, 3 or 4 in two rows. Only for sets whose images are
    /// squares of one size.
    ///
    /// # Panics
    /// `count` is none of these numbers.
    pub fn several(&self, i: usize, count: usize, background: [u8; 3]) -> Vec<u8> {
        let places: &[[f32; 2]] = match count {
            2 => &[[-1.0, 0.0], [1.0, 0.0]],
            3 => &[[0.0, -1.0], [-1.0, 1.0], [1.0, 1.0]],
            4 => &[[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]],
            _ => panic!("an image is shown 2, 3 or 4 times, not {count}"),
        };
        let placed = places.iter().map(|&[right, down]| (i, half(right, down)));
        self.composed(&placed.collect::<Vec<_>>(), background)
    }

    /// Changed images on one background, the last in front.
    fn composed(&self, placed: &[(usize, Change)], background: [u8; 3]) -> Vec<u8> {
        let size = self.size_of(placed[0].0);
        let pixels = size[0] * size[1];
        let start = background.repeat(pixels);
        placed.iter().fold(start, |below, &(index, change)| {
            assert_eq!(size, self.size_of(index), "images of a scene have one size");
            let (rgb, alpha) = self.raw(index);
            let (rgb, alpha) = change.apply(rgb, alpha, size);
            let pixels = rgb.chunks_exact(3).zip(&alpha).zip(below.chunks_exact(3));
            let over = pixels.flat_map(|((rgb, &alpha), below)| {
                augment::composite(rgb, &[alpha], [below[0], below[1], below[2]])
            });
            over.collect()
        })
    }
}

/// Half the size, shifted by a quarter of the side to the right and down.
fn half(right: f32, down: f32) -> Change {
    Change {
        scale: 0.5,
        dx: 0.25 * right,
        dy: 0.25 * down,
        ..Change::NONE
    }
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
pub(crate) mod tests;
