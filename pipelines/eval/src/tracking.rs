//! Tracks a sprite through a clip: its centre, its size, its rotation and its opacity.

use nextscale_data::{Motion, Pose};

/// The sprite in a frame: how far each pixel is from the plain background, 0 to 1.
struct Foreground {
    side: usize,
    values: Vec<f32>,
}

/// Differences below this are noise of the decoder.
const NOISE: f32 = 0.08;
/// Rotations that are tried, over the full circle.
const ROTATIONS: usize = 36;
/// Side of the window in which rotated sprites are compared.
const WINDOW: usize = 24;

impl Foreground {
    /// From the RGB bytes of a frame of `side * side` pixels; the background is the median of the border.
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

    /// Where it is; `None` if hardly anything is left of it.
    fn extent(&self) -> Option<Extent> {
        let total = self.total();
        if total < 1.0 {
            return None;
        }
        let weighted = || {
            let all = self.values.iter().enumerate();
            all.map(|(i, &v)| ((i % self.side) as f32, (i / self.side) as f32, v))
        };
        let x = weighted().map(|(x, _, v)| v * x).sum::<f32>() / total;
        let y = weighted().map(|(_, y, v)| v * y).sum::<f32>() / total;
        let spread = weighted()
            .map(|(px, py, v)| v * ((px - x).powi(2) + (py - y).powi(2)))
            .sum::<f32>();
        let spread = (spread / total).sqrt();
        Some(Extent { x, y, spread })
    }

    fn at(&self, x: f32, y: f32) -> f32 {
        let inside = |v: f32| v >= 0.0 && v < self.side as f32;
        if inside(x) && inside(y) {
            self.values[y as usize * self.side + x as usize]
        } else {
            0.0
        }
    }

    /// The surroundings of the centre, rotated back by `angle`, scaled so that the spread is a quarter of the window.
    fn window(&self, Extent { x, y, spread }: Extent, angle: f32) -> Vec<f32> {
        let step = 4.0 * spread / WINDOW as f32;
        let (sin, cos) = angle.sin_cos();
        let offset = |n: usize| (n as f32 + 0.5 - WINDOW as f32 / 2.0) * step;
        (0..WINDOW * WINDOW)
            .map(|i| {
                let (u, v) = (offset(i % WINDOW), offset(i / WINDOW));
                self.at(x + u * cos - v * sin + 0.5, y + u * sin + v * cos + 0.5)
            })
            .collect()
    }
}

/// Centre and size of a sprite.
#[derive(Clone, Copy)]
struct Extent {
    /// Centre, in pixels from the left edge.
    x: f32,
    /// Centre, in pixels from the upper edge.
    y: f32,
    /// Root mean square distance from the centre, in pixels.
    spread: f32,
}

/// Where a sprite is in each frame, relative to the first one: offsets as fractions of the side, `size` as a factor, the
/// clockwise angle in radians, and `alpha` as the part of its mass that is left at its size.
///
/// Where nothing is left of it, it keeps its last place.
pub(crate) fn track(frames: &[Vec<u8>], side: usize) -> Vec<Pose> {
    let start = Pose::resting(1.0);
    let Some(first) = frames.first().map(|frame| Foreground::of(frame, side)) else {
        return Vec::new();
    };
    let Some(origin) = first.extent() else {
        return vec![start; frames.len()];
    };
    let upright = first.window(origin, 0.0);
    let mut poses: Vec<Pose> = vec![start];
    for frame in &frames[1..] {
        let sprite = Foreground::of(frame, side);
        let last = poses[poses.len() - 1];
        let Some(now) = sprite.extent() else {
            poses.push(Pose { alpha: 0.0, ..last });
            continue;
        };
        let size = now.spread / origin.spread;
        poses.push(Pose {
            x: (now.x - origin.x) / side as f32,
            y: (now.y - origin.y) / side as f32,
            size,
            angle: rotation(&sprite, now, &upright, last.angle),
            alpha: (sprite.total() / (first.total() * size * size)).min(1.5),
        });
    }
    poses
}

/// How much of the sprite's looks is kept from the first frame to the last, in dB: the last one, moved, turned and scaled back, against the
/// first, over the sprite's surroundings. None if hardly anything is left of it at the end, or all of that lies outside the frame.
pub(crate) fn kept(frames: &[Vec<u8>], side: usize, poses: &[Pose]) -> Option<f64> {
    let (first, last) = (frames.first()?, frames.last()?);
    let pose = poses.last().filter(|pose| pose.alpha > 0.5)?;
    let origin = Foreground::of(first, side).extent()?;
    let centre = [
        origin.x + pose.x * side as f32,
        origin.y + pose.y * side as f32,
    ];
    let (sin, cos) = pose.angle.sin_cos();
    let reach = (2.0 * origin.spread).ceil() as i32;
    let (mut sum, mut count) = (0.0, 0usize);
    for (u, v) in (-reach..=reach).flat_map(|v| (-reach..=reach).map(move |u| (u as f32, v as f32)))
    {
        let (x, y) = (
            pose.size * (u * cos - v * sin),
            pose.size * (u * sin + v * cos),
        );
        let before = colour(first, side, origin.x + u, origin.y + v);
        let after = colour(last, side, centre[0] + x, centre[1] + y);
        if let (Some(before), Some(after)) = (before, after) {
            let pairs = before.iter().zip(&after);
            sum += pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / 3.0;
            count += 1;
        }
    }
    let mean = sum / count as f64;
    (count > 0).then(|| 10.0 * (255.0 * 255.0 / mean.max(1e-3)).log10())
}

