//! Pictures as the trainer sees them: on a background, moved, mirrored.

use std::sync::Arc;

use nextscale_var_core::train::Batches;
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::shuffle::{Order, stream};
use nextscale_data::{self, Dataset};

/// How a picture may be changed on its way into a batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Chance of any colour as the background instead of white. Only for the tokenizer: a
    /// transformer's backgrounds come with the captions.
    pub colour: f64,
    /// Smallest and largest scale about the centre.
    pub scale: (f32, f32),
    /// Largest shift, as a part of the side.
    pub shift: f32,
    /// Chance of mirroring a picture that may be mirrored.
    pub flip: f64,
    /// Chance of leaving a picture as it is.
    pub keep: f64,
}

impl Default for Augment {
    fn default() -> Self {
        let nextscale_data::Augment {
            scale,
            shift,
            flip,
            keep,
        } = nextscale_data::Augment::default();
        Self {
            colour: 0.3,
            scale,
            shift,
            flip,
            keep,
        }
    }
}

impl Augment {
    /// A random background: white, or any colour.
    pub fn background(&self, rng: &mut impl Rng) -> [u8; 3] {
        match rng.random_bool(self.colour) {
            true => rng.random(),
            false => [255; 3],
        }
    }

    /// Appends picture `index` on `background`, changed at random, to `pixels`; see [`append`].
    pub fn append(
        &self,
        set: &Dataset,
        index: usize,
        background: [u8; 3],
        rng: &mut impl Rng,
        pixels: &mut Vec<f32>,
    ) {
        let change = nextscale_data::Augment {
            scale: self.scale,
            shift: self.shift,
            flip: self.flip,
            keep: self.keep,
        };
        append(&set.augmented(index, background, &change, rng), pixels);
    }
}

/// Pictures to repaint.
pub struct PictureBatch {
    /// Its number in the run.
    pub number: u64,
    /// Planes in [-1, 1], one picture after the other.
    pub pixels: Vec<f32>,
    /// Pictures.
    pub count: usize,
    /// How many scales may be used.
    pub scales: usize,
}

/// Makes [`PictureBatch`]es of the pictures that are not held out.
pub struct PictureBatches {
    set: Arc<Dataset>,
    order: Order,
    seed: u64,
    count: usize,
    augment: Augment,
    drop: f64,
    scales: usize,
}

impl PictureBatches {
    /// Batches of `count` pictures.
    pub fn new(set: Arc<Dataset>, seed: u64, count: usize, augment: Augment) -> Self {
        Self {
            order: Order::new(seed, set.train_ids()),
            set,
            seed,
            count,
            augment,
            drop: 0.0,
            scales: usize::MAX,
        }
    }

    /// With the chance `drop` a batch may use only the first few of `scales` scales.
    pub fn dropping(self, drop: f64, scales: usize) -> Self {
        Self {
            drop,
            scales,
            ..self
        }
    }
}

impl Batches for PictureBatches {
    type Batch = PictureBatch;

    fn batch(&mut self, number: u64) -> PictureBatch {
        let mut rng = stream(self.seed ^ 0x70_6978, number);
        let count = self.count;
        let mut pixels = Vec::with_capacity(count * 3 * self.set.size() * self.set.size());
        for slot in 0..count as u64 {
            let index = self.order.at(number * count as u64 + slot);
            let background = self.augment.background(&mut rng);
            self.augment
                .append(&self.set, index, background, &mut rng, &mut pixels);
        }
        let scales = match rng.random_bool(self.drop) {
            true => rng.random_range(1..=self.scales),
            false => self.scales,
        };
        PictureBatch {
            number,
            pixels,
            count,
            scales,
        }
    }
}

/// Appends RGB bytes as red, green and blue planes in [-1, 1].
pub fn append(rgb: &[u8], pixels: &mut Vec<f32>) {
    for channel in 0..3 {
        let plane = rgb.iter().skip(channel).step_by(3);
        pixels.extend(plane.map(|&value| value as f32 / 127.5 - 1.0));
    }
}

/// At most `count` held-out pictures, spread over the set. When nothing is held out, they are of the whole set.
pub fn held_out_ids(set: &Dataset, count: usize) -> Vec<usize> {
    let mut from = set.held_out_ids();
    if from.is_empty() {
        from = set.train_ids();
    }
    let step = from.len().div_ceil(count.max(1)).max(1);
    from.into_iter().step_by(step).collect()
}

/// [`held_out_ids`], and those pictures on white.
pub fn held_out_batch(set: &Dataset, count: usize) -> (Vec<usize>, Vec<f32>) {
    let chosen = held_out_ids(set, count);
    let mut pixels = Vec::new();
    for &index in &chosen {
        append(&set.image(index, [255; 3]), &mut pixels);
    }
    (chosen, pixels)
}
