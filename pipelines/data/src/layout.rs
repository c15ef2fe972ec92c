//! Where the images of a data set lie in `images.bin`: one after the other, each as large as its bucket.

use std::ops::Range;

use crate::entry::Entry;
use crate::error::{Invalid, ensure};
use crate::manifest::Manifest;

/// The sizes of the images and where each begins.
#[derive(Debug)]
pub(crate) struct Layout {
    sizes: Vec<[usize; 2]>,
    frames: usize,
    /// The bucket of each image.
    buckets: Vec<usize>,
    /// Where each image begins, and where the last one ends, in pixels of all its frames.
    starts: Vec<usize>,
}

impl Layout {
    /// Of a data set.
    ///
    /// # Errors
    /// An image in a bucket that the manifest lacks, no frames, or more bytes than a machine can address.
    pub fn new(manifest: &Manifest, entries: &[Entry]) -> Result<Self, Invalid> {
        let sizes = manifest.buckets();
        ensure!(manifest.frames > 0, "clips of 0 frames");
        let mut starts = vec![0usize];
        for entry in entries {
            let Some([w, h]) = sizes.get(entry.bucket) else {
                let (id, bucket) = (entry.id, entry.bucket);
                return Err(Invalid(format!(
                    "image {id} is in bucket {bucket}, but the manifest has only {}",
                    sizes.len()
                )));
            };
            let pixels = w.checked_mul(*h);
            let pixels = pixels.and_then(|pixels| pixels.checked_mul(manifest.frames));
            let end = pixels.and_then(|pixels| pixels.checked_add(starts[starts.len() - 1]));
            let Some(end) = end.filter(|end| end.checked_mul(3).is_some()) else {
                return Err(Invalid("images that are too large".into()));
            };
            starts.push(end);
        }
        Ok(Self {
            sizes,
            frames: manifest.frames,
            buckets: entries.iter().map(|entry| entry.bucket).collect(),
            starts,
        })
    }

    /// Width and height of each bucket in pixels.
    pub fn sizes(&self) -> &[[usize; 2]] {
        &self.sizes
    }

    /// Width and height of image `i` in pixels.
    pub fn size_of(&self, i: usize) -> [usize; 2] {
        self.sizes[self.buckets[i]]
    }

    /// Pixels of all images and frames.
    pub fn pixels(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// Pixels of the largest image.
    pub fn largest(&self) -> usize {
        self.sizes.iter().map(|[w, h]| w * h).max().unwrap_or(0)
    }

    /// The pixels of frame `frame` of image `i`.
    pub fn frame(&self, i: usize, frame: usize) -> Range<usize> {
        assert!(
            frame < self.frames,
            "frame {frame} of a clip of {}",
            self.frames
        );
        let [w, h] = self.size_of(i);
        let start = self.starts[i] + frame * w * h;
        start..start + w * h
    }
}
