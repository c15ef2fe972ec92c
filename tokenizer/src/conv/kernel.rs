//! Convolution on the CPU as a matrix product (im2col).
//!
//! The backend's convolution converts everything to channels-last and back, and computes the gradient of the weights as a
//! convolution with an image-sized kernel, whose matrix products are nine columns wide. Here all three products are wide
//! and read the planes as they are in memory, in cache-sized blocks of columns.

use rayon::prelude::*;

/// The shapes of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Images.
    pub b: usize,
    /// Input channels, rows, columns.
    pub input: [usize; 3],
    /// Output channels, rows, columns.
    pub output: [usize; 3],
    /// Side of the kernel.
    pub kernel: usize,
    /// 1 or 2.
    pub stride: usize,
    /// Rows of zeros above, and columns of zeros on the left.
    pub before: usize,
}

/// Numbers in a block of columns: half a megabyte.
const BLOCK: usize = 128 * 1024;

/// A piece of an output plane: cells `start .. end` of image `image`.
#[derive(Debug, Clone, Copy)]
struct Piece {
    image: usize,
    start: usize,
    end: usize,
}

impl Geometry {
    /// Rows of the column matrix.
    fn taps(&self) -> usize {
        self.input[0] * self.kernel * self.kernel
    }

    fn plane(&self) -> usize {
        self.output[1] * self.output[2]
    }

    /// Cuts all output planes into blocks of pieces, each with about [`BLOCK`] numbers of columns.
    fn blocks(&self) -> Vec<Vec<Piece>> {
        let [_, h, w] = self.output;
        let columns = (BLOCK / self.taps()).clamp(64, 512);
        let pieces = |image: usize| {
            let rows = (columns / w).clamp(1, h);
            (0..h).step_by(rows).map(move |start| Piece {
                image,
                start,
                end: (start + rows).min(h),
            })
        };
        let all: Vec<Piece> = (0..self.b).flat_map(pieces).collect();
        let together = (columns / self.plane()).max(1);
        all.chunks(together).map(<[Piece]>::to_vec).collect()
    }

    fn width(&self, block: &[Piece]) -> usize {
        block
            .iter()
            .map(|p| (p.end - p.start) * self.output[2])
            .sum()
    }

    /// Writes the columns of a block: `[taps, width]`.
    fn columns(&self, x: &[f32], block: &[Piece], columns: &mut Vec<f32>) {
        let width = self.width(block);
        columns.resize(self.taps() * width, 0.0);
        let size = self.input.iter().product::<usize>();
        let mut at = 0;
        for piece in block {
            let image = &x[piece.image * size..][..size];
            self.piece_columns(image, piece, &mut columns[at..], width);
            at += (piece.end - piece.start) * self.output[2];
        }
    }

    fn piece_columns(&self, image: &[f32], piece: &Piece, columns: &mut [f32], width: usize) {
        let [channels, h, w] = self.input;
        let k = self.kernel;
        let cells = (piece.end - piece.start) * self.output[2];
        let same = self.stride == 1 && self.output[2] == w;
        for c in 0..channels {
            let plane = &image[c * h * w..][..h * w];
            for tap in 0..k * k {
                let column = &mut columns[(c * k * k + tap) * width..][..cells];
                if same {
                    self.shifted(plane, piece, tap / k, tap % k, column);
                } else {
                    self.strided(plane, piece, tap / k, tap % k, column);
                }
            }
        }
    }

    /// Rows as wide as the image's: one shifted copy of the whole piece, with zeros where the shift wrapped around.
    fn shifted(&self, plane: &[f32], piece: &Piece, dy: usize, dx: usize, column: &mut [f32]) {
        let w = self.input[2];
        let shift = (dy * w + dx) as isize - (self.before * w + self.before) as isize;
        let start = (piece.start * w) as isize + shift;
        let skip = (-start).clamp(0, column.len() as isize) as usize;
        let end =
            (plane.len() as isize - start).clamp(skip as isize, column.len() as isize) as usize;
        column[..skip].fill(0.0);
        column[end..].fill(0.0);
        if skip < end {
            let first = (start + skip as isize) as usize;
            column[skip..end].copy_from_slice(&plane[first..first + end - skip]);
        }
        let left = self.before.saturating_sub(dx).min(w);
        let right = dx.saturating_sub(self.before).min(w);
        if left + right > 0 {
            for row in column.chunks_exact_mut(w) {
                row[..left].fill(0.0);
                row[w - right..].fill(0.0);
            }
        }
    }

    /// Any stride, row by row.
    fn strided(&self, plane: &[f32], piece: &Piece, dy: usize, dx: usize, column: &mut [f32]) {
        let [_, h, w] = self.input;
        let (stride, before, out_w) = (self.stride, self.before, self.output[2]);
        let from = before.saturating_sub(dx).div_ceil(stride).min(out_w); // first cell with a source
        let to = (w + before)
            .saturating_sub(dx)
            .div_ceil(stride)
            .clamp(from, out_w);
        for (row, y) in column.chunks_exact_mut(out_w).zip(piece.start..piece.end) {
            let source = (y * stride + dy).wrapping_sub(before);
            if source >= h || from == to {
                row.fill(0.0);
                continue;
            }
            row[..from].fill(0.0);
            row[to..].fill(0.0);
            let source = &plane[source * w..][..w];
            let source = source[from * stride + dx - before..].iter().step_by(stride);
            for (cell, &value) in row[from..to].iter_mut().zip(source) {
                *cell = value;
            }
        }
    }
}

