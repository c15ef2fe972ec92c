//! Convolution on the CPU as a matrix product (im2col).
//!
//! The backend's convolution converts everything to channels-last and back, and computes the gradient of the weights as a
//! convolution with an image-sized kernel, whose matrix products are nine columns wide. Here all three products are wide
//! and read the planes as they are in memory, in cache-sized blocks of columns.

use rayon::prelude::*;

use super::columns::{Geometry, Piece};
use super::product::Product;
use crate::product::shared::Shared;

/// `[b, c, h, w]` and weights `[c', c, k, k]` to `[b, c', h', w']`, plus `bias` `[c']` if there is one.
pub(super) fn forward(g: &Geometry, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let channels = g.output[0];
    assert_eq!(x.len(), g.b * g.input.iter().product::<usize>());
    assert_eq!(weight.len(), channels * g.taps());
    let blocks = g.blocks();
    // SAFETY: the blocks are all output planes.
    unsafe {
        Shared::fill(g.b * channels * g.plane(), |shared| {
            let work = |(columns, result): &mut (Vec<f32>, Vec<f32>), block: &Vec<Piece>| {
                let columns = g.columns(x, block, columns);
                multiply(g, weight, columns, bias, result);
                store(g, block, result, shared);
            };
            blocks.par_iter().for_each_init(Default::default, work);
        })
    }
}

/// The product of the weights and a block of `columns`, plus `bias`: `result` is `[c', width]`.
fn multiply(
    g: &Geometry,
    weight: &[f32],
    columns: &[f32],
    bias: Option<&[f32]>,
    result: &mut Vec<f32>,
) {
    let (channels, taps) = (g.output[0], g.taps());
    let width = columns.len() / taps;
    result.clear();
    match bias {
        Some(bias) => bias
            .iter()
            .for_each(|&b| result.extend(std::iter::repeat_n(b, width))),
        None => result.resize(channels * width, 0.0),
    }
    let product = Product {
        m: channels,
        n: width,
        k: taps,
        a: (taps, 1),
        b: (width, 1),
        c: (width, 1),
        add: bias.is_some(),
    };
    // SAFETY: `forward` checked the weights, the columns are `[taps, width]`, and the result was made here.
    unsafe { product.run(weight.as_ptr(), columns.as_ptr(), result.as_mut_ptr()) };
}

/// Copies the `result` of a block, `[c', width]`, to its pieces of the output planes.
pub(super) fn store(g: &Geometry, block: &[Piece], result: &[f32], out: &Shared) {
    let (width, plane) = (g.width(block), g.plane());
    let mut at = 0;
    for piece in block {
        let len = (piece.end - piece.start) * g.output[2];
        let first = piece.image * g.output[0] * plane + piece.start * g.output[2];
        for c in 0..g.output[0] {
            let from = &result[c * width + at..][..len];
            // SAFETY: pieces do not overlap, and `first + c * plane + len` is in this image's plane.
            unsafe { out.write(first + c * plane, from) };
        }
        at += len;
    }
}

/// Gradient of the weights, `[c', c, k, k]`, given that of the output.
pub(super) fn weight_gradient(g: &Geometry, x: &[f32], grad: &[f32]) -> Vec<f32> {
    let channels = g.output[0];
    let taps = g.taps();
    assert_eq!(x.len(), g.b * g.input.iter().product::<usize>());
    assert_eq!(grad.len(), g.b * channels * g.plane());
    let blocks = g.blocks();
    let each = blocks.len().div_ceil(rayon::current_num_threads()).max(1);
    let sums = blocks.par_chunks(each).map(|blocks| {
        let mut sum = vec![0.0; channels * taps];
        let (mut room, mut outputs) = (Vec::new(), Vec::new());
        for block in blocks {
            let width = g.width(block);
            let columns = g.columns(x, block, &mut room);
            gather(g, block, grad, &mut outputs);
            let product = Product {
                m: channels,
                n: taps,
                k: width,
                a: (width, 1),
                b: (1, width),
                c: (taps, 1),
                add: true,
            };
            // outputs is [channels, width], columns [taps, width], sum [channels, taps].
            unsafe { product.run(outputs.as_ptr(), columns.as_ptr(), sum.as_mut_ptr()) };
        }
        sum
    });
    sums.reduce_with(|mut a, b| {
        a.iter_mut().zip(&b).for_each(|(a, b)| *a += b);
        a
    })
    .unwrap_or_else(|| vec![0.0; channels * taps])
}

/// The numbers of a block of all output planes: `[c', width]`.
pub(super) fn gather(g: &Geometry, block: &[Piece], planes: &[f32], outputs: &mut Vec<f32>) {
    let (channels, plane) = (g.output[0], g.plane());
    outputs.clear();
    for c in 0..channels {
        for piece in block {
            let len = (piece.end - piece.start) * g.output[2];
            let first = (piece.image * channels + c) * plane + piece.start * g.output[2];
            outputs.extend_from_slice(&planes[first..first + len]);
        }
    }
}

/// Gradient of the bias, `[c']`, given that of the output.
pub(super) fn bias_gradient(g: &Geometry, grad: &[f32]) -> Vec<f32> {
    let channels = g.output[0];
    let mut sum = vec![0.0; channels];
    for (i, plane) in grad.chunks_exact(g.plane()).enumerate() {
        sum[i % channels] += plane.iter().sum::<f32>();
    }
    sum
}

/// Gradient of the input for stride 1: the convolution of the output's gradient with the flipped kernel.
pub(super) fn input_gradient(g: &Geometry, weight: &[f32], grad: &[f32]) -> Vec<f32> {
    let (back, turned) = turned(g, weight);
    forward(&back, grad, &turned, None)
}

/// The convolution, for stride 1, that makes the gradient of the input of that of the output; and its weights, the flipped kernel.
pub(super) fn turned(g: &Geometry, weight: &[f32]) -> (Geometry, Vec<f32>) {
    assert_eq!(g.stride, 1, "the flipped kernel needs stride 1");
    let (from, to, k) = (g.output[0], g.input[0], g.kernel * g.kernel);
    let mut turned = vec![0.0; weight.len()];
    // In blocks, so that what is written lies together.
    for block in (0..from).step_by(16) {
        let block = block..from.min(block + 16);
        for (i, row) in turned.chunks_exact_mut(from * k).enumerate() {
            let targets = row[block.start * k..block.end * k].chunks_exact_mut(k);
            for (o, target) in block.clone().zip(targets) {
                let source = &weight[(o * to + i) * k..][..k];
                target
                    .iter_mut()
                    .zip(source.iter().rev())
                    .for_each(|(t, s)| *t = *s);
            }
        }
    }
    let back = Geometry {
        b: g.b,
        input: g.output,
        output: g.input,
        kernel: g.kernel,
        stride: 1,
        before: g.kernel - 1 - g.before,
    };
    (back, turned)
}
