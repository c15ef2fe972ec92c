//! Images for the tokenizers: on a background, scaled, shifted, mirrored.

use std::sync::Arc;

use nextscale_data::{Augment, Dataset, captions::WHITE};
use nextscale_var_core::train::Batches;
use rand::Rng;

use crate::batches::planes;
use crate::shuffle::{Shuffle, rng_for};

/// A background of any colour with the chance `colour`, else white.
pub(crate) fn background(colour: f64, rng: &mut impl Rng) -> [u8; 3] {
    if rng.random_bool(colour) {
        rng.random()
    } else {
        WHITE
    }
}

/// How many scales a batch may use: with the chance `drop` only the first few of `scales`, else all.
pub(crate) fn used_scales(drop: f64, scales: usize, rng: &mut impl Rng) -> usize {
    if rng.random_bool(drop) {
        rng.random_range(1..=scales)
    } else {
        scales
    }
}

/// Images to reconstruct.
pub(crate) struct ImageBatch {
    /// Its number in the run.
    pub number: u64,
    /// Planes in [-1, 1], one image after the other.
    pub pixels: Vec<f32>,
    /// Number of images.
    pub count: usize,
    /// How many scales may be used.
    pub scales: usize,
}

/// Makes [`ImageBatch`]es of the images that are not held out.
pub(crate) struct ImageBatches {
    pub set: Arc<Dataset>,
    pub shuffle: Shuffle,
    pub seed: u64,
    /// Images of a batch.
    pub count: usize,
    pub augment: Augment,
    /// Chance that a batch may use only the first few of `scales` scales.
    pub drop: f64,
    pub scales: usize,
}

impl Batches for ImageBatches {
    type Batch = ImageBatch;

    fn batch(&mut self, number: u64) -> ImageBatch {
        let mut rng = rng_for(self.seed ^ 0x70_6978, number);
        let count = self.count;
        let mut pixels = Vec::with_capacity(count * 3 * self.set.size() * self.set.size());
        for index in self.shuffle.batch(number, count) {
            let background = background(self.augment.colour, &mut rng);
            let image = self
                .set
                .augmented(index, background, &self.augment, &mut rng);
            planes::append(&[image], &mut pixels);
        }
        ImageBatch {
            number,
            pixels,
            count,
            scales: used_scales(self.drop, self.scales, &mut rng),
        }
    }
}

/// At most `count` held-out images, spread over the set; of the whole set if none are held out.
pub(crate) fn held_out_ids(set: &Dataset, count: usize) -> Vec<usize> {
    let mut ids = set.held_out_ids();
    if ids.is_empty() {
        ids = set.train_ids();
    }
    let step = ids.len().div_ceil(count.max(1)).max(1);
    ids.into_iter().step_by(step).collect()
}

/// [`held_out_ids`], and the planes of these images on white.
pub(crate) fn held_out(set: &Dataset, count: usize) -> (Vec<usize>, Vec<f32>) {
    let ids = held_out_ids(set, count);
    let mut pixels = Vec::new();
    for &index in &ids {
        planes::append(&[set.image(index, WHITE)], &mut pixels);
    }
    (ids, pixels)
}
