//! Panels: some columns of the right factor, in the order in which the kernel reads them.

use burn::tensor::{bf16, f16};

/// Numbers of the right factor, as they are stored.
#[derive(Debug, Clone, Copy)]
pub enum Numbers<'a> {
    /// f32.
    F32(&'a [f32]),
    /// bf16.
    Bf16(&'a [bf16]),
    /// f16.
    F16(&'a [f16]),
    /// Integers of 8 bits.
    Int8(&'a [i8]),
}

impl Numbers<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::Bf16(x) => x.len(),
            Self::F16(x) => x.len(),
            Self::Int8(x) => x.len(),
        }
    }
}

/// Packs `[k, n]` of the factor, from the number `at` on, as panels `[panels, k, W]` of f32, padded with zeros. `strides` are those
/// of rows and columns.
#[inline(always)]
pub(super) fn pack<const W: usize>(
    numbers: Numbers,
    at: usize,
    [k, n]: [usize; 2],
    strides: [usize; 2],
    packed: &mut Vec<f32>,
) {
    packed.resize(n.div_ceil(W) * k * W, 0.0);
    match numbers {
        Numbers::F32(x) => panels::<W, _>(&x[at..], [k, n], strides, packed, |x| x),
        Numbers::Bf16(x) => {
            let convert = |x: bf16| f32::from_bits(u32::from(x.to_bits()) << 16);
            panels::<W, _>(&x[at..], [k, n], strides, packed, convert);
        }
        Numbers::F16(x) => panels::<W, _>(&x[at..], [k, n], strides, packed, f16::to_f32),
        Numbers::Int8(x) => panels::<W, _>(&x[at..], [k, n], strides, packed, f32::from),
    }
}

/// Converts a row of a panel. A loop of its own is compiled to operations on whole registers.
#[inline(always)]
fn widen<const W: usize, T: Copy>(from: &[T; W], to: &mut [f32; W], convert: impl Fn(T) -> f32) {
    let mut line = [0.0; W];
    for (to, &x) in line.iter_mut().zip(from) {
        *to = convert(x);
    }
    *to = line;
}

#[inline(always)]
fn panels<const W: usize, T: Copy>(
    from: &[T],
    [k, n]: [usize; 2],
    [row, column]: [usize; 2],
    packed: &mut [f32],
    convert: impl Fn(T) -> f32 + Copy,
) {
    let size = k * W;
    if column == 1 {
        // Row by row: reads run through memory in its order.
        for p in 0..k {
            let line = &from[p * row..][..n];
            let (whole, rest) = line.as_chunks::<W>();
            for (panel, numbers) in whole.iter().enumerate() {
                let to = packed[panel * size + p * W..].first_chunk_mut::<W>();
                widen(numbers, to.expect("a row of a panel"), convert);
            }
            if !rest.is_empty() {
                let to = &mut packed[whole.len() * size + p * W..][..W];
                to.fill(0.0);
                for (to, &x) in to.iter_mut().zip(rest) {
                    *to = convert(x);
                }
            }
        }
        return;
    }
    for (panel, to) in packed.chunks_exact_mut(size).enumerate() {
        let count = W.min(n - panel * W);
        if count < W {
            to.fill(0.0);
        }
        for j in 0..count {
            let line = from[(panel * W + j) * column..].iter().step_by(row);
            for (to, &x) in to.iter_mut().skip(j).step_by(W).zip(line) {
                *to = convert(x);
            }
        }
    }
}
