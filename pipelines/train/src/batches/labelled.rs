//! Images with the numbers of their classes.

use std::sync::Arc;

use nextscale_data::{Augment, Dataset, captions::WHITE};
use nextscale_var_core::train::Batches;
use rand::Rng as _;

use crate::batches::planes;
use crate::shuffle::{Shuffle, rng_for};

/// Images and their labels.
pub(crate) struct LabelledBatch {
    /// Its number in the run.
    pub number: u64,
    /// Planes in [-1, 1].
    pub pixels: Vec<f32>,
    /// Number of the class of each image; the number of classes for "no class".
    pub labels: Vec<usize>,
}

/// Makes [`LabelledBatch`]es of the images that are not held out.
pub(crate) struct LabelledBatches {
    set: Arc<Dataset>,
    shuffle: Shuffle,
    seed: u64,
    count: usize,
    augment: Augment,
    drop: f64,
}

impl LabelledBatches {
    /// Batches of `count` images, whose labels become "no class" with the chance `drop`.
    pub fn new(set: Arc<Dataset>, seed: u64, count: usize, augment: Augment, drop: f64) -> Self {
        Self {
            shuffle: Shuffle::new(seed, set.train_ids()),
            set,
            seed,
            count,
            augment,
            drop,
        }
    }
}

impl Batches for LabelledBatches {
    type Batch = LabelledBatch;

    fn batch(&mut self, number: u64) -> LabelledBatch {
        let mut rng = rng_for(self.seed ^ 0x63_6c61_7373, number);
        let mut pixels = Vec::with_capacity(self.count * 3 * self.set.size() * self.set.size());
        let mut labels = Vec::with_capacity(self.count);
        for index in self.shuffle.batch(number, self.count) {
            let image = self.set.augmented(index, WHITE, &self.augment, &mut rng);
            planes::append(&[image], &mut pixels);
            labels.push(if rng.random_bool(self.drop) {
                self.set.classes().len()
            } else {
                label(&self.set, index)
            });
        }
        LabelledBatch {
            number,
            pixels,
            labels,
        }
    }
}

/// The number of an image's class, in a set that was checked to have classes.
pub(crate) fn label(set: &Dataset, index: usize) -> usize {
    set.class(index).expect("every image has a class")
}
