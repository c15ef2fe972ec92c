//! Sprites that move: one picture, and where it is in every frame. Plain Rust, no tensors.

use rand::Rng;
use rand::seq::IndexedRandom;

use crate::augment;

/// What a sprite does in a clip. It starts in the middle of the frame, upright, at its own size and opaque.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Motion {
    /// To the left edge.
    SlideLeft,
    /// To the right edge.
    SlideRight,
    /// To the upper edge.
    SlideUp,
    /// To the lower edge.
    SlideDown,
    /// Up and down again, twice.
    Bounce,
    /// Half a turn to the right.
    RotateClockwise,
    /// Half a turn to the left.
    RotateCounterclockwise,
    /// Larger.
    ZoomIn,
    /// Smaller.
    ZoomOut,
    /// Gone at the end.
    FadeOut,
    /// Gone in the middle, back at the end.
    FadeOutAndIn,
    /// Once around a point below it, to the right first.
    OrbitClockwise,
    /// Once around a point below it, to the left first.
    OrbitCounterclockwise,
}

/// Where a sprite is. Lengths are parts of the frame's side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pose {
    /// Its middle, from the middle of the frame to the right.
    pub x: f32,
    /// Its middle, from the middle of the frame down.
    pub y: f32,
    /// Its side.
    pub size: f32,
    /// How far it is turned clockwise, in radians.
    pub angle: f32,
    /// How much of it is there, 0 to 1.
    pub alpha: f32,
}

impl Pose {
    /// In the middle, with a side of `size`.
    pub fn resting(size: f32) -> Self {
        Self {
            x: 0.0,
            y: 0.0,
            size,
            angle: 0.0,
            alpha: 1.0,
        }
    }
}

/// Farthest a sprite slides, and highest it bounces.
const SLIDE: f32 = 0.25;
const HOP: f32 = 0.25;
/// Radius of an orbit.
const RADIUS: f32 = 0.125;
/// Sizes at the end, times the size at the start.
const LARGE: f32 = 1.9;
const SMALL: f32 = 0.4;

impl Motion {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::SlideLeft,
        Self::SlideRight,
        Self::SlideUp,
        Self::SlideDown,
        Self::Bounce,
        Self::RotateClockwise,
        Self::RotateCounterclockwise,
        Self::ZoomIn,
        Self::ZoomOut,
        Self::FadeOut,
        Self::FadeOutAndIn,
        Self::OrbitClockwise,
        Self::OrbitCounterclockwise,
    ];

    /// What captions call it; the first is the usual one.
    pub const fn phrases(self) -> &'static [&'static str] {
        match self {
            Self::SlideLeft => &[
                "sliding left",
                "sliding to the left",
                "moving left",
                "moving to the left",
                "slides left",
                "slides to the left",
            ],
            Self::SlideRight => &[
                "sliding right",
                "sliding to the right",
                "moving right",
                "moving to the right",
                "slides right",
                "slides to the right",
            ],
            Self::SlideUp => &[
                "sliding up",
                "moving up",
                "rising",
                "slides up",
                "moving upwards",
            ],
            Self::SlideDown => &[
                "sliding down",
                "moving down",
                "sinking",
                "slides down",
                "moving downwards",
            ],
            Self::Bounce => &["bouncing", "bounces", "jumping", "jumping up and down"],
            Self::RotateClockwise => &[
                "rotating clockwise",
                "turning clockwise",
                "spinning clockwise",
                "rotating",
                "rotates clockwise",
            ],
            Self::RotateCounterclockwise => &[
                "rotating counterclockwise",
                "turning counterclockwise",
                "spinning counterclockwise",
                "rotating anticlockwise",
                "rotates counterclockwise",
            ],
            Self::ZoomIn => &[
                "zooming in",
                "growing",
                "getting larger",
                "coming closer",
                "grows",
            ],
            Self::ZoomOut => &[
                "zooming out",
                "shrinking",
                "getting smaller",
                "moving away",
                "shrinks",
            ],
            Self::FadeOut => &["fading out", "disappearing", "vanishing", "fades out"],
            Self::FadeOutAndIn => &["fading out and in", "blinking", "blinks"],
            Self::OrbitClockwise => &[
                "orbiting clockwise",
                "circling clockwise",
                "orbiting",
                "circling",
                "moving in a circle",
            ],
            Self::OrbitCounterclockwise => &[
                "orbiting counterclockwise",
                "circling counterclockwise",
                "orbiting anticlockwise",
            ],
        }
    }

    /// The usual phrase.
    pub const fn name(self) -> &'static str {
        self.phrases()[0]
    }

    /// Its kind, whatever its direction: the first word of its name.
    pub fn kind(self) -> &'static str {
        let name = self.name();
        name.split(' ').next().unwrap_or(name)
    }

    /// Where a sprite of `size` is after the share `u` of the clip, 0 to 1.
    pub fn pose(self, u: f32, size: f32) -> Pose {
        use std::f32::consts::{PI, TAU};
        let mut pose = Pose::resting(size);
        match self {
            Self::SlideLeft => pose.x = -SLIDE * u,
            Self::SlideRight => pose.x = SLIDE * u,
            Self::SlideUp => pose.y = -SLIDE * u,
            Self::SlideDown => pose.y = SLIDE * u,
            Self::Bounce => pose.y = -HOP * (TAU * u).sin().abs(),
            Self::RotateClockwise => pose.angle = PI * u,
            Self::RotateCounterclockwise => pose.angle = -PI * u,
            Self::ZoomIn => pose.size *= LARGE.powf(u),
            Self::ZoomOut => pose.size *= SMALL.powf(u),
            Self::FadeOut => pose.alpha = 1.0 - u,
            Self::FadeOutAndIn => pose.alpha = 0.5 + 0.5 * (TAU * u).cos(),
            Self::OrbitClockwise | Self::OrbitCounterclockwise => {
                let side = if self == Self::OrbitClockwise {
                    1.0
                } else {
                    -1.0
                };
                pose.x = side * RADIUS * (TAU * u).sin();
                pose.y = RADIUS * (1.0 - (TAU * u).cos());
            }
        }
        pose
    }

    /// Any of them.
    pub fn random(rng: &mut impl Rng) -> Self {
        *Self::ALL.choose(rng).expect("there are motions")
    }

    /// Any of its phrases; every second time the usual one.
    pub fn phrase(self, rng: &mut impl Rng) -> &'static str {
        match rng.random_bool(0.5) {
            true => self.name(),
            false => self.phrases().choose(rng).expect("there are phrases"),
        }
    }
}

