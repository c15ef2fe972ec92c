//! The motions that sprites make: their phrases in captions, and where a sprite is at any moment.

use rand::Rng;
use rand::seq::IndexedRandom;

/// What a sprite does in a clip. It starts in the centre of the frame, upright, at its own size and opaque.
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
    /// Up and back down, twice.
    Bounce,
    /// Half a turn clockwise.
    RotateClockwise,
    /// Half a turn counterclockwise.
    RotateCounterclockwise,
    /// Larger.
    ZoomIn,
    /// Smaller.
    ZoomOut,
    /// Invisible at the end.
    FadeOut,
    /// Invisible halfway, back at the end.
    FadeOutAndIn,
    /// Once around a point below the start, to the right first.
    OrbitClockwise,
    /// Once around a point below the start, to the left first.
    OrbitCounterclockwise,
}

/// Where a sprite is. Lengths are fractions of the frame's side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pose {
    /// Horizontal offset of its centre from the centre of the frame, positive to the right.
    pub x: f32,
    /// Vertical offset of its centre from the centre of the frame, positive downwards.
    pub y: f32,
    /// Its side.
    pub size: f32,
    /// Clockwise rotation in radians.
    pub angle: f32,
    /// Opacity, 0 to 1.
    pub alpha: f32,
}

impl Pose {
    /// In the centre, upright and opaque, with a side of `size`.
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

/// How far a sprite slides.
const SLIDE: f32 = 0.25;
/// How high it bounces.
const HOP: f32 = 0.25;
/// Radius of an orbit.
const RADIUS: f32 = 0.125;
/// Size at the end of a zoom, times the size at the start.
const ZOOMED_IN: f32 = 1.9;
const ZOOMED_OUT: f32 = 0.4;

/// What captions call each motion, in the order of [`Motion::ALL`]; the first phrase is the usual one.
#[rustfmt::skip]
const PHRASES: [&[&str]; 13] = [
    &["sliding left", "sliding to the left", "moving left", "moving to the left", "slides left", "slides to the left"],
    &["sliding right", "sliding to the right", "moving right", "moving to the right", "slides right", "slides to the right"],
    &["sliding up", "moving up", "rising", "slides up", "moving upwards"],
    &["sliding down", "moving down", "sinking", "slides down", "moving downwards"],
    &["bouncing", "bounces", "jumping", "jumping up and down"],
    &["rotating clockwise", "turning clockwise", "spinning clockwise", "rotating", "rotates clockwise"],
    &["rotating counterclockwise", "turning counterclockwise", "spinning counterclockwise", "rotating anticlockwise", "rotates counterclockwise"],
    &["zooming in", "growing", "getting larger", "coming closer", "grows"],
    &["zooming out", "shrinking", "getting smaller", "moving away", "shrinks"],
    &["fading out", "disappearing", "vanishing", "fades out"],
    &["fading out and in", "blinking", "blinks"],
    &["orbiting clockwise", "circling clockwise", "orbiting", "circling", "moving in a circle"],
    &["orbiting counterclockwise", "circling counterclockwise", "orbiting anticlockwise"],
];

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

    /// What captions call it; the first phrase is the usual one.
    pub const fn phrases(self) -> &'static [&'static str] {
        PHRASES[self as usize]
    }

    /// The usual phrase.
    pub const fn name(self) -> &'static str {
        self.phrases()[0]
    }

    /// Its kind whatever its direction: the first word of its name.
    pub fn kind(self) -> &'static str {
        let name = self.name();
        name.split(' ').next().unwrap_or(name)
    }

    /// Where a sprite of `size` is after the fraction `u` of the clip, 0 to 1.
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
            Self::ZoomIn => pose.size *= ZOOMED_IN.powf(u),
            Self::ZoomOut => pose.size *= ZOOMED_OUT.powf(u),
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

    /// A random one.
    pub fn random(rng: &mut impl Rng) -> Self {
        *Self::ALL.choose(rng).expect("there are motions")
    }

    /// A random one of its phrases; the usual one half of the time.
    pub fn phrase(self, rng: &mut impl Rng) -> &'static str {
        if rng.random_bool(0.5) {
            self.name()
        } else {
            self.phrases().choose(rng).expect("there are phrases")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_motion_starts_in_the_middle() {
        for motion in Motion::ALL {
            assert_eq!(motion.pose(0.0, 0.5), Pose::resting(0.5), "{motion:?}");
        }
    }

    #[test]
    fn no_phrase_means_two_motions() {
        assert!(
            Motion::ALL
                .iter()
                .enumerate()
                .all(|(i, &m)| m as usize == i)
        );
        assert_eq!(Motion::FadeOutAndIn.name(), "fading out and in");
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
