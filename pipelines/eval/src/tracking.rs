//! Following a sprite through a clip: where its middle is, how large it is, how far it is turned, how much of it is left.

use nextscale_data::{Motion, Pose};

/// A frame's difference from a plain background, 0 to 1 a pixel.
struct Mass {
    side: usize,
    values: Vec<f32>,
}

/// Differences below this are noise of the decoder.
const NOISE: f32 = 0.08;
/// Turns that are tried, over the whole circle.
const TURNS: usize = 36;
/// Side of the window in which turned sprites are compared.
const WINDOW: usize = 24;

impl Mass {
    /// Of RGB bytes, `side * side`; the background is the median of the border.
    fn of(frame: &[u8], side: usize) -> Self {
        let pixel = |x: usize, y: usize| &frame[3 * (y * side + x)..][..3];
        let border: Vec<&[u8]> = (0..side)
            .flat_map(|i| {
                [
                    pixel(i, 0),
                    pixel(i, side - 1),
                    pixel(0, i),
                    pixel(side - 1, i),
                ]
            })
            .collect();
        let background: Vec<f32> = (0..3)
            .map(|channel| {
                let mut values: Vec<u8> = border.iter().map(|pixel| pixel[channel]).collect();
                values.sort_unstable();
                f32::from(values[values.len() / 2])
            })
            .collect();
        let difference = |pixel: &[u8]| {
            let channels = pixel.iter().zip(&background);
            let sum: f32 = channels.map(|(&v, b)| (f32::from(v) - b).abs()).sum();
            let value = sum / (3.0 * 255.0);
            if value < NOISE { 0.0 } else { value }
        };
        let values = frame.chunks_exact(3).map(difference).collect();
        Self { side, values }
    }

    fn total(&self) -> f32 {
        self.values.iter().sum()
    }

    /// The middle, in pixels from the upper left corner, and the root of the mean squared distance from it.
    fn middle(&self) -> Option<(f32, f32, f32)> {
        let total = self.total();
        if total < 1.0 {
            return None;
        }
        let places = || {
            let all = self.values.iter().enumerate();
            all.map(|(i, &v)| ((i % self.side) as f32, (i / self.side) as f32, v))
        };
        let x = places().map(|(x, _, v)| v * x).sum::<f32>() / total;
        let y = places().map(|(_, y, v)| v * y).sum::<f32>() / total;
        let spread = places()
            .map(|(px, py, v)| v * ((px - x).powi(2) + (py - y).powi(2)))
            .sum::<f32>();
        Some((x, y, (spread / total).sqrt()))
    }

    fn at(&self, x: f32, y: f32) -> f32 {
        let inside = |v: f32| v >= 0.0 && v < self.side as f32;
        match inside(x) && inside(y) {
            true => self.values[y as usize * self.side + x as usize],
            false => 0.0,
        }
    }

    /// What lies around the middle, turned back by `angle`, so large that the spread is a quarter of the window.
    fn window(&self, (x, y, spread): (f32, f32, f32), angle: f32) -> Vec<f32> {
        let step = 4.0 * spread / WINDOW as f32;
        let (sin, cos) = angle.sin_cos();
        let place = |n: usize| (n as f32 + 0.5 - WINDOW as f32 / 2.0) * step;
        (0..WINDOW * WINDOW)
            .map(|i| {
                let (u, v) = (place(i % WINDOW), place(i / WINDOW));
                self.at(x + u * cos - v * sin + 0.5, y + u * sin + v * cos + 0.5)
            })
            .collect()
    }
}

/// Where a sprite is in each frame, measured against the first one: offsets as parts of the side, `size` as a factor,
/// the angle clockwise, and `alpha` as the share of its mass that is left at its size.
///
/// Where nothing is left of it, it is where it was.
pub fn track(frames: &[Vec<u8>], side: usize) -> Vec<Pose> {
    let start = Pose::resting(1.0);
    let Some(first) = frames.first().map(|frame| Mass::of(frame, side)) else {
        return Vec::new();
    };
    let Some(origin) = first.middle() else {
        return vec![start; frames.len()];
    };
    let upright = first.window(origin, 0.0);
    let mut poses: Vec<Pose> = vec![start];
    for frame in &frames[1..] {
        let mass = Mass::of(frame, side);
        let last = poses[poses.len() - 1];
        let Some(now) = mass.middle() else {
            poses.push(Pose { alpha: 0.0, ..last });
            continue;
        };
        let size = now.2 / origin.2;
        poses.push(Pose {
            x: (now.0 - origin.0) / side as f32,
            y: (now.1 - origin.1) / side as f32,
            size,
            angle: turn(&mass, now, &upright, last.angle),
            alpha: (mass.total() / (first.total() * size * size)).min(1.5),
        });
    }
    poses
}

