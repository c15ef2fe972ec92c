//! Convolutions of numbers that are rounded to bf16, with sums of f32, on AMX: for training, whose other numbers stay f32.
//!
//! As in [`kernel`](super::kernel) all three products are wide. What they read is rounded before it is copied into columns: pairs of
//! channels for the convolution, pairs of cells for the gradient of the weights, as the instruction takes them.

use std::cell::RefCell;

use rayon::prelude::*;

use super::columns::{Geometry, Piece};
use super::kernel::{gather, store, turned};
use crate::product::bf16::amx::{Left, Right, pair, rounded};
use crate::product::shared::Shared;

pub(super) use crate::product::bf16::amx::is_available;

/// What a block needs, reused from block to block: fresh memory would be written twice.
#[derive(Default)]
struct Room {
    /// Columns in pairs of channels.
    pairs: Vec<u32>,
    /// Columns.
    halves: Vec<u16>,
    /// Gradients of the output.
    outputs: Vec<f32>,
    left: Left,
    right: Right,
    result: Vec<f32>,
    sum: Vec<f32>,
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

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
    let pairs = halved.taps();
    let weights = pairs_of_channels(weight, c, g.kernel * g.kernel);
    let left = Left::of_pairs(&weights, [channels, pairs]);
    let x = pairs_of_channels(x, c, h * w);
    let blocks = halved.blocks();
    // SAFETY: the blocks are all output planes.
    unsafe {
        Shared::fill(g.b * channels * g.plane(), |shared| {
            let work = |block: &Vec<Piece>, room: &mut Room| {
                let columns = halved.columns(&x, block, &mut room.pairs);
                let width = halved.width(block);
                room.right.set_pairs(columns, [pairs, width]);
                let result = left.multiply(&room.right, &mut room.result);
                if let Some(bias) = bias {
                    for (row, bias) in result.chunks_exact_mut(width).zip(bias) {
                        row.iter_mut().for_each(|sum| *sum += bias);
                    }
                }
                store(g, block, result, shared);
            };
            let blocks = blocks.par_iter();
            blocks.for_each(|block| ROOM.with_borrow_mut(|room| work(block, room)));
        })
    }
}

/// Planes of `size` cells in pairs, for each image of `channels` (each row of weights, whose planes are kernels); an odd last channel is
/// paired with zeros.
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

/// Numbers in a block of columns that are summed: two megabytes.
const SUMMED: usize = 1 << 20;

/// As [`kernel::weight_gradient`](super::kernel::weight_gradient).
pub(super) fn weight_gradient(g: &Geometry, x: &[f32], grad: &[f32]) -> Vec<f32> {
    let (channels, taps) = (g.output[0], g.taps());
    assert_eq!(x.len(), g.b * g.input.iter().product::<usize>());
    assert_eq!(grad.len(), g.b * channels * g.plane());
    let x: Vec<u16> = x.par_iter().map(|&x| rounded(x) as u16).collect();
    // Wide, because every block adds to all sums.
    let blocks = g.blocks_of((SUMMED / taps).clamp(64, 2048));
    let each = blocks.len().div_ceil(rayon::current_num_threads()).max(1);
    let sums = blocks.par_chunks(each).map(|blocks| {
        ROOM.with_borrow_mut(|room| {
            let Room {
                halves,
                outputs,
                left,
                right,
                result,
                sum,
                ..
            } = room;
            for (i, block) in blocks.iter().enumerate() {
                let width = g.width(block);
                let columns = g.columns(&x, block, halves);
                gather(g, block, grad, outputs);
                left.set_halves(columns, [taps, width]);
                right.set_rows(outputs, [channels, width]);
                // The gradient of each tap, `[taps, c']`.
                if i == 0 {
                    left.multiply(right, sum);
                } else {
                    let part = left.multiply(right, result);
                    let both = sum.iter_mut().zip(part);
                    both.for_each(|(sum, part)| *sum += *part);
                }
            }
            transposed(&sum[..taps * channels], [taps, channels])
        })
    });
    let sum = sums.reduce_with(|mut a, b| {
        a.iter_mut().zip(&b).for_each(|(a, b)| *a += b);
        a
    });
    sum.unwrap_or_else(|| vec![0.0; taps * channels])
}

/// Rows on either side of a block whose transposition stays in the cache.
const BLOCK: usize = 16;

/// The columns of `x`, `[rows, columns]`, as rows.
fn transposed(x: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    let blocks = out.chunks_mut(BLOCK * rows.max(1)).enumerate();
    blocks.for_each(|(block, out)| {
        for (i, row) in x.chunks_exact(columns).enumerate() {
            let row = &row[block * BLOCK..][..out.len() / rows];
            row.iter()
                .enumerate()
                .for_each(|(j, x)| out[j * rows + i] = *x);
        }
    });
    out
}

/// As [`kernel::input_gradient`](super::kernel::input_gradient).
pub(super) fn input_gradient(g: &Geometry, weight: &[f32], grad: &[f32]) -> Vec<f32> {
    let (back, turned) = turned(g, weight);
    forward(&back, grad, &turned, None)
}
