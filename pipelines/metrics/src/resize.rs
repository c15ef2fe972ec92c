//! Resizing exactly as the packages do: PyTorch's and TensorFlow 1's bilinear interpolation, and Pillow's bicubic one in floating point
//! and in 8 bits.

use image::RgbImage;

/// How images are resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    /// `F.interpolate(mode="bilinear", align_corners=False)`: pixel centres, no anti-aliasing.
    Bilinear,
    /// `tf.image.resize_bilinear` of TensorFlow 1: pixel corners, no anti-aliasing.
    Tensorflow,
    /// `PIL.Image.BICUBIC` of an image of mode F: with anti-aliasing.
    Bicubic,
}

/// One pixel of the result: the first pixel that it is a sum of, and the weights of that one and the next ones.
type Taps = (usize, Vec<f64>);

/// An image resized to `[height, width]`: all red values, then green, then blue, in 0..=255, as they would be in an image of one channel.
pub(crate) fn planes(image: &RgbImage, [height, width]: [usize; 2], filter: Filter) -> Vec<f32> {
    let (w, h) = (image.width() as usize, image.height() as usize);
    let (across, down) = (taps(filter, w, width), taps(filter, h, height));
    let pixels = image.as_raw();
    let mut all = Vec::with_capacity(3 * height * width);
    for channel in 0..3 {
        let at = |x: usize, y: usize| f64::from(pixels[(y * w + x) * 3 + channel]);
        let mut rows = vec![0.0f32; h * width];
        for y in 0..h {
            for (x, (first, weights)) in across.iter().enumerate() {
                let values = weights.iter().enumerate();
                let sum: f64 = values.map(|(i, k)| at(first + i, y) * k).sum();
                rows[y * width + x] = sum as f32;
            }
        }
        for (first, weights) in &down {
            for x in 0..width {
                let values = weights.iter().enumerate();
                let one = |(i, k): (usize, &f64)| f64::from(rows[(first + i) * width + x]) * k;
                all.push(values.map(one).sum::<f64>() as f32);
            }
        }
    }
    if filter == Filter::Bicubic {
        all.iter_mut()
            .for_each(|value| *value = value.clamp(0.0, 255.0));
    }
    all
}

/// As Pillow resizes an 8-bit image with `BICUBIC`: in integers, rounded after each axis.
pub(crate) fn bicubic_8bit(image: &RgbImage, [height, width]: [usize; 2]) -> RgbImage {
    let (w, h) = (image.width() as usize, image.height() as usize);
    let pixels = image.as_raw();
    let across = fixed(taps(Filter::Bicubic, w, width));
    let down = fixed(taps(Filter::Bicubic, h, height));
    let mut rows = vec![0u8; h * width * 3];
    for y in 0..h {
        for (x, (first, weights)) in across.iter().enumerate() {
            for channel in 0..3 {
                let from = |i: usize| pixels[(y * w + first + i) * 3 + channel];
                rows[(y * width + x) * 3 + channel] = weighted(weights, from);
            }
        }
    }
    let rows = if w == width { pixels } else { &rows };
    let mut all = Vec::with_capacity(height * width * 3);
    for (first, weights) in &down {
        for at in 0..width * 3 {
            all.push(weighted(weights, |i| rows[(first + i) * width * 3 + at]));
        }
    }
    if h == height {
        all.copy_from_slice(rows);
    }
    RgbImage::from_raw(width as u32, height as u32, all).expect("three bytes a pixel")
}

/// Bits after the point of Pillow's weights.
const BITS: u32 = 22;

fn fixed(taps: Vec<Taps>) -> Vec<(usize, Vec<i64>)> {
    let round = |weight: f64| (weight * f64::from(1 << BITS)).round() as i64;
    let one = |(first, weights): Taps| (first, weights.into_iter().map(round).collect());
    taps.into_iter().map(one).collect()
}

fn weighted(weights: &[i64], value: impl Fn(usize) -> u8) -> u8 {
    let products = weights.iter().enumerate();
    let sum: i64 = products.map(|(i, k)| i64::from(value(i)) * k).sum();
    ((sum + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8
}

/// The weights of each of `to` pixels that replace `from`.
fn taps(filter: Filter, from: usize, to: usize) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let one = |i: usize| match filter {
        Filter::Bilinear => between(((i as f64 + 0.5) * scale - 0.5).max(0.0), from),
        Filter::Tensorflow => between(i as f64 * scale, from),
        Filter::Bicubic => cubic_taps(i, scale, from),
    };
    (0..to).map(one).collect()
}

/// The two pixels around a place, and how near each is.
fn between(place: f64, from: usize) -> Taps {
    let first = (place.floor() as usize).min(from - 1);
    let share = place - first as f64;
    if first + 1 < from {
        (first, vec![1.0 - share, share])
    } else {
        (first, vec![1.0])
    }
}

/// Pillow's `precompute_coeffs` for the bicubic filter.
fn cubic_taps(i: usize, scale: f64, from: usize) -> Taps {
    let wide = scale.max(1.0);
    let (support, centre) = (2.0 * wide, (i as f64 + 0.5) * scale);
    let first = (centre - support + 0.5).max(0.0) as usize;
    let last = ((centre + support + 0.5) as usize).min(from);
    let weight = |x: usize| cubic((x as f64 - centre + 0.5) / wide);
    let weights: Vec<f64> = (first..last).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    (first, weights.into_iter().map(|k| k / sum).collect())
}

/// Keys' cubic convolution with a = -0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}
