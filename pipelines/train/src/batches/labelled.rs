//! Images with the numbers of their classes.

use std::sync::Arc;

use burn::tensor::Tensor;
use nextscale_data::{Augment, Dataset, captions::WHITE};
use nextscale_var_core::train::Batches;
use rand::Rng as _;

use crate::batches::images::held_out;
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

/// Images of an evaluation that are computed at once.
const AT_ONCE: usize = 32;

/// Held-out images with the numbers of their classes.
pub(crate) struct LabelledHeldOut {
    /// Planes in [-1, 1].
    pixels: Vec<f32>,
    labels: Vec<usize>,
}

impl LabelledHeldOut {
    /// At most `count` images, spread over the set.
    pub fn new(set: &Dataset, count: usize) -> Self {
        let (ids, pixels) = held_out(set, count);
        Self {
            pixels,
            labels: ids.into_iter().map(|id| label(set, id)).collect(),
        }
    }

    /// The means over all images of the means that `measure` finds, `[1]` each, of planes and labels.
    pub fn means<const N: usize>(
        &self,
        mut measure: impl FnMut(Vec<f32>, &[usize]) -> [Tensor<1>; N],
    ) -> [f64; N] {
        let images = self.labels.len();
        let stride = self.pixels.len() / images.max(1);
        let mut sums = [0.0; N];
        let pixels = self.pixels.chunks(AT_ONCE * stride.max(1));
        for (pixels, labels) in pixels.zip(self.labels.chunks(AT_ONCE)) {
            let means = measure(pixels.to_vec(), labels);
            for (sum, mean) in sums.iter_mut().zip(means) {
                *sum += f64::from(mean.into_scalar::<f32>()) * labels.len() as f64;
            }
        }
        sums.map(|sum| sum / images as f64)
    }
}
