//! Clips: sprites of the data set that move in front of a plain background.

use std::sync::Arc;

use nextscale_data::{Course, Dataset, Motion, Pose, Sprite, captions::WHITE};
use nextscale_var_core::train::Batches;
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::batches::images::{background, held_out_ids, used_scales};
use crate::batches::planes;
use crate::config::check_fraction;
use crate::error::{Result, ensure};
use crate::shuffle::{Shuffle, rng_for};

/// How clips are made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClipSettings {
    /// Frames of a whole clip: one more than a multiple of the frames per latent frame.
    pub frames: usize,
    /// Side of a frame in pixels; that of the data set's images if absent.
    #[serde(default)]
    pub side: Option<usize>,
    /// Side of a sprite in the first frame, as a fraction of the frame's side.
    #[serde(default = "default_size")]
    pub size: f32,
    /// Smallest and largest random factor on `size`.
    #[serde(default = "default_vary")]
    pub vary: (f32, f32),
    /// Chance of mirroring a sprite that may be mirrored.
    #[serde(default)]
    pub flip: f64,
    /// Chance of a motion for each clip of the video, each from where the one before it ended, instead of one motion for all. Half of
    /// these videos start after another motion.
    #[serde(default)]
    pub turns: f64,
}

/// What the sprite of a video does.
pub(crate) enum Moves {
    /// One motion.
    One(Motion),
    /// Several, of which so many were made before the first frame.
    Several(Course, usize),
}

fn default_size() -> f32 {
    0.5
}

fn default_vary() -> (f32, f32) {
    (1.0, 1.0)
}

impl ClipSettings {
    /// Rejects what no video can be made of.
    pub(crate) fn check(&self) -> Result<()> {
        check_fraction("clips: flip", self.flip)?;
        check_fraction("clips: turns", self.turns)?;
        ensure!(self.side != Some(0), "clips: side must be at least 1");
        let (least, most) = self.vary;
        ensure!(
            self.size > 0.0 && self.size.is_finite(),
            "clips: size is {}; it must be above 0: it is a fraction of the frame's side",
            self.size
        );
        ensure!(
            least > 0.0 && least <= most && most.is_finite(),
            "clips: vary is [{least}, {most}]; it must be two numbers above 0, the smaller one first"
        );
        Ok(())
    }

    /// Side of a frame in pixels.
    pub(crate) fn side(&self, set: &Dataset) -> usize {
        self.side.unwrap_or(set.size())
    }

    /// A video that ends with `motion`, of `clips` clips.
    pub(crate) fn moves(&self, motion: Motion, clips: usize, rng: &mut impl Rng) -> Moves {
        // Runs without turns draw the numbers that they always drew.
        if self.turns == 0.0 || clips < 2 || !rng.random_bool(self.turns) {
            return Moves::One(motion);
        }
        let before = usize::from(rng.random_bool(0.5));
        let course = Course::leading_to(motion, clips - 1 + before, self.size, rng);
        let done = course.motions().saturating_sub(clips);
        Moves::Several(course, done)
    }

    /// A clip of image `index`: RGB bytes of each frame.
    pub(crate) fn clip(
        &self,
        set: &Dataset,
        index: usize,
        moves: &Moves,
        background: [u8; 3],
        rng: &mut impl Rng,
    ) -> Vec<Vec<u8>> {
        let mut sprite = sprite(set, index);
        if rng.random_bool(self.flip) && set.entry(index).flip {
            sprite = sprite.mirrored();
        }
        let (least, most) = self.vary;
        let size = self.size * (least + (most - least) * rng.random::<f32>());
        let side = self.side(set);
        match moves {
            Moves::One(motion) => sprite.clip(*motion, size, self.frames, side, background),
            Moves::Several(course, done) => {
                let (done, all) = (*done as f32, course.motions() as f32);
                let pose = |u: f32| course.pose(done + u * (all - done), size);
                sprite.frames(pose, self.frames, side, background)
            }
        }
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
            let frames = fixed.clip(set, index, &Moves::One(motion), WHITE, &mut rng);
            planes::append(&frames, &mut pixels);
        }
        (chosen, pixels)
    }
}

/// Image `index` as a sprite.
fn sprite(set: &Dataset, index: usize) -> Sprite {
    let (rgb, alpha) = set.raw(index);
    Sprite::new(rgb, alpha, set.size())
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
    /// Clips of a whole video.
    pub clips_of_video: usize,
    /// Frames that are cut at random out of a whole video.
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
            let (whole, side) = (Pose::resting(1.0), self.clips.side(&self.set));
            let frame = sprite(&self.set, index).frame(whole, side, background);
            return vec![frame; self.window];
        }
        let moves = self.clips.moves(motion, self.clips_of_video, rng);
        let all = self.clips.clip(&self.set, index, &moves, background, rng);
        let from = rng.random_range(0..=all.len() - self.window);
        all[from..from + self.window].to_vec()
    }
}

impl Batches for ClipBatches {
    type Batch = ClipBatch;

    fn batch(&mut self, number: u64) -> ClipBatch {
        let mut rng = rng_for(self.seed ^ 0x63_6c69_7073, number);
        let (count, side) = (self.count, self.clips.side(&self.set));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_video_are_refused() {
        let good = ClipSettings {
            frames: 9,
            side: Some(16),
            size: 0.5,
            vary: (0.8, 1.3),
            flip: 0.5,
            turns: 0.5,
        };
        assert!(good.check().is_ok());
        let bad = |change: fn(&mut ClipSettings)| {
            let mut settings = good;
            change(&mut settings);
            settings.check().unwrap_err().to_string()
        };
        for (message, part) in [
            (
                bad(|s| s.turns = 1.5),
                "clips: turns: 1.5 is not between 0 and 1",
            ),
            (bad(|s| s.flip = -0.1), "clips: flip: -0.1"),
            (bad(|s| s.side = Some(0)), "clips: side"),
            (bad(|s| s.size = f32::NAN), "clips: size is NaN"),
            (bad(|s| s.vary = (2.0, 1.0)), "clips: vary is [2, 1]"),
        ] {
            assert!(message.contains(part), "{message}");
        }
    }

    /// With turns, a video of two clips has two motions or follows another one; without, it has one.
    #[test]
    fn turns_are_motions_of_clips() {
        let settings = ClipSettings {
            frames: 9,
            side: None,
            size: 0.5,
            vary: (1.0, 1.0),
            flip: 0.0,
            turns: 1.0,
        };
        let mut rng = rng_for(1, 0);
        let (mut starts, mut follows) = (0, 0);
        for _ in 0..50 {
            match settings.moves(Motion::Bounce, 2, &mut rng) {
                Moves::Several(course, 0) => {
                    assert_eq!(course.motions(), 2);
                    starts += 1;
                }
                Moves::Several(course, done) => {
                    assert_eq!((course.motions(), done), (3, 1));
                    follows += 1;
                }
                Moves::One(_) => panic!("one motion"),
            }
        }
        assert!(starts > 10 && follows > 10, "{starts} {follows}");
        let one = |settings: ClipSettings, clips, rng: &mut _| {
            matches!(settings.moves(Motion::Bounce, clips, rng), Moves::One(_))
        };
        assert!(one(settings, 1, &mut rng));
        let none = ClipSettings {
            turns: 0.0,
            ..settings
        };
        assert!(one(none, 2, &mut rng));
    }
}
