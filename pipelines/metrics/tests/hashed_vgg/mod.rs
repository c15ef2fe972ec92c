//! Weights of VGG16 and LPIPS that any language can make again: hashes of integers (SplitMix64). The reference values in
//! `tests/fixtures/lpips.safetensors` were made by the Python package lpips 0.1.4 with the same weights.

#![allow(dead_code)] // each test uses some of it

use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

/// Channels of each level and its convolutions; see `src/lpips/network.rs`.
const LEVELS: [(usize, usize); 5] = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)];

/// The hash of element `i` of tensor `number`.
pub fn hash(number: u64, i: u64) -> u64 {
    let z = ((number << 32) + i).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `count` values of tensor `number`, each `map` of a number in [-0.5, 0.5).
pub fn values(number: u64, count: usize, map: impl Fn(f64) -> f64) -> Vec<f32> {
    let value = |i: u64| (hash(number, i) >> 40) as f64 / (1u64 << 24) as f64 - 0.5;
    let all = (0..count as u64).map(|i| map(value(i)) as f32);
    all.collect()
}

/// A tensor: name, shape, values.
pub type Named = (String, Vec<usize>, Vec<f32>);

/// All convolutions; `name` gives the name of the one at a level and a position in torchvision's list.
pub fn convolutions(name: impl Fn(usize, usize) -> String) -> Vec<Named> {
    let (mut tensors, mut at, mut from) = (Vec::new(), 0, 3);
    for (level, &(to, depth)) in LEVELS.iter().enumerate() {
        for _ in 0..depth {
            let (number, name) = (tensors.len() as u64, name(level, at));
            let bound = 2.0 * (6.0 / (9 * from) as f64).sqrt();
            let weight = values(number, to * from * 9, |v| v * bound);
            let bias = values(number + 1, to, |v| v * 0.1);
            tensors.push((format!("{name}.weight"), vec![to, from, 3, 3], weight));
            tensors.push((format!("{name}.bias"), vec![to], bias));
            (at, from) = (at + 2, to);
        }
        at += 1;
    }
    tensors
}

/// The name of a convolution in torchvision's file.
pub fn torchvision(_level: usize, at: usize) -> String {
    format!("features.{at}")
}

/// The weights of the channels under the names `{prefix}0.model.1.weight`, ..
pub fn lins(prefix: &str) -> Vec<Named> {
    let one = |(level, &(channels, _)): (usize, &(usize, usize))| {
        let values = values(26 + level as u64, channels, |v| v.abs() * 2.0);
        let name = format!("{prefix}{level}.model.1.weight");
        (name, vec![1, channels, 1, 1], values)
    };
    LEVELS.iter().enumerate().map(one).collect()
}

/// Writes tensors as safetensors.
pub fn save(path: &Path, tensors: &[Named]) {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (name.clone(), view)
    });
    serialize_to_file(views, None, path).unwrap();
}
