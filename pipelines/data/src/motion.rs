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

    /// The pose after a motion that starts in this one, at the fraction `u` of it.
    fn after(self, motion: Motion, u: f32) -> Self {
        let moved = motion.pose(u, self.size);
        Self {
            x: self.x + moved.x,
            y: self.y + moved.y,
            size: moved.size,
            angle: self.angle + moved.angle,
            alpha: self.alpha * moved.alpha,
        }
    }

    /// Whether most of the sprite is in the frame, and neither tiny nor larger than it.
    fn is_in_sight(self) -> bool {
        let within = |offset: f32| offset.abs() <= 0.3;
        within(self.x) && within(self.y) && (0.2..=1.1).contains(&self.size)
    }
}

/// Several motions one after the other, equally long, each from where the one before it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course(Vec<Motion>);

impl Course {
    /// `last` after `before` other motions, drawn at random, in which a sprite of `size` stays in sight and is opaque between
    /// them; after fewer, down to none, if hardly any are found.
    pub fn leading_to(last: Motion, before: usize, size: f32, rng: &mut impl Rng) -> Self {
        const TRIES: usize = 64;
        for before in (1..=before).rev() {
            for _ in 0..TRIES {
                let mut motions: Vec<Motion> = (0..before).map(|_| Motion::random(rng)).collect();
                motions.push(last);
                let course = Self(motions);
                if course.repeats_none() && course.stays_in_sight(size) {
                    return course;
                }
            }
        }
        Self(vec![last])
    }

    /// The number of motions.
    pub fn motions(&self) -> usize {
        self.0.len()
    }

    /// Where a sprite of `size` is when it has made so many of the motions.
    pub fn pose(&self, motions: f32, size: f32) -> Pose {
        let done = (motions as usize).min(self.0.len() - 1);
        let start = Pose::resting(size);
        let start = self.0[..done]
            .iter()
            .fold(start, |pose, &motion| pose.after(motion, 1.0));
        start.after(self.0[done], motions - done as f32)
    }

    /// Whether no motion follows itself: half of a slow one would look like a whole one.
    fn repeats_none(&self) -> bool {
        self.0.windows(2).all(|pair| pair[0] != pair[1])
    }

    fn stays_in_sight(&self, size: f32) -> bool {
        const MOMENTS: usize = 8;
        let moments = 0..=self.0.len() * MOMENTS;
        let mut poses = moments.map(|i| self.pose(i as f32 / MOMENTS as f32, size));
        let mut ends = 1..self.0.len();
        poses.all(Pose::is_in_sight) && ends.all(|i| self.pose(i as f32, size).alpha > 0.99)
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
    fn motions_of_a_course_go_on_where_the_last_one_ended() {
        use rand::SeedableRng as _;
        let course = Course(vec![
            Motion::SlideLeft,
            Motion::RotateClockwise,
            Motion::SlideDown,
        ]);
        let quarter = std::f32::consts::PI / 2.0;
        for (motions, x, y, angle) in [
            (0.0, 0.0, 0.0, 0.0),
            (1.0, -0.25, 0.0, 0.0),
            (1.5, -0.25, 0.0, quarter),
            (3.0, -0.25, 0.25, 2.0 * quarter),
        ] {
            let pose = course.pose(motions, 0.5);
            assert_eq!((pose.x, pose.y, pose.angle), (x, y, angle), "{motions}");
        }
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for i in 0..200 {
            let last = Motion::ALL[i % Motion::ALL.len()];
            let course = Course::leading_to(last, 2, 0.5, &mut rng);
            assert_eq!((course.motions(), course.0[2]), (3, last));
            assert!(course.repeats_none() && course.stays_in_sight(0.5));
            // Before its last motion the sprite can be seen.
            assert!(course.pose(2.0, 0.5).alpha > 0.99);
        }
        // Nothing keeps a sprite in sight that is larger than the frame.
        let large = Course::leading_to(Motion::ZoomIn, 1, 1.2, &mut rng);
        assert_eq!(large.motions(), 1);
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
