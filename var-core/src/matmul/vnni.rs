//! Products of 8-bit integers on AVX512-VNNI, with tiles of 12 x 32 sums in registers.
//!
//! The instruction multiplies unsigned by signed bytes. Numbers of the left factor are signed, so each is stored with 128 added, and
//! 128 times the sum of a column of the right factor is taken off the result.

use std::arch::x86_64::{
    __m512i, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_si512,
    _mm512_storeu_si512,
};
use std::cell::RefCell;

use rayon::prelude::*;

/// Rows of a tile.
const HIGH: usize = 12;
/// Columns of a tile: two registers.
const WIDE: usize = 32;
/// Multiplications below which one thread computes the whole product.
const SINGLE_THREADED: usize = 100_000_000;
/// 1.5 times 2^23: a small number added to it is rounded to an integer, which its lowest bits hold.
const ROUNDING: f32 = 12_582_912.0;
/// The largest integer of a row.
const LARGEST: f32 = 127.0;

/// Whether this CPU has the instructions.
pub(crate) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni")
}

/// A matrix `[k, n]` of int8 as the kernel reads it: panels of 32 columns, in which four rows of a column are one number.
#[derive(Debug)]
pub(crate) struct Panels {
    k: usize,
    n: usize,
    /// `[panels, quads, 32]`.
    quads: Vec<u32>,
    /// 128 times the sum of each column, for whole panels.
    offsets: Vec<i32>,
}

impl Panels {
    /// Sums of more products than this could leave 32 bits.
    pub const MOST_ROWS: usize = 60_000;

    /// Of a matrix stored row by row.
    ///
    /// # Panics
    /// If it has another size, or more rows than 32-bit sums allow.
    pub fn new(values: &[i8], [k, n]: [usize; 2]) -> Self {
        assert_eq!(values.len(), k * n, "size of the matrix");
        assert!(k <= Self::MOST_ROWS, "{k} rows of int8");
        let (height, panels) = (k.div_ceil(4), n.div_ceil(WIDE));
        let mut quads = vec![0; panels * height * WIDE];
        let mut offsets = vec![0; panels * WIDE];
        let size = (height * WIDE).max(1);
        let columns = quads.par_chunks_mut(size).zip(offsets.par_chunks_mut(WIDE));
        columns.enumerate().for_each(|(panel, (quads, offsets))| {
            let first = panel * WIDE;
            let count = WIDE.min(n - first);
            for row in 0..k {
                let line = &values[row * n + first..][..count];
                let to = &mut quads[row / 4 * WIDE..][..count];
                let shift = row % 4 * 8;
                for ((to, offset), &value) in to.iter_mut().zip(&mut *offsets).zip(line) {
                    *to |= u32::from(value as u8) << shift;
                    *offset += 128 * i32::from(value);
                }
            }
        });
        Self {
            k,
            n,
            quads,
            offsets,
        }
    }

    /// Rows and columns.
    pub fn dims(&self) -> [usize; 2] {
        [self.k, self.n]
    }

    /// The matrix, row by row.
    pub fn values(&self) -> Vec<i8> {
        let height = self.k.div_ceil(4);
        let value = |i: usize| {
            let (row, column) = (i / self.n, i % self.n);
            let quad = (column / WIDE * height + row / 4) * WIDE + column % WIDE;
            (self.quads[quad] >> (row % 4 * 8)) as u8 as i8
        };
        (0..self.k * self.n).map(value).collect()
    }
}

