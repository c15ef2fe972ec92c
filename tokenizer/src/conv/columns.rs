//! The column matrix of a convolution (im2col): one column per output cell, one row per tap of the kernel.

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
pub(super) struct Piece {
    pub image: usize,
    pub start: usize,
    pub end: usize,
}

impl Geometry {
    /// Rows of the column matrix.
    pub(super) fn taps(&self) -> usize {
        self.input[0] * self.kernel * self.kernel
    }

    pub(super) fn plane(&self) -> usize {
        self.output[1] * self.output[2]
    }

    /// Cuts all output planes into blocks of pieces, each with about [`BLOCK`] numbers of columns.
    pub(super) fn blocks(&self) -> Vec<Vec<Piece>> {
        self.blocks_of((BLOCK / self.taps()).clamp(64, 512))
    }

    /// Cuts all output planes into blocks of pieces, each with about so many columns.
    pub(super) fn blocks_of(&self, columns: usize) -> Vec<Vec<Piece>> {
        let [_, h, w] = self.output;
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

    pub(super) fn width(&self, block: &[Piece]) -> usize {
        block
            .iter()
            .map(|p| (p.end - p.start) * self.output[2])
            .sum()
    }

    /// The columns of a block, `[taps, width]`, at the start of `room`, which is made as long at least.
    pub(super) fn columns<'a, T: Copy + Default>(
        &self,
        x: &[T],
        block: &[Piece],
        room: &'a mut Vec<T>,
    ) -> &'a [T] {
        let width = self.width(block);
        let count = self.taps() * width;
        if room.len() < count {
            room.resize(count, T::default());
        }
        let columns = &mut room[..count];
        let size = self.input.iter().product::<usize>();
        let mut at = 0;
        for piece in block {
            let image = &x[piece.image * size..][..size];
            self.piece_columns(image, piece, &mut columns[at..], width);
            at += (piece.end - piece.start) * self.output[2];
        }
        columns
    }

    fn piece_columns<T: Copy + Default>(
        &self,
        image: &[T],
        piece: &Piece,
        columns: &mut [T],
        width: usize,
    ) {
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
    fn shifted<T: Copy + Default>(
        &self,
        plane: &[T],
        piece: &Piece,
        dy: usize,
        dx: usize,
        column: &mut [T],
    ) {
        let w = self.input[2];
        let shift = (dy * w + dx) as isize - (self.before * w + self.before) as isize;
        let start = (piece.start * w) as isize + shift;
        let skip = (-start).clamp(0, column.len() as isize) as usize;
        let end =
            (plane.len() as isize - start).clamp(skip as isize, column.len() as isize) as usize;
        column[..skip].fill(T::default());
        column[end..].fill(T::default());
        if skip < end {
            let first = (start + skip as isize) as usize;
            column[skip..end].copy_from_slice(&plane[first..first + end - skip]);
        }
        let left = self.before.saturating_sub(dx).min(w);
        let right = dx.saturating_sub(self.before).min(w);
        let rows = column.chunks_exact_mut(w);
        match (left, right) {
            (0, 0) => {}
            // A store each: `fill` would be a call for a single cell.
            (1, 0) => rows.for_each(|row| row[0] = T::default()),
            (0, 1) => rows.for_each(|row| row[w - 1] = T::default()),
            _ => rows.for_each(|row| {
                row[..left].fill(T::default());
                row[w - right..].fill(T::default());
            }),
        }
    }

    /// Any stride, row by row.
    fn strided<T: Copy + Default>(
        &self,
        plane: &[T],
        piece: &Piece,
        dy: usize,
        dx: usize,
        column: &mut [T],
    ) {
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
                row.fill(T::default());
                continue;
            }
            row[..from].fill(T::default());
            row[to..].fill(T::default());
            let source = &plane[source * w..][..w];
            let source = source[from * stride + dx - before..].iter().step_by(stride);
            for (cell, &value) in row[from..to].iter_mut().zip(source) {
                *cell = value;
            }
        }
    }
}
