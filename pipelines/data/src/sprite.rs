//! Sprites: one image with transparency, drawn into the frames of a clip. Plain Rust, no tensors.

use crate::augment;
use crate::motion::{Motion, Pose};

/// A square image with transparency: premultiplied red, green, blue and alpha, 0 to 255.
#[derive(Debug, Clone)]
pub struct Sprite {
    side: usize,
    pixels: Vec<[f32; 4]>,
}

impl Sprite {
    /// From the premultiplied RGB and alpha bytes of a square image.
    ///
    /// # Panics
    /// If the lengths do not match the side.
    pub fn new(rgb: &[u8], alpha: &[u8], side: usize) -> Self {
        assert_eq!(
            (rgb.len(), alpha.len()),
            (3 * side * side, side * side),
            "RGB and alpha bytes of an image of side {side}"
        );
        let pixel = |(rgb, &alpha): (&[u8], &u8)| [rgb[0], rgb[1], rgb[2], alpha].map(f32::from);
        let pixels = rgb.chunks_exact(3).zip(alpha).map(pixel).collect();
        Self { side, pixels }
    }

    /// Flips it left to right.
    #[must_use]
    pub fn mirrored(mut self) -> Self {
        for row in self.pixels.chunks_exact_mut(self.side) {
            row.reverse();
        }
        self
    }

    /// The colour at a position in pixels, bilinear; transparent outside.
    fn sample(&self, x: f32, y: f32) -> [f32; 4] {
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
                let pixel = self.pixels[cy as usize * self.side + cx as usize];
                for (sum, value) in sum.iter_mut().zip(pixel) {
                    *sum += wx * wy * value;
                }
            }
        }
        sum
    }

    /// A frame of `side * side` RGB pixels with the sprite in it.
    pub fn frame(&self, pose: Pose, side: usize, background: [u8; 3]) -> Vec<u8> {
        let (mut rgb, mut alpha) = (Vec::new(), Vec::new());
        let view = View::new(self, pose, side);
        for row in 0..side {
            for column in 0..side {
                let [r, g, b, a] = view.pixel(row, column);
                rgb.extend([r, g, b]);
                alpha.push(a);
            }
        }
        augment::composite(&rgb, &alpha, background)
    }

    /// The RGB frames of a motion, first to last, of `side * side` pixels each.
    pub fn clip(
        &self,
        motion: Motion,
        size: f32,
        frames: usize,
        side: usize,
        background: [u8; 3],
    ) -> Vec<Vec<u8>> {
        let pose = |u| motion.pose(u, size);
        self.frames(pose, frames, side, background)
    }

    /// RGB frames of `side * side` pixels, in the poses at the fractions 0 to 1 of the clip.
    pub fn frames(
        &self,
        pose: impl Fn(f32) -> Pose,
        frames: usize,
        side: usize,
        background: [u8; 3],
    ) -> Vec<Vec<u8>> {
        let last = frames.saturating_sub(1).max(1) as f32;
        let frame = |i: usize| self.frame(pose(i as f32 / last), side, background);
        (0..frames).map(frame).collect()
    }
}

/// A sprite in a pose, seen through a frame.
struct View<'a> {
    sprite: &'a Sprite,
    /// Pixels of the sprite for each pixel of the frame.
    scale: f32,
    /// Samples of each pixel along each axis: as many as it covers pixels of the sprite, at most 4.
    samples: usize,
    sin: f32,
    cos: f32,
    /// Centre of the sprite in the frame, in pixels.
    left: f32,
    top: f32,
    alpha: f32,
}

impl<'a> View<'a> {
    fn new(sprite: &'a Sprite, pose: Pose, side: usize) -> Self {
        let scale = sprite.side as f32 / (pose.size.max(1e-3) * side as f32);
        let (sin, cos) = pose.angle.sin_cos();
        let origin = |shift: f32| side as f32 * (0.5 + shift);
        Self {
            sprite,
            scale,
            samples: (scale.ceil() as usize).clamp(1, 4),
            sin,
            cos,
            left: origin(pose.x),
            top: origin(pose.y),
            alpha: pose.alpha,
        }
    }

    /// Premultiplied RGBA of one pixel of the frame: the mean of its samples.
    fn pixel(&self, row: usize, column: usize) -> [u8; 4] {
        let centre = self.sprite.side as f32 / 2.0 - 0.5;
        let offset = |n: usize| (n as f32 + 0.5) / self.samples as f32;
        let mut sum = [0.0f32; 4];
        for j in 0..self.samples {
            for i in 0..self.samples {
                let x = column as f32 + offset(i) - self.left;
                let y = row as f32 + offset(j) - self.top;
                // Rotated back to the upright sprite.
                let (u, v) = (x * self.cos + y * self.sin, y * self.cos - x * self.sin);
                let colour = self
                    .sprite
                    .sample(centre + u * self.scale, centre + v * self.scale);
                sum.iter_mut().zip(colour).for_each(|(s, c)| *s += c);
            }
        }
        let share = self.alpha / (self.samples * self.samples) as f32;
        sum.map(|value| (value * share + 0.5).clamp(0.0, 255.0) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot() -> Sprite {
        Sprite::new(&[0; 3 * 64], &[255; 64], 8)
    }

    /// Centre and mass of what is dark, in pixels.
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
}