/// A picture with transparency: premultiplied red, green, blue and alpha, `side * side` cells.
#[derive(Debug, Clone)]
pub struct Sprite {
    side: usize,
    cells: Vec<[f32; 4]>,
}

impl Sprite {
    /// From premultiplied RGB and alpha bytes of a square picture.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn new(rgb: &[u8], alpha: &[u8], side: usize) -> Self {
        assert_eq!(
            (rgb.len(), alpha.len()),
            (3 * side * side, side * side),
            "bytes of a picture of side {side}"
        );
        let cell = |(rgb, &alpha): (&[u8], &u8)| [rgb[0], rgb[1], rgb[2], alpha].map(f32::from);
        let cells = rgb.chunks_exact(3).zip(alpha).map(cell).collect();
        Self { side, cells }
    }

    /// Left and right exchanged.
    #[must_use]
    pub fn mirrored(mut self) -> Self {
        for row in self.cells.chunks_exact_mut(self.side) {
            row.reverse();
        }
        self
    }

    /// The cell at a place, bilinear; nothing outside.
    fn at(&self, x: f32, y: f32) -> [f32; 4] {
        let (left, top) = (x.floor(), y.floor());
        let (right_part, lower_part) = (x - left, y - top);
        let mut sum = [0.0; 4];
        for (dy, wy) in [(0.0, 1.0 - lower_part), (1.0, lower_part)] {
            for (dx, wx) in [(0.0, 1.0 - right_part), (1.0, right_part)] {
                let (cx, cy) = (left + dx, top + dy);
                let last = self.side as f32 - 1.0;
                if cx < 0.0 || cy < 0.0 || cx > last || cy > last {
                    continue;
                }
                let cell = self.cells[cy as usize * self.side + cx as usize];
                for (sum, value) in sum.iter_mut().zip(cell) {
                    *sum += wx * wy * value;
                }
            }
        }
        sum
    }

    /// A frame of `side * side` RGB pixels with the sprite in it.
    pub fn frame(&self, pose: Pose, side: usize, background: [u8; 3]) -> Vec<u8> {
        let scale = self.side as f32 / (pose.size.max(1e-3) * side as f32);
        // As many samples a pixel as it covers cells.
        let samples = (scale.ceil() as usize).clamp(1, 4);
        let (sin, cos) = pose.angle.sin_cos();
        let middle = self.side as f32 / 2.0 - 0.5;
        let origin = |shift: f32| side as f32 * (0.5 + shift);
        let (left, top) = (origin(pose.x), origin(pose.y));
        let (mut rgb, mut alpha) = (Vec::new(), Vec::new());
        for row in 0..side {
            for column in 0..side {
                let mut sum = [0.0f32; 4];
                for j in 0..samples {
                    for i in 0..samples {
                        let part = |n: usize| (n as f32 + 0.5) / samples as f32;
                        let x = column as f32 + part(i) - left;
                        let y = row as f32 + part(j) - top;
                        // Turned back, and in cells.
                        let (u, v) = (x * cos + y * sin, y * cos - x * sin);
                        let cell = self.at(middle + u * scale, middle + v * scale);
                        sum.iter_mut().zip(cell).for_each(|(s, c)| *s += c);
                    }
                }
                let share = pose.alpha / (samples * samples) as f32;
                let byte = |value: f32| (value * share + 0.5).clamp(0.0, 255.0) as u8;
                rgb.extend(sum[..3].iter().map(|&value| byte(value)));
                alpha.push(byte(sum[3]));
            }
        }
        augment::composite(&rgb, &alpha, background)
    }

    /// The frames of a motion, one after the other, RGB.
    pub fn clip(
        &self,
        motion: Motion,
        size: f32,
        frames: usize,
        side: usize,
        background: [u8; 3],
    ) -> Vec<Vec<u8>> {
        let last = frames.saturating_sub(1).max(1) as f32;
        let frame = |i: usize| {
            let pose = motion.pose(i as f32 / last, size);
            self.frame(pose, side, background)
        };
        (0..frames).map(frame).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot() -> Sprite {
        Sprite::new(&[0; 3 * 64], &[255; 64], 8)
    }

    /// Middle and mass of what is dark, in pixels.
    fn dark(frame: &[u8], side: usize) -> (f32, f32, f32) {
        let (mut x, mut y, mut mass) = (0.0, 0.0, 0.0);
        for (i, pixel) in frame.chunks_exact(3).enumerate() {
            let weight = 255.0 - f32::from(pixel[0]);
            x += weight * (i % side) as f32;
            y += weight * (i / side) as f32;
            mass += weight / 255.0;
        }
        (x / (mass * 255.0), y / (mass * 255.0), mass)
    }

    #[test]
    fn every_motion_starts_in_the_middle() {
        for motion in Motion::ALL {
            assert_eq!(motion.pose(0.0, 0.5), Pose::resting(0.5), "{motion:?}");
        }
    }

    #[test]
    fn frames_are_where_the_pose_says() {
        let at = |motion: Motion, i: usize| {
            let clip = dot().clip(motion, 0.25, 5, 32, [255; 3]);
            dark(&clip[i], 32)
        };
        let (x, y, mass) = at(Motion::SlideLeft, 0);
        assert!((x - 15.5).abs() < 0.1 && (y - 15.5).abs() < 0.1, "{x} {y}");
        assert!((mass - 64.0).abs() < 9.0, "{mass}");
        let (x, y, _) = at(Motion::SlideLeft, 4);
        assert!((x - 7.5).abs() < 0.1 && (y - 15.5).abs() < 0.1, "{x} {y}");
        let (_, y, _) = at(Motion::Bounce, 1);
        assert!((y - 7.5).abs() < 0.1, "{y}");
        let (x, y, _) = at(Motion::OrbitClockwise, 1);
        assert!(x > 18.0 && y > 18.0, "{x} {y}");
        let (_, _, large) = at(Motion::ZoomIn, 4);
        assert!(large > 3.0 * mass, "{large}");
        let (_, _, gone) = at(Motion::FadeOut, 3);
        assert!((gone / mass - 0.25).abs() < 0.05, "{gone}");
    }

    #[test]
    fn turning_is_clockwise_on_the_screen() {
        // Only the upper half is dark: after a quarter to the right it is the right half.
        let alpha: Vec<u8> = (0..64).map(|i| if i < 32 { 255 } else { 0 }).collect();
        let half = Sprite::new(&[0; 3 * 64], &alpha, 8);
        let clip = half.clip(Motion::RotateClockwise, 0.5, 3, 32, [255; 3]);
        let (x, y, _) = dark(&clip[1], 32);
        assert!(x > 18.5 && (y - 15.5).abs() < 0.2, "{x} {y}");
        let (x, _, _) = dark(
            &half
                .mirrored()
                .clip(Motion::RotateCounterclockwise, 0.5, 3, 32, [255; 3])[1],
            32,
        );
        assert!(x < 12.5, "{x}");
    }

    #[test]
    fn no_phrase_means_two_motions() {
        let all: Vec<&str> = Motion::ALL
            .iter()
            .flat_map(|m| m.phrases())
            .copied()
            .collect();
        for (i, phrase) in all.iter().enumerate() {
            assert!(!all[i + 1..].contains(phrase), "{phrase}");
        }
    }
}