thread_local! {
    /// The rounded rows, and their factors, reused from product to product.
    static ROUNDED: RefCell<(Vec<u32>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// `x w` of `x`, `[m, k]` row by row, whose rows are rounded to multiples of their largest number over 127: `[m, n]`. Column `j` is
/// multiplied by `factors[j]`.
///
/// # Panics
/// If a factor has the wrong size, or the CPU lacks the instructions.
pub(crate) fn product(x: &[f32], w: &Panels, factors: &[f32]) -> Vec<f32> {
    assert!(is_available(), "a CPU without AVX512-VNNI");
    let [k, n] = w.dims();
    let m = x.len() / k.max(1);
    assert_eq!((x.len(), factors.len()), (m * k, n), "sizes of the factors");
    let mut out = vec![0.0; m * n];
    if out.is_empty() {
        return out;
    }
    ROUNDED.with_borrow_mut(|(tiles, scales)| {
        round_rows(x, [m, k], tiles, scales);
        let result = Result {
            at: out.as_mut_ptr(),
            n,
        };
        let (result, tiles, scales) = (&result, tiles.as_slice(), scales.as_slice());
        let height = k.div_ceil(4);
        let panel = |panel: usize| {
            let quads = &w.quads[panel * height * WIDE..][..height * WIDE];
            let columns = panel * WIDE..n.min((panel + 1) * WIDE);
            let offsets = &w.offsets[panel * WIDE..][..WIDE];
            for (i, tile) in tiles.chunks_exact(HIGH * height).enumerate() {
                let rows = i * HIGH..m.min((i + 1) * HIGH);
                // SAFETY: the features were checked, and no other call gets these columns.
                unsafe {
                    let sums = sums(tile, quads);
                    result.put(rows, columns.clone(), &sums, offsets, scales, factors);
                }
            }
        };
        let panels = n.div_ceil(WIDE);
        if m * n * k < SINGLE_THREADED {
            (0..panels).for_each(panel);
        } else {
            (0..panels).into_par_iter().for_each(panel);
        }
    });
    out
}

/// The result, shared by threads that each write their own columns.
struct Result {
    at: *mut f32,
    n: usize,
}

// SAFETY: `product` gives every thread other columns.
unsafe impl Sync for Result {}

impl Result {
    /// Writes the sums of a tile.
    ///
    /// # Safety
    /// The rows and columns lie in the result, and no other thread writes these columns.
    unsafe fn put(
        &self,
        rows: std::ops::Range<usize>,
        columns: std::ops::Range<usize>,
        sums: &[[i32; WIDE]; HIGH],
        offsets: &[i32],
        scales: &[f32],
        factors: &[f32],
    ) {
        let factors = &factors[columns.clone()];
        for (row, sums) in rows.zip(sums) {
            // SAFETY: the caller's promise.
            let line = unsafe {
                let at = self.at.add(row * self.n + columns.start);
                std::slice::from_raw_parts_mut(at, columns.len())
            };
            let scale = scales[row];
            let numbers = sums.iter().zip(offsets).zip(factors);
            for (to, ((&sum, &offset), &factor)) in line.iter_mut().zip(numbers) {
                *to = (sum - offset) as f32 * (scale * factor);
            }
        }
    }
}

/// Rounds rows to integers, as tiles `[tiles, quads, 12]` of four bytes each, 128 added; and the factors of the rows.
fn round_rows(x: &[f32], [m, k]: [usize; 2], tiles: &mut Vec<u32>, scales: &mut Vec<f32>) {
    let height = k.div_ceil(4);
    tiles.clear();
    tiles.resize(m.div_ceil(HIGH) * height * HIGH, 0);
    scales.clear();
    scales.resize(m, 0.0);
    let size = HIGH * height;
    // SAFETY: `product` checked the features.
    let work = |((tile, scales), rows): ((&mut [u32], &mut [f32]), &[f32])| unsafe {
        round_tile(rows, k, tile, scales);
    };
    if m * k < 1 << 18 {
        let tiles = tiles.chunks_mut(size).zip(scales.chunks_mut(HIGH));
        tiles.zip(x.chunks(HIGH * k)).for_each(work);
    } else {
        let tiles = tiles.par_chunks_mut(size).zip(scales.par_chunks_mut(HIGH));
        tiles.zip(x.par_chunks(HIGH * k)).for_each(work);
    }
}

/// The rows of one tile.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn round_tile(rows: &[f32], k: usize, tile: &mut [u32], scales: &mut [f32]) {
    let mut bytes = vec![128u8; k.next_multiple_of(4)];
    for (i, (row, scale)) in rows.chunks_exact(k).zip(scales).enumerate() {
        // The bits of numbers without a sign are in the order of the numbers, those of no number last.
        let largest = row
            .iter()
            .fold(0, |most: u32, x| most.max(x.to_bits() & 0x7fff_ffff));
        let largest = f32::from_bits(largest);
        if !largest.is_finite() {
            // What is no number stays none in the result.
            *scale = f32::NAN;
            continue;
        }
        *scale = largest / LARGEST;
        let inverse = if largest > 0.0 {
            LARGEST / largest
        } else {
            0.0
        };
        for (to, x) in bytes.iter_mut().zip(row) {
            // Adding and taking off 1.5 * 2^23 rounds to the nearest integer, halves to even.
            let rounded = x * inverse + ROUNDING;
            *to = (rounded.to_bits() as i32 + 128) as u8;
        }
        let (quads, _) = bytes.as_chunks::<4>();
        let places = tile[i..].iter_mut().step_by(HIGH);
        for (to, quad) in places.zip(quads) {
            *to = u32::from_le_bytes(*quad);
        }
    }
}

/// The sums of one tile: `tile` `[quads, 12]` and `panel` `[quads, 32]`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn sums(tile: &[u32], panel: &[u32]) -> [[i32; WIDE]; HIGH] {
    let mut sums = [[_mm512_setzero_si512(); 2]; HIGH];
    for (a, b) in tile.chunks_exact(HIGH).zip(panel.chunks_exact(WIDE)) {
        // SAFETY: both halves lie in the chunk of 32 numbers.
        let (low, high) = unsafe {
            let at = b.as_ptr().cast::<__m512i>();
            (_mm512_loadu_si512(at), _mm512_loadu_si512(at.add(1)))
        };
        for (sum, &quad) in sums.iter_mut().zip(a) {
            let quad = _mm512_set1_epi32(quad as i32);
            sum[0] = _mm512_dpbusd_epi32(sum[0], quad, low);
            sum[1] = _mm512_dpbusd_epi32(sum[1], quad, high);
        }
    }
    let mut out = [[0; WIDE]; HIGH];
    for (to, [low, high]) in out.iter_mut().zip(sums) {
        // SAFETY: both halves lie in the 32 numbers.
        unsafe {
            let at = to.as_mut_ptr().cast::<__m512i>();
            _mm512_storeu_si512(at, low);
            _mm512_storeu_si512(at.add(1), high);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integers(count: usize) -> Vec<i8> {
        (0..count)
            .map(|i| ((i * 29 + 5) % 255) as i32 as u8 as i8)
            .map(|x| x.max(-127))
            .collect()
    }

    #[test]
    fn panels_hold_the_matrix() {
        for [k, n] in [[1, 1], [4, 32], [7, 33], [130, 70]] {
            let values = integers(k * n);
            let panels = Panels::new(&values, [k, n]);
            assert_eq!((panels.dims(), panels.values()), ([k, n], values));
        }
    }

    /// Rows of integers up to 127 are not rounded, so sums are exact.
    #[test]
    fn sums_of_integers_are_exact() {
        if !is_available() {
            return;
        }
        for [m, k, n] in [[1, 1, 1], [5, 7, 33], [13, 64, 100], [40, 500, 6000]] {
            let w = integers(k * n);
            let mut x: Vec<f32> = integers(m * k).iter().map(|&x| f32::from(x)).collect();
            x.iter_mut().step_by(k).for_each(|first| *first = 127.0);
            let factors: Vec<f32> = (0..n).map(|j| 1.0 + (j % 3) as f32).collect();
            let ours = product(&x, &Panels::new(&w, [k, n]), &factors);
            for (i, j) in [(0, 0), (m - 1, n - 1), (m / 2, n / 2), (0, n - 1)] {
                let sum: f64 = (0..k)
                    .map(|p| f64::from(x[i * k + p]) * f64::from(w[p * n + j]))
                    .sum();
                let expected = sum * f64::from(factors[j]);
                let off = (f64::from(ours[i * n + j]) - expected).abs();
                assert!(off <= 1e-6 * expected.abs(), "{m} {k} {n}: {i} {j}");
            }
        }
    }

    #[test]
    fn rows_of_nothing_and_of_no_numbers() {
        if !is_available() {
            return;
        }
        let w = Panels::new(&[1, 2, 3, 4], [2, 2]);
        let y = product(&[0.0, 0.0, 1.0, f32::NAN, 2.0, -2.0], &w, &[1.0, 1.0]);
        assert_eq!(y[..2], [0.0, 0.0]);
        assert!(y[2].is_nan() && y[3].is_nan());
        assert_eq!(y[4..], [-4.0, -4.0]);
    }
}
