//! Small changes of an image that keep its meaning: scale, shift, mirror. Plain Rust, no tensors.

use rand::Rng;
use serde::{Deserialize, Serialize};

/// How much an image may change, as training configurations say it under `augment`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Chance of a background of any colour instead of white, 0 to 1. Only for tokenizers: transformers take the
    /// background that the caption names.
    pub colour: f64,
    /// Smallest and largest scale about the centre.
    pub scale: (f32, f32),
    /// Largest shift along each axis, as a fraction of the side.
    pub shift: f32,
    /// Chance of mirroring an image that may be mirrored, 0 to 1.
    pub flip: f64,
    /// Chance of leaving the image unchanged, 0 to 1.
    pub keep: f64,
}

impl Default for Augment {
    fn default() -> Self {
        Augment {
            colour: 0.3,
            scale: (0.85, 1.05),
            shift: 0.05,
            flip: 0.5,
            keep: 0.25,
        }
    }
}

impl Augment {
    /// A random change; `may_flip` is the entry's `flip`.
    pub(crate) fn sample(&self, may_flip: bool, rng: &mut impl Rng) -> Change {
        let mirror = rng.random_bool(self.flip) && may_flip;
        if rng.random_bool(self.keep) {
            return Change {
                mirror,
                ..Change::NONE
            };
        }
        let (least, most) = self.scale;
        Change {
            scale: least + (most - least) * rng.random::<f32>(),
            dx: self.shift * (2.0 * rng.random::<f32>() - 1.0),
            dy: self.shift * (2.0 * rng.random::<f32>() - 1.0),
            mirror,
        }
    }
}

/// One change of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Change {
    /// Scale about the centre.
    pub scale: f32,
    /// Shift to the right, as a fraction of the width.
    pub dx: f32,
    /// Shift down, as a fraction of the height.
    pub dy: f32,
    /// Whether the image is flipped left to right, before the shift.
    pub mirror: bool,
}

impl Change {
    /// None at all.
    pub const NONE: Self = Self {
        scale: 1.0,
        dx: 0.0,
        dy: 0.0,
        mirror: false,
    };

    /// Applies the change to premultiplied RGB and alpha of an image of `width` x `height` pixels, bilinear;
    /// outside the image alpha is 0.
    pub fn apply(
        &self,
        rgb: &[u8],
        alpha: &[u8],
        [width, height]: [usize; 2],
    ) -> (Vec<u8>, Vec<u8>) {
        let (mut out, mut out_alpha) = (vec![0; rgb.len()], vec![0; alpha.len()]);
        let columns = taps(width, self.scale, self.dx, self.mirror);
        let rows = taps(height, self.scale, self.dy, false);
        for (y, row) in rows.iter().enumerate() {
            for (x, column) in columns.iter().enumerate() {
                let mut sum = [0.0f32; 4];
                for (sy, wy) in row {
                    for (sx, wx) in column {
                        let (weight, at) = (wy * wx, sy * width + sx);
                        if weight > 0.0 {
                            for c in 0..3 {
                                sum[c] += weight * f32::from(rgb[at * 3 + c]);
                            }
                            sum[3] += weight * f32::from(alpha[at]);
                        }
                    }
                }
                let at = y * width + x;
                for c in 0..3 {
                    out[at * 3 + c] = (sum[c] + 0.5) as u8;
                }
                out_alpha[at] = (sum[3] + 0.5) as u8;
            }
        }
        (out, out_alpha)
    }
}

/// For every output position the two source positions and their weights; the weight is 0 outside.
fn taps(size: usize, scale: f32, shift: f32, mirror: bool) -> Vec<[(usize, f32); 2]> {
    let side = size as f32;
    let tap = |i: usize| {
        let centred = (i as f32 + 0.5 - side / 2.0 - shift * side) / scale;
        let at = side / 2.0 - 0.5 + if mirror { -centred } else { centred };
        let (low, part) = (at.floor(), at - at.floor());
        let inside = |p: f32, w: f32| {
            if p >= 0.0 && p < side {
                (p as usize, w)
            } else {
                (0, 0.0)
            }
        };
        [inside(low, 1.0 - part), inside(low + 1.0, part)]
    };
    (0..size).map(tap).collect()
}

/// Premultiplied RGB over a background: `rgb + (255 - alpha) * background / 255`, rounded.
pub(crate) fn composite(rgb: &[u8], alpha: &[u8], background: [u8; 3]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rgb.len());
    for (pixel, alpha) in rgb.chunks_exact(3).zip(alpha) {
        let rest = 255 - u32::from(*alpha);
        for (value, back) in pixel.iter().zip(background) {
            let sum = u32::from(*value) + (rest * u32::from(back) + 127) / 255;
            out.push(sum.min(255) as u8);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn gradient(size: usize) -> (Vec<u8>, Vec<u8>) {
        let alpha: Vec<u8> = (0..size * size)
            .map(|i| (i * 255 / (size * size)) as u8)
            .collect();
        (alpha.iter().flat_map(|a| [*a, a / 2, 0]).collect(), alpha)
    }

    #[test]
    fn no_change_is_the_same_image_and_two_mirrors_too() {
        let (rgb, alpha) = gradient(8);
        assert_eq!(
            Change::NONE.apply(&rgb, &alpha, [8; 2]),
            (rgb.clone(), alpha.clone())
        );
        let mirror = Change {
            mirror: true,
            ..Change::NONE
        };
        let (r, a) = mirror.apply(&rgb, &alpha, [8; 2]);
        assert_ne!(a, alpha);
        assert_eq!(a[0], alpha[7]);
        assert_eq!(mirror.apply(&r, &a, [8; 2]), (rgb, alpha));
    }

    #[test]
    fn a_shift_by_one_pixel_moves_by_one_pixel() {
        let (rgb, alpha) = gradient(8);
        let shift = Change {
            dx: 0.125,
            ..Change::NONE
        };
        let (_, a) = shift.apply(&rgb, &alpha, [8; 2]);
        assert_eq!(a[0], 0);
        assert_eq!(a[1..8], alpha[0..7]);
    }

    #[test]
    fn a_rectangle_is_mirrored_and_shifted_by_its_own_sides() {
        let rgb: Vec<u8> = (1..=8).flat_map(|i| [i * 10; 3]).collect();
        let change = Change {
            mirror: true,
            dy: 0.5,
            ..Change::NONE
        };
        let (r, a) = change.apply(&rgb, &[255; 8], [4, 2]);
        assert_eq!(a, [0, 0, 0, 0, 255, 255, 255, 255]);
        let reds: Vec<u8> = r.iter().step_by(3).copied().collect();
        assert_eq!(reds, [0, 0, 0, 0, 40, 30, 20, 10]);
    }

    #[test]
    fn colour_stays_below_alpha_and_the_same_seed_gives_the_same_change() {
        let (rgb, alpha) = gradient(16);
        let draw = |seed, may_flip| {
            Augment::default().sample(may_flip, &mut ChaCha8Rng::seed_from_u64(seed))
        };
        assert_eq!(draw(3, true), draw(3, true));
        for seed in 0..20 {
            let change = draw(seed, true);
            assert!((0.85..=1.05).contains(&change.scale));
            let (r, a) = change.apply(&rgb, &alpha, [16; 2]);
            assert!(
                r.chunks_exact(3)
                    .zip(&a)
                    .all(|(p, a)| p.iter().all(|c| c <= a))
            );
            assert!(!draw(seed, false).mirror);
        }
    }
}
