//! The kernel: a tile of sums in registers, and the loops around it.

use super::pack::{Numbers, pack};
use super::vector::Vector;

/// Rows of the left factor that stay in the cache while a panel passes.
const ROWS: usize = 120;
/// With fewer panels than this, packing the left factor does not pay.
const FEWEST_PANELS: usize = 8;
/// Columns of the right factor that are packed at once.
const COLUMNS: usize = 512;
/// The same for a single tile of rows: what is packed is read once.
const FEW_COLUMNS: usize = 64;
/// Bytes of a panel: half of a small first-level cache.
const PANEL: usize = 16 << 10;
/// Sums of the largest tile.
const LARGEST_TILE: usize = 12 * 32;

/// Both factors as the kernel reads them, reused from product to product.
#[derive(Debug, Default)]
pub(super) struct Packed {
    left: Vec<f32>,
    right: Vec<f32>,
}

/// One thread's part of a product: `c = [c +] a b`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    /// Rows, columns, summed numbers.
    pub shape: [usize; 3],
    pub a: *const f32,
    /// Strides of rows and columns.
    pub a_strides: [usize; 2],
    pub b: Numbers<'a>,
    /// The first number of the right factor.
    pub b_start: usize,
    pub b_strides: [usize; 2],
    pub c: *mut f32,
    /// From row to row of the result.
    pub c_stride: usize,
    pub add: bool,
}

