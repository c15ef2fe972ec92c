//! Convolutions of numbers that are rounded to bf16, with sums of f32, on AMX: for training, whose other numbers stay f32.
//!
//! As in [`kernel`](super::kernel) all three products are wide. What they read is rounded before it is copied into columns: pairs of
//! channels for the convolution, pairs of cells for the gradient of the weights, as the instruction takes them.

use rayon::prelude::*;

use super::columns::{Geometry, Piece};
use super::kernel::{gather, store, turned};
use super::product::Shared;
use crate::product::bf16::amx::{Left, Right, pair, rounded};

pub(super) use crate::product::bf16::amx::is_available;

/// As [`kernel::forward`](super::kernel::forward).
pub(super) fn forward(g: &Geometry, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let channels = g.output[0];
    assert_eq!(x.len(), g.b * g.input.iter().product::<usize>());
    assert_eq!(weight.len(), channels * g.taps());
    let [c, h, w] = g.input;
    let halved = Geometry {
        input: [c.div_ceil(2), h, w],
        ..*g
    };
    let (taps, pairs) = (g.kernel * g.kernel, halved.taps());
    let row = |i: usize| {
        // The pairs of channels of an output channel, with all their taps.
        let weight = &weight[i / pairs * c * taps..][..c * taps];
        let (pair_of_channels, tap) = (i % pairs / taps, i % taps);
        let at = 2 * pair_of_channels * taps + tap;
        pair(weight[at], weight.get(at + taps).copied().unwrap_or(0.0))
    };
    let weights: Vec<u32> = (0..channels * pairs).map(row).collect();
    let left = Left::of_pairs(&weights, [channels, pairs]);
    let x = pairs_of_channels(x, c, h * w);
    let blocks = halved.blocks();
    // SAFETY: the blocks are all output planes.
    unsafe {
        Shared::fill(g.b * channels * g.plane(), |shared| {
            let work = |(columns, right, result): &mut (Vec<u32>, Right, Vec<f32>),
                        block: &Vec<Piece>| {
                halved.columns(&x, block, columns);
                let width = halved.width(block);
                right.set_pairs(columns, [pairs, width]);
                left.multiply(right, result);
                if let Some(bias) = bias {
                    for (row, bias) in result.chunks_exact_mut(width).zip(bias) {
                        row.iter_mut().for_each(|sum| *sum += bias);
                    }
                }
                store(g, block, result, shared);
            };
            blocks.par_iter().for_each_init(Default::default, work);
        })
    }
}

/// Planes of `size` cells in pairs, for each image of `channels`; an odd last channel is paired with zeros.
fn pairs_of_channels(x: &[f32], channels: usize, size: usize) -> Vec<u32> {
    let halves = channels.div_ceil(2);
    let images = x.len() / (channels * size);
    let mut out = vec![0; images * halves * size];
    let planes = out.par_chunks_exact_mut(size).enumerate();
    planes.for_each(|(i, to)| {
        let (image, half) = (i / halves, i % halves);
        let low = &x[(image * channels + 2 * half) * size..][..size];
        if 2 * half + 1 < channels {
            let high = &x[(image * channels + 2 * half + 1) * size..][..size];
            let both = low.iter().zip(high);
            to.iter_mut()
                .zip(both)
                .for_each(|(to, (&low, &high))| *to = pair(low, high));
        } else {
            to.iter_mut()
                .zip(low)
                .for_each(|(to, &low)| *to = rounded(low));
        }
    });
    out
}

/// As [`kernel::weight_gradient`](super::kernel::weight_gradient).
pub(super) fn weight_gradient(g: &Geometry, x: &[f32], grad: &[f32]) -> Vec<f32> {
    let (channels, taps) = (g.output[0], g.taps());
    assert_eq!(x.len(), g.b * g.input.iter().product::<usize>());
    assert_eq!(grad.len(), g.b * channels * g.plane());
    let x: Vec<u16> = x.par_iter().map(|&x| rounded(x) as u16).collect();
    let blocks = g.blocks();
    let each = blocks.len().div_ceil(rayon::current_num_threads()).max(1);
    let sums = blocks.par_chunks(each).map(|blocks| {
        // The gradient of each tap, `[taps, c']`.
        let mut sum = vec![0.0; taps * channels];
        let (mut columns, mut outputs, mut part) = (Vec::new(), Vec::new(), Vec::new());
        let (mut left, mut right) = (Left::default(), Right::default());
        for block in blocks {
            let width = g.width(block);
            g.columns(&x, block, &mut columns);
            gather(g, block, grad, &mut outputs);
            left.set_halves(&columns, [taps, width]);
            right.set_rows(&outputs, [channels, width]);
            left.multiply(&right, &mut part);
            sum.iter_mut()
                .zip(&part)
                .for_each(|(sum, part)| *sum += part);
        }
        sum
    });
    let sum = sums.reduce_with(|mut a, b| {
        a.iter_mut().zip(&b).for_each(|(a, b)| *a += b);
        a
    });
    let sum = sum.unwrap_or_else(|| vec![0.0; taps * channels]);
    let place = |i: usize| sum[i % taps * channels + i / taps];
    (0..channels * taps).map(place).collect()
}

/// As [`kernel::input_gradient`](super::kernel::input_gradient).
pub(super) fn input_gradient(g: &Geometry, weight: &[f32], grad: &[f32]) -> Vec<f32> {
    let (back, turned) = turned(g, weight);
    forward(&back, grad, &turned, None)
}