/// `c = [c +] a b`, with `a` `[m, k]`, `b` `[k, n]`, `c` `[m, n]`; strides of rows and columns are given.
pub(super) struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: (usize, usize),
    pub b: (usize, usize),
    pub c: (usize, usize),
    pub add: bool,
}

impl Product {
    /// # Safety
    /// Every index that shape and strides reach must be inside the buffers, and no other reference may write them.
    pub(super) unsafe fn run(&self, a: *const f32, b: *const f32, c: *mut f32) {
        let s = |stride: usize| stride as isize;
        unsafe {
            gemm::gemm(
                self.m,
                self.n,
                self.k,
                c,
                s(self.c.1),
                s(self.c.0),
                self.add,
                a,
                s(self.a.1),
                s(self.a.0),
                b,
                s(self.b.1),
                s(self.b.0),
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

/// A buffer that several tasks write, each its own part.
pub(super) struct Shared(*mut f32);
// SAFETY: `write` is the only access, and its callers guarantee that no two tasks write the same place.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Shared {
    pub(super) fn new(numbers: &mut [f32]) -> Self {
        Self(numbers.as_mut_ptr())
    }

    /// Copies `from` to the buffer at index `at`.
    ///
    /// # Safety
    /// The range is inside the buffer, which still exists, and no other task accesses it.
    pub(super) unsafe fn write(&self, at: usize, from: &[f32]) {
        // SAFETY: guaranteed by the caller.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.0.add(at), from.len()) }
    }
}

/// `[b, c, h, w]` and weights `[c', c, k, k]` to `[b, c', h', w']`, plus `bias` `[c']` if there is one.
pub(super) fn forward(g: &Geometry, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let channels = g.output[0];
    let plane = g.plane();
    let (taps, size) = (g.taps(), channels * plane);
    assert_eq!(x.len(), g.b * g.input.iter().product::<usize>());
    assert_eq!(weight.len(), channels * taps);
    let mut out = vec![0.0; g.b * size];
    let shared = Shared::new(&mut out);
    let work = |(columns, result): &mut (Vec<f32>, Vec<f32>), block: &Vec<Piece>| {
        let width = g.width(block);
        g.columns(x, block, columns);
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
        // Sizes: weight and columns were checked above, result was allocated here.
        unsafe { product.run(weight.as_ptr(), columns.as_ptr(), result.as_mut_ptr()) };
        let mut at = 0;
        for piece in block {
            let len = (piece.end - piece.start) * g.output[2];
            let first = piece.image * size + piece.start * g.output[2];
            for c in 0..channels {
                let from = &result[c * width + at..][..len];
                // Pieces do not overlap, and `first + c * plane + len` is in this image's plane.
                unsafe { shared.write(first + c * plane, from) };
            }
            at += len;
        }
    };
    let blocks = g.blocks();
    blocks
        .par_iter()
        .for_each_init(Default::default, |buffers, block| work(buffers, block));
    out
}

/// Gradient of the weights, `[c', c, k, k]`, given that of the output.
pub(super) fn weight_gradient(g: &Geometry, x: &[f32], grad: &[f32]) -> Vec<f32> {
    let channels = g.output[0];
    let (taps, plane) = (g.taps(), g.plane());
    let size = channels * plane;
    assert_eq!(x.len(), g.b * g.input.iter().product::<usize>());
    assert_eq!(grad.len(), g.b * size);
    let blocks = g.blocks();
    let each = blocks.len().div_ceil(rayon::current_num_threads()).max(1);
    let sums = blocks.par_chunks(each).map(|blocks| {
        let mut sum = vec![0.0; channels * taps];
        let (mut columns, mut outputs) = (Vec::new(), Vec::new());
        for block in blocks {
            let width = g.width(block);
            g.columns(x, block, &mut columns);
            outputs.clear();
            for c in 0..channels {
                for piece in block {
                    let len = (piece.end - piece.start) * g.output[2];
                    let first = piece.image * size + c * plane + piece.start * g.output[2];
                    outputs.extend_from_slice(&grad[first..first + len]);
                }
            }
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
    assert_eq!(g.stride, 1, "the flipped kernel needs stride 1");
    let (from, to, k) = (g.output[0], g.input[0], g.kernel * g.kernel);
    let mut turned = vec![0.0; weight.len()];
    for o in 0..from {
        for i in 0..to {
            let source = &weight[(o * to + i) * k..][..k];
            let target = &mut turned[(i * from + o) * k..][..k];
            target
                .iter_mut()
                .zip(source.iter().rev())
                .for_each(|(t, s)| *t = *s);
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
    forward(&back, grad, &turned, None)
}
