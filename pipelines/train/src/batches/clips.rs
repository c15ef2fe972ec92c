//! Clips: sprites of the data set that move in front of a plain background.

use std::sync::Arc;

use nextscale_data::{Dataset, Motion, Sprite, captions::WHITE};
use nextscale_var_core::train::Batches;
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::batches::images::{background, held_out_ids, used_scales};
use crate::batches::planes;
use crate::shuffle::{Shuffle, rng_for};

/// How clips are made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClipSettings {
    /// Frames of a whole clip: one more than a multiple of the frames per latent frame.
    pub frames: usize,
    /// Side of a sprite in the first frame, as a fraction of the frame's side.
    #[serde(default = "default_size")]
    pub size: f32,
    /// Smallest and largest random factor on `size`.
    #[serde(default = "default_vary")]
    pub vary: (f32, f32),
    /// Chance of mirroring a sprite that may be mirrored.
    #[serde(default)]
    pub flip: f64,
}

fn default_size() -> f32 {
    0.5
}

fn default_vary() -> (f32, f32) {
    (1.0, 1.0)
}

impl ClipSettings {
    /// A clip of image `index`: RGB bytes of each frame.
    pub(crate) fn clip(
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

    /// At most `count` clips of held-out images on white, spread over the set and over all motions: their images and
    /// motions, and their planes in [-1, 1].
    pub(crate) fn held_out(&self, set: &Dataset, count: usize) -> (Vec<(usize, Motion)>, Vec<f32>) {
        let ids = held_out_ids(set, count).into_iter();
        let chosen: Vec<_> = ids.zip(Motion::ALL.into_iter().cycle()).collect();
        let fixed = Self {
            flip: 0.0,
            vary: default_vary(),
            ..*self
        };
        let mut pixels = Vec::new();
        for &(index, motion) in &chosen {
            let mut rng = rng_for(0, index as u64);
            planes::append(
                &fixed.clip(set, index, motion, WHITE, &mut rng),
                &mut pixels,
            );
        }
        (chosen, pixels)
    }
}

/// Clips to reconstruct.
pub(crate) struct ClipBatch {
    /// Its number in the run.
    pub number: u64,
    /// Planes in [-1, 1], one clip after the other.
    pub pixels: Vec<f32>,
    /// Number of clips.
    pub count: usize,
    /// Frames of each.
    pub frames: usize,
    /// How many scales may be used.
    pub scales: usize,
}

/// Makes [`ClipBatch`]es of the images that are not held out.
pub(crate) struct ClipBatches {
    pub set: Arc<Dataset>,
    pub shuffle: Shuffle,
    pub seed: u64,
    /// Clips of a batch.
    pub count: usize,
    pub clips: ClipSettings,
    /// Frames of a clip, cut at random out of a whole one.
    pub window: usize,
    /// Chance of a background of any colour instead of white.
    pub colour: f64,
    /// Chance of an image as large as the frame that does not move.
    pub still: f64,
    /// Chance that a batch may use only the first few of `scales` scales.
    pub drop: f64,
    pub scales: usize,
}

impl ClipBatches {
    /// The frames of one clip.
    fn window(&self, index: usize, rng: &mut impl Rng) -> Vec<Vec<u8>> {
        let background = background(self.colour, rng);
        let motion = Motion::random(rng);
        if rng.random_bool(self.still) {
            return vec![self.set.image(index, background); self.window];
        }
        let all = self.clips.clip(&self.set, index, motion, background, rng);
        let from = rng.random_range(0..=all.len() - self.window);
        all[from..from + self.window].to_vec()
    }
}

impl Batches for ClipBatches {
    type Batch = ClipBatch;

    fn batch(&mut self, number: u64) -> ClipBatch {
        let mut rng = rng_for(self.seed ^ 0x63_6c69_7073, number);
        let (count, side) = (self.count, self.set.size());
        let mut pixels = Vec::with_capacity(count * 3 * self.window * side * side);
        for index in self.shuffle.batch(number, count) {
            planes::append(&self.window(index, &mut rng), &mut pixels);
        }
        ClipBatch {
            number,
            pixels,
            count,
            frames: self.window,
            scales: used_scales(self.drop, self.scales, &mut rng),
        }
    }
}
