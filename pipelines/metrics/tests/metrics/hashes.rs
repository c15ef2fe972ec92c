//! Weights and images made of hashes of their names, as `tests/official/make_metrics.py` makes them, and the comparison with its figures.

use std::path::Path;

use image::RgbImage;
use nextscale_metrics::features::Rows;
use serde_json::Value;

use crate::hashed_vgg::{Named, hash, values};

/// The number of a tensor: the FNV-1a hash of its name.
pub(crate) fn number(name: &str) -> u64 {
    let step = |h: u32, byte: u8| (h ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    u64::from(name.bytes().fold(0x811c_9dc5, step))
}

pub(crate) fn named(name: &str, count: usize, map: impl Fn(f64) -> f64) -> Vec<f32> {
    values(number(name), count, map)
}

/// A weight as the script makes it; `fan_in` of matrices that are used from the left.
pub(crate) fn weight(name: &str, shape: &[usize], fan_in: Option<usize>) -> Named {
    let count = shape.iter().product();
    let fan_in = fan_in.unwrap_or(shape[1..].iter().product());
    let scale = 2.0 * (6.0 / fan_in as f64).sqrt();
    let is_norm = name.ends_with("running_var") || name.ends_with("weight");
    let values = match shape.len() {
        2.. => named(name, count, |v| v * scale),
        _ if is_norm => named(name, count, |v| 1.0 + v * 0.4),
        _ => named(name, count, |v| v * 0.4),
    };
    (name.to_owned(), shape.to_vec(), values)
}

pub(crate) fn image(name: &str, h: usize, w: usize) -> RgbImage {
    let noise =
        |y: usize, x: usize, c: usize| hash(number(name), ((y * w + x) * 3 + c) as u64) >> 56;
    let near = |at: usize, by: usize, end: usize| (at + by).saturating_sub(1).min(end - 1);
    let smooth = |y, x, c| {
        let one = |i: usize| noise(near(y, i / 3, h), near(x, i % 3, w), c);
        (0..9).map(one).sum::<u64>() / 9
    };
    let value = |i: usize| {
        let (y, x, c) = (i / 3 / w, i / 3 % w, i % 3);
        match name.strip_suffix("smooth") {
            Some(_) => smooth(y, x, c) as u8,
            None => noise(y, x, c) as u8,
        }
    };
    RgbImage::from_raw(w as u32, h as u32, (0..h * w * 3).map(value).collect()).unwrap()
}

pub(crate) fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/metrics.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub(crate) fn number_of(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

pub(crate) fn near(what: &str, ours: f64, theirs: &Value, tolerance: f64) {
    let theirs = number_of(theirs);
    let off = (ours - theirs).abs() / theirs.abs();
    assert!(
        off < tolerance,
        "{what}: {ours} instead of {theirs}, {off:e}"
    );
}

/// The first numbers of each row, its sum and its length, to a thousandth of the largest of the first.
pub(crate) fn rows_near(what: &str, ours: &Rows, theirs: &Value) {
    let theirs = theirs.as_array().unwrap();
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (row, golden) in ours.iter().zip(theirs) {
        let first = golden.as_array().unwrap()[..12].iter().map(number_of);
        let largest = first.clone().fold(0.0, |most: f64, v| most.max(v.abs()));
        for (i, (ours, theirs)) in row.iter().zip(first).enumerate() {
            let off = (f64::from(*ours) - theirs).abs() / largest;
            assert!(off < 1e-4, "{what} {i}: {ours} instead of {theirs}");
        }
        let wide = row.iter().copied().map(f64::from);
        near(what, wide.clone().sum(), &golden[12], 1e-3);
        near(
            what,
            wide.map(|v| v * v).sum::<f64>().sqrt(),
            &golden[13],
            1e-4,
        );
    }
}