/// The turn by which the sprite is most like `upright`; of turns that are about as good the one nearest to `before`.
fn turn(mass: &Mass, middle: (f32, f32, f32), upright: &[f32], before: f32) -> f32 {
    use std::f32::consts::{PI, TAU};
    let wrap = |angle: f32| (angle + PI).rem_euclid(TAU) - PI;
    let costs: Vec<(f32, f32)> = (0..TURNS)
        .map(|n| {
            let angle = wrap(before + (n as f32 / TURNS as f32) * TAU);
            let window = mass.window(middle, angle);
            let off = window.iter().zip(upright).map(|(a, b)| (a - b).powi(2));
            (angle, off.sum::<f32>())
        })
        .collect();
    let best = costs.iter().map(|c| c.1).fold(f32::INFINITY, f32::min);
    let near = costs.iter().filter(|(_, cost)| *cost <= 1.05 * best + 1e-6);
    let nearest = near.min_by(|a, b| {
        let far = |angle: f32| wrap(angle - before).abs();
        far(a.0).total_cmp(&far(b.0))
    });
    let turned = nearest.map_or(before, |(angle, _)| *angle);
    before + wrap(turned - before)
}

/// The motion whose poses are nearest to the tracked ones, and how far it is.
pub fn recognise(poses: &[Pose]) -> (Motion, f32) {
    let last = poses.len().saturating_sub(1).max(1) as f32;
    let far = |motion: Motion| {
        let off = poses.iter().enumerate().map(|(i, pose)| {
            let wanted = motion.pose(i as f32 / last, 1.0);
            let place = (pose.x - wanted.x).powi(2) + (pose.y - wanted.y).powi(2);
            let size = (pose.size.max(0.05) / wanted.size).ln().clamp(-1.5, 1.5);
            // A sprite that is gone has neither place nor size nor angle.
            let seen = wanted.alpha.min(1.0);
            let angle = (pose.angle - wanted.angle).clamp(-2.0, 2.0);
            let alpha = pose.alpha.min(1.0) - wanted.alpha;
            seen * (place / 0.01 + size * size / 0.06 + angle * angle / 1.0) + alpha * alpha / 0.09
        });
        off.sum::<f32>() / poses.len() as f32
    };
    let all = Motion::ALL.map(|motion| (motion, far(motion)));
    let nearest = all.into_iter().min_by(|a, b| a.1.total_cmp(&b.1));
    nearest.expect("there are motions")
}

#[cfg(test)]
mod tests {
    use super::*;
    use nextscale_data::Sprite;

    /// A sprite that looks different from every side.
    fn sprite() -> Sprite {
        let side = 32;
        let inside = |x: usize, y: usize| x > y / 2 && (y > 12 || x < 20) && x + y > 14;
        let alpha: Vec<u8> = (0..side * side)
            .map(|i| if inside(i % side, i / side) { 255 } else { 0 })
            .collect();
        let rgb: Vec<u8> = alpha.iter().flat_map(|&a| [a / 2, 0, 0]).collect();
        Sprite::new(&rgb, &alpha, side)
    }

    #[test]
    fn what_is_rendered_is_recognised() {
        for motion in Motion::ALL {
            let frames = sprite().clip(motion, 0.5, 17, 64, [255; 3]);
            let poses = track(&frames, 64);
            assert_eq!(recognise(&poses).0, motion, "{poses:?}");
        }
    }

    #[test]
    fn poses_are_those_of_the_motion() {
        let frames = sprite().clip(Motion::RotateClockwise, 0.5, 17, 64, [255; 3]);
        let poses = track(&frames, 64);
        for (i, pose) in poses.iter().enumerate() {
            let wanted = std::f32::consts::PI * i as f32 / 16.0;
            assert!((pose.angle - wanted).abs() < 0.3, "{i}: {}", pose.angle);
        }
        let frames = sprite().clip(Motion::ZoomOut, 0.5, 17, 64, [255; 3]);
        let end = track(&frames, 64)[16];
        assert!(
            (end.size - 0.4).abs() < 0.06 && (end.alpha - 1.0).abs() < 0.2,
            "{end:?}"
        );
    }

    #[test]
    fn a_still_clip_of_nothing_does_not_move() {
        let poses = track(&vec![vec![255; 3 * 64]; 3], 8);
        assert!(poses.iter().all(|pose| *pose == Pose::resting(1.0)));
    }
}
