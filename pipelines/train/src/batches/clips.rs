//! Clips as the trainer sees them: sprites of the data set that move in front of a plain background.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use nextscale_var_core::train::Batches;
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::batches::images::held_out_ids;
use crate::shuffle::{Order, stream};
use nextscale_data::{Dataset, Motion, Sprite};

/// How clips are made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipSettings {
    /// Frames of a whole clip: 1 and a multiple of the frames a latent frame.
    pub frames: usize,
    /// Side of a sprite at the start, as a part of the frame's.
    #[serde(default = "half")]
    pub size: f32,
    /// Smallest and largest factor on `size`, drawn anew for every clip.
    #[serde(default = "exactly")]
    pub vary: (f32, f32),
    /// Chance of mirroring a sprite that may be mirrored.
    #[serde(default)]
    pub flip: f64,
}

fn half() -> f32 {
    0.5
}

fn exactly() -> (f32, f32) {
    (1.0, 1.0)
}

impl ClipSettings {
    /// The frames of a clip of picture `index`: RGB bytes, one frame after the other.
    pub fn clip(
        &self,
        set: &Dataset,
        index: usize,
        motion: Motion,
        background: [u8; 3],
        rng: &mut impl Rng,
    ) -> Vec<Vec<u8>> {
        let (rgb, alpha) = set.raw(index);
        let mut sprite = Sprite::new(rgb, alpha, set.size());
        if rng.random_bool(self.flip) && set.entry(index).flip {
            sprite = sprite.mirrored();
        }
        let (least, most) = self.vary;
        let size = self.size * (least + (most - least) * rng.random::<f32>());
        sprite.clip(motion, size, self.frames, set.size(), background)
    }

    /// At most `count` clips of pictures that training does not see, spread over the set and over all motions, on white:
    /// their pictures, motions and planes in [-1, 1].
    pub fn held_out(&self, set: &Dataset, count: usize) -> (Vec<(usize, Motion)>, Vec<f32>) {
        let chosen: Vec<(usize, Motion)> = held_out_ids(set, count)
            .into_iter()
            .zip(Motion::ALL.into_iter().cycle())
            .collect();
        let mut pixels = Vec::new();
        let exact = Self {
            flip: 0.0,
            vary: exactly(),
            ..*self
        };
        for &(index, motion) in &chosen {
            let mut rng = stream(0, index as u64);
            append_clip(
                &exact.clip(set, index, motion, [255; 3], &mut rng),
                &mut pixels,
            );
        }
        (chosen, pixels)
    }
}

/// Appends frames as red, green and blue planes of all frames, in [-1, 1].
pub fn append_clip(frames: &[Vec<u8>], pixels: &mut Vec<f32>) {
    for channel in 0..3 {
        for frame in frames {
            let plane = frame.iter().skip(channel).step_by(3);
            pixels.extend(plane.map(|&value| f32::from(value) / 127.5 - 1.0));
        }
    }
}

/// Planes as clips `[b, 3, frames, size, size]`.
pub fn clips(pixels: Vec<f32>, frames: usize, size: usize, device: &Device) -> Tensor<5> {
    let b = pixels.len() / (3 * frames * size * size);
    Tensor::from_data(TensorData::new(pixels, [b, 3, frames, size, size]), device)
}

/// Clips to repaint.
pub struct ClipBatch {
    /// Planes in [-1, 1], one clip after the other.
    pub pixels: Vec<f32>,
    /// Clips.
    pub count: usize,
    /// Frames of each.
    pub frames: usize,
    /// How many scales may be used.
    pub scales: usize,
}

/// Makes [`ClipBatch`]es of the pictures that are not held out.
pub struct ClipBatches {
    set: Arc<Dataset>,
    order: Order,
    seed: u64,
    count: usize,
    settings: ClipSettings,
    window: usize,
    colour: f64,
    still: f64,
    drop: f64,
    scales: usize,
}

impl ClipBatches {
    /// Batches of `count` clips of `window` frames, each out of the middle of a whole one; with the chance `colour` on
    /// any colour instead of white, with the chance `still` a picture as large as the frame that does not move; with
    /// the chance `drop` only the first few of `scales` scales may be used.
    pub fn new(
        set: Arc<Dataset>,
        seed: u64,
        count: usize,
        settings: ClipSettings,
        window: usize,
        [colour, still, drop]: [f64; 3],
        scales: usize,
    ) -> Self {
        Self {
            order: Order::new(seed, set.train_ids()),
            set,
            seed,
            count,
            settings,
            window,
            colour,
            still,
            drop,
            scales,
        }
    }
}

impl Batches for ClipBatches {
    type Batch = ClipBatch;

    fn batch(&mut self, number: u64) -> ClipBatch {
        let mut rng = stream(self.seed ^ 0x63_6c69_7073, number);
        let (count, window) = (self.count, self.window);
        let side = self.set.size();
        let mut pixels = Vec::with_capacity(count * 3 * window * side * side);
        for slot in 0..count as u64 {
            let index = self.order.at(number * count as u64 + slot);
            let background = match rng.random_bool(self.colour) {
                true => rng.random(),
                false => [255; 3],
            };
            let motion = Motion::random(&mut rng);
            let frames = match rng.random_bool(self.still) {
                true => vec![self.set.image(index, background); window],
                false => {
                    let all = self
                        .settings
                        .clip(&self.set, index, motion, background, &mut rng);
                    let from = rng.random_range(0..=all.len() - window);
                    all[from..from + window].to_vec()
                }
            };
            append_clip(&frames, &mut pixels);
        }
        let scales = match rng.random_bool(self.drop) {
            true => rng.random_range(1..=self.scales),
            false => self.scales,
        };
        ClipBatch {
            pixels,
            count,
            frames: window,
            scales,
        }
    }
}
