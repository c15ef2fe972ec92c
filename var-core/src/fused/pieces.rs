//! What all passes share: their input, their threads, sums.

use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Tensor};
use nextscale_tokenizer::cpu::plain;
use rayon::prelude::*;

/// Sums that a processor adds side by side.
const LANES: usize = 16;
/// Numbers below which one thread does the work.
const SINGLE_THREADED: usize = 1 << 14;
/// Numbers of a piece of work.
const PIECE: usize = 1 << 13;

/// The numbers of a tensor on the CPU in f32; none if the tensor library has to compute.
pub(super) fn contiguous<const D: usize>(x: &Tensor<D>) -> Option<FlexTensor> {
    (x.dtype() == DType::F32)
        .then(|| plain(x))
        .flatten()
        .map(|x| x.to_contiguous())
}

/// Rows of `c` numbers in pieces, on all threads if they are many.
pub(super) fn in_pieces(out: &mut [f32], c: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = (PIECE / c.max(1)).max(1);
    if out.len() < SINGLE_THREADED {
        let pieces = out.chunks_mut(rows * c).enumerate();
        pieces.for_each(|(i, piece)| work(i * rows, piece));
    } else {
        let pieces = out.par_chunks_mut(rows * c).enumerate();
        pieces.for_each(|(i, piece)| work(i * rows, piece));
    }
}

/// Two results of the same length in pieces, on all threads if they are many.
pub(super) fn in_two_pieces([a, b]: [&mut [f32]; 2], work: impl Fn(usize, [&mut [f32]; 2]) + Sync) {
    if a.len() < SINGLE_THREADED {
        return work(0, [a, b]);
    }
    let pieces = a.par_chunks_mut(PIECE).zip(b.par_chunks_mut(PIECE));
    let pieces = pieces.enumerate();
    pieces.for_each(|(i, (a, b))| work(i * PIECE, [a, b]));
}

/// The sum of the numbers less `mean`, or of their squares.
#[inline(always)]
pub(super) fn sum(x: &[f32], mean: f32, squares: bool) -> f32 {
    let mut sums = [0f32; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for numbers in whole {
        for (sum, &x) in sums.iter_mut().zip(numbers) {
            let x = x - mean;
            *sum += if squares { x * x } else { x };
        }
    }
    for (sum, &x) in sums.iter_mut().zip(rest) {
        let x = x - mean;
        *sum += if squares { x * x } else { x };
    }
    sums.iter().sum()
}