/// The colour at a place of a frame, between its pixels; none outside of it.
fn colour(frame: &[u8], side: usize, x: f32, y: f32) -> Option<[f32; 3]> {
    let last = (side - 1) as f32;
    if !(0.0..=last).contains(&x) || !(0.0..=last).contains(&y) {
        return None;
    }
    let (left, top) = (x.floor() as usize, y.floor() as usize);
    let (right, bottom) = ((left + 1).min(side - 1), (top + 1).min(side - 1));
    let (fx, fy) = (x.fract(), y.fract());
    Some(std::array::from_fn(|channel| {
        let at = |x: usize, y: usize| f32::from(frame[3 * (y * side + x) + channel]);
        let row = |y: usize| at(left, y) * (1.0 - fx) + at(right, y) * fx;
        row(top) * (1.0 - fy) + row(bottom) * fy
    }))
}

/// The rotation at which the sprite is most like `upright`; of about equally good ones the nearest to `before`.
fn rotation(sprite: &Foreground, extent: Extent, upright: &[f32], before: f32) -> f32 {
    use std::f32::consts::{PI, TAU};
    let wrap = |angle: f32| (angle + PI).rem_euclid(TAU) - PI;
    let costs: Vec<(f32, f32)> = (0..ROTATIONS)
        .map(|n| {
            let angle = wrap(before + (n as f32 / ROTATIONS as f32) * TAU);
            let window = sprite.window(extent, angle);
            let error = window.iter().zip(upright).map(|(a, b)| (a - b).powi(2));
            (angle, error.sum::<f32>())
        })
        .collect();
    let best = costs.iter().map(|c| c.1).fold(f32::INFINITY, f32::min);
    let near = costs.iter().filter(|(_, cost)| *cost <= 1.05 * best + 1e-6);
    let nearest = near.min_by(|a, b| {
        let far = |angle: f32| wrap(angle - before).abs();
        far(a.0).total_cmp(&far(b.0))
    });
    let angle = nearest.map_or(before, |(angle, _)| *angle);
    before + wrap(angle - before)
}

/// The motion whose poses are nearest to the tracked ones, and its distance.
pub(crate) fn recognise(poses: &[Pose]) -> (Motion, f32) {
    let last = poses.len().saturating_sub(1).max(1) as f32;
    let distance = |motion: Motion| {
        let errors = poses.iter().enumerate().map(|(i, pose)| {
            let wanted = motion.pose(i as f32 / last, 1.0);
            let place = (pose.x - wanted.x).powi(2) + (pose.y - wanted.y).powi(2);
            let size = (pose.size.max(0.05) / wanted.size).ln().clamp(-1.5, 1.5);
            // An invisible sprite has no place, size or angle.
            let visible = wanted.alpha.min(1.0);
            let angle = (pose.angle - wanted.angle).clamp(-2.0, 2.0);
            let alpha = pose.alpha.min(1.0) - wanted.alpha;
            visible * (place / 0.01 + size * size / 0.06 + angle * angle / 1.0)
                + alpha * alpha / 0.09
        });
        errors.sum::<f32>() / poses.len() as f32
    };
    let all = Motion::ALL.map(|motion| (motion, distance(motion)));
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
    fn what_moves_as_a_whole_keeps_its_looks() {
        for motion in [Motion::SlideLeft, Motion::RotateClockwise, Motion::ZoomIn] {
            let frames = sprite().clip(motion, 0.5, 17, 64, [255; 3]);
            let poses = track(&frames, 64);
            let whole = kept(&frames, 64, &poses).unwrap();
            assert!(whole > 18.0, "{motion:?}: {whole}");
            // The same with another colour at the end.
            let mut other = frames.clone();
            let pale = |&byte: &u8| byte / 2 + 120;
            other[16] = other[16].iter().map(pale).collect();
            let faded = kept(&other, 64, &poses).unwrap();
            assert!(faded < whole - 3.0, "{motion:?}: {faded}, {whole}");
        }
        let frames = sprite().clip(Motion::FadeOut, 0.5, 17, 64, [255; 3]);
        assert_eq!(kept(&frames, 64, &track(&frames, 64)), None);
    }

    #[test]
    fn a_still_clip_of_nothing_does_not_move() {
        let poses = track(&vec![vec![255; 3 * 64]; 3], 8);
        assert!(poses.iter().all(|pose| *pose == Pose::resting(1.0)));
    }
}