impl Part<'_> {
    /// # Safety
    /// The numbers lie in the buffers, nothing else writes or reads those of the result, and the processor has the instructions of
    /// the vector.
    #[inline(always)]
    pub unsafe fn run<V: Vector, const HIGH: usize, const REGISTERS: usize, const WIDE: usize>(
        &self,
        packed: &mut Packed,
    ) {
        const { assert!(WIDE == REGISTERS * V::LANES) };
        let [m, n, k] = self.shape;
        let depth = PANEL / (4 * WIDE);
        let step = if m <= HIGH { FEW_COLUMNS } else { COLUMNS };
        for p in (0..k).step_by(depth) {
            let deep = depth.min(k - p);
            for j in (0..n).step_by(step) {
                let wide = step.min(n - j);
                let at = self.b_start + p * self.b_strides[0] + j * self.b_strides[1];
                pack::<WIDE>(self.b, at, [deep, wide], self.b_strides, &mut packed.right);
                for i in (0..m).step_by(ROWS) {
                    let mut left = Left {
                        rows: ROWS.min(m - i),
                        numbers: self
                            .a
                            .wrapping_add(i * self.a_strides[0] + p * self.a_strides[1]),
                        strides: self.a_strides,
                    };
                    let panels = packed.right.chunks_exact(deep * WIDE);
                    let packs = panels.len() >= FEWEST_PANELS;
                    if packs {
                        // SAFETY: the caller's promise.
                        unsafe { left.pack::<HIGH>(deep, &mut packed.left) };
                    }
                    for (panel, first) in panels.zip((j..).step_by(WIDE)) {
                        let columns = first..n.min(first + WIDE);
                        let c = self.c.wrapping_add(i * self.c_stride + first);
                        let to = To {
                            c,
                            stride: self.c_stride,
                            columns: columns.len(),
                            add: self.add || p > 0,
                        };
                        // SAFETY: the caller's promise.
                        unsafe {
                            if packs {
                                to.rows::<V, HIGH, REGISTERS, true>(&left, panel);
                            } else {
                                to.rows::<V, HIGH, REGISTERS, false>(&left, panel);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Some rows of the left factor: where they are, or tiles `[tiles, k, HIGH]`.
struct Left {
    rows: usize,
    numbers: *const f32,
    /// From row to row and from column to column, or from tile to tile and nothing.
    strides: [usize; 2],
}

impl Left {
    /// Puts the numbers of each tile side by side, with zeros after the last row.
    ///
    /// # Safety
    /// The numbers can be read.
    #[inline(always)]
    unsafe fn pack<const HIGH: usize>(&mut self, deep: usize, packed: &mut Vec<f32>) {
        let [row, column] = self.strides;
        packed.resize(self.rows.div_ceil(HIGH) * deep * HIGH, 0.0);
        // As many whole tiles as there are, then one with fewer rows. Reads run through memory in its order.
        let (whole, rest) = (self.rows / HIGH, self.rows % HIGH);
        let from =
            |tile: usize, p: usize| self.numbers.wrapping_add(tile * HIGH * row + p * column);
        let (lines, _) = packed.as_chunks_mut::<HIGH>();
        // SAFETY: the caller's promise.
        unsafe {
            if row == 1 {
                for p in 0..deep {
                    for tile in 0..whole {
                        lines[tile * deep + p] = from(tile, p).cast::<[f32; HIGH]>().read();
                    }
                }
            } else {
                for (tile, lines) in lines.chunks_exact_mut(deep).enumerate().take(whole) {
                    for (p, line) in lines.iter_mut().enumerate() {
                        let at = from(tile, p);
                        *line = std::array::from_fn(|i| *at.wrapping_add(i * row));
                    }
                }
            }
            for (p, line) in lines[whole * deep..].iter_mut().enumerate() {
                let at = from(whole, p);
                *line = [0.0; HIGH];
                for (i, x) in line.iter_mut().enumerate().take(rest) {
                    *x = *at.wrapping_add(i * row);
                }
            }
        }
        self.numbers = packed.as_ptr();
        self.strides = [deep * HIGH, 0];
    }
}

/// Where the sums go: some columns of the result.
struct To {
    c: *mut f32,
    stride: usize,
    columns: usize,
    add: bool,
}

impl To {
    /// All tiles of some rows times a panel.
    #[inline(always)]
    unsafe fn rows<V: Vector, const HIGH: usize, const REGISTERS: usize, const PACKED: bool>(
        &self,
        left: &Left,
        panel: &[f32],
    ) {
        for row in (0..left.rows).step_by(HIGH) {
            let high = HIGH.min(left.rows - row);
            let (at, [stride, column]) = if PACKED {
                (row / HIGH * left.strides[0], [1, HIGH])
            } else {
                (row * left.strides[0], left.strides)
            };
            let a = A {
                numbers: left.numbers.wrapping_add(at),
                row: stride,
                column,
                // What is packed has zeros after the last row.
                rows: if PACKED { HIGH } else { high },
            };
            let c = self.c.wrapping_add(row * self.stride);
            // SAFETY: the caller's promise; a tile of fewer rows or columns than registers goes through a buffer.
            unsafe {
                if high == HIGH && self.columns == REGISTERS * V::LANES {
                    sums::<V, HIGH, REGISTERS>(a, panel, c, self.stride, self.add);
                } else {
                    self.edge::<V, HIGH, REGISTERS>(high, a, panel, c);
                }
            }
        }
    }

    /// A tile of fewer rows or columns.
    #[inline(always)]
    unsafe fn edge<V: Vector, const HIGH: usize, const REGISTERS: usize>(
        &self,
        high: usize,
        a: A,
        panel: &[f32],
        c: *mut f32,
    ) {
        let wide = REGISTERS * V::LANES;
        let mut buffer = [0f32; LARGEST_TILE];
        let to = buffer.as_mut_ptr();
        // SAFETY: the caller's promise; the buffer has room for the largest tile.
        unsafe {
            match high {
                1 => sums::<V, 1, REGISTERS>(a, panel, to, wide, false),
                2 => sums::<V, 2, REGISTERS>(a, panel, to, wide, false),
                3 | 4 => sums::<V, 4, REGISTERS>(a, panel, to, wide, false),
                5 | 6 => sums::<V, 6, REGISTERS>(a, panel, to, wide, false),
                _ => sums::<V, HIGH, REGISTERS>(a, panel, to, wide, false),
            }
            for (i, sums) in buffer.chunks_exact(wide).take(high).enumerate() {
                let line = c.wrapping_add(i * self.stride);
                let line = std::slice::from_raw_parts_mut(line, self.columns);
                for (to, &sum) in line.iter_mut().zip(sums) {
                    *to = if self.add { *to + sum } else { sum };
                }
            }
        }
    }
}

/// A tile's rows of the left factor.
#[derive(Clone, Copy)]
struct A {
    numbers: *const f32,
    /// Strides.
    row: usize,
    column: usize,
    /// Rows that exist: those after them repeat the last.
    rows: usize,
}

/// The sums of one tile.
#[inline(always)]
unsafe fn sums<V: Vector, const HIGH: usize, const REGISTERS: usize>(
    a: A,
    panel: &[f32],
    c: *mut f32,
    c_stride: usize,
    add: bool,
) {
    let mut sums = [[V::splat(0.0); REGISTERS]; HIGH];
    let mut lines = [0; HIGH];
    for (i, line) in lines.iter_mut().enumerate() {
        *line = i.min(a.rows - 1) * a.row;
    }
    let mut at = a.numbers;
    for b in panel.chunks_exact(REGISTERS * V::LANES) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut right = [V::splat(0.0); REGISTERS];
            for (r, right) in right.iter_mut().enumerate() {
                *right = V::load(b.as_ptr().wrapping_add(r * V::LANES));
            }
            for (sums, &line) in sums.iter_mut().zip(&lines) {
                let left = V::splat(*at.wrapping_add(line));
                for (sum, &right) in sums.iter_mut().zip(&right) {
                    *sum = sum.add_product(left, right);
                }
            }
        }
        at = at.wrapping_add(a.column);
    }
    for (i, sums) in sums.iter().enumerate() {
        for (r, sum) in sums.iter().enumerate() {
            let to = c.wrapping_add(i * c_stride + r * V::LANES);
            // SAFETY: the caller's promise.
            unsafe {
                let sum = if add {
                    V::load(to).add_product(*sum, V::splat(1.0))
                } else {
                    *sum
                };
                sum.store(to);
            }
        }
    }
}
