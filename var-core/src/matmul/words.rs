//! Products of numbers with weights of 8 bits on AVX2, as sums of 32 bits, with tiles of 6 x 16 sums in registers.
//!
//! Each row of the left factor is rounded to integers of 16 bits, multiples of its largest number over 32,767: about as exact as f32
//! where the weights have 8 bits. The instruction multiplies pairs of 16-bit integers and adds the two products, twice as many in a
//! cycle as f32. Sums of [`SPAN`] products fit into 32 bits; then they go on in f32.

use std::arch::x86_64::{
    __m128i, _mm_loadu_si128, _mm256_add_epi32, _mm256_add_ps, _mm256_cvtepi8_epi16,
    _mm256_cvtepi32_ps, _mm256_loadu_ps, _mm256_madd_epi16, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm256_storeu_ps,
};
use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

/// Rows of a tile.
const HIGH: usize = 6;
/// Columns of a tile: two registers.
const WIDE: usize = 16;
/// The largest integer of a row.
const LARGEST: f32 = 32_767.0;
/// Products that a sum of 32 bits has room for, `512 * 32,767 * 127 < 2^31`, in pairs.
const SPAN: usize = 256;
/// Rows that are rounded at a time: they stay in the cache while all columns pass.
const BLOCK: usize = 32 * HIGH;
/// Multiplications below which one thread computes the whole product.
const SINGLE_THREADED: usize = 10_000_000;
/// 1.5 times 2^23: a small number added to it is rounded to an integer, which its lowest bits hold.
const ROUNDING: f32 = 12_582_912.0;

/// Whether this CPU has the instructions.
pub(crate) fn is_available() -> bool {
    is_x86_feature_detected!("avx2")
}

/// A matrix `[k, n]` of int8 as the kernel reads it: panels of 16 columns, in which two rows of a column are neighbours.
#[derive(Debug)]
pub(crate) struct Panels {
    k: usize,
    n: usize,
    /// `[panels, pairs, 16, 2]`.
    values: Vec<i8>,
}

impl Panels {
    /// Of columns that `column` fills one by one; and what it returns for each.
    pub fn of_columns(
        [k, n]: [usize; 2],
        column: impl Fn(usize, &mut [i8]) -> f32 + Sync,
    ) -> (Self, Vec<f32>) {
        let size = k.div_ceil(2) * 2 * WIDE;
        let mut values = vec![0; n.div_ceil(WIDE) * size];
        let mut factors = vec![0.0; n];
        let panels = values.par_chunks_mut(size.max(1)).enumerate();
        panels
            .zip(factors.par_chunks_mut(WIDE))
            .for_each(|((panel, to), factors)| {
                let mut numbers = vec![0; k];
                for (i, factor) in factors.iter_mut().enumerate() {
                    *factor = column(panel * WIDE + i, &mut numbers);
                    let places = to.as_chunks_mut::<{ 2 * WIDE }>().0;
                    for (to, pair) in places.iter_mut().zip(numbers.chunks(2)) {
                        to[2 * i..][..pair.len()].copy_from_slice(pair);
                    }
                }
            });
        (Self { k, n, values }, factors)
    }

    /// Rows and columns.
    pub fn dims(&self) -> [usize; 2] {
        [self.k, self.n]
    }

    /// The matrix, row by row.
    pub fn values(&self) -> Vec<i8> {
        let pairs = self.k.div_ceil(2);
        let value = |i: usize| {
            let (row, column) = (i / self.n, i % self.n);
            let at = (column / WIDE * pairs + row / 2) * WIDE + column % WIDE;
            self.values[2 * at + row % 2]
        };
        (0..self.k * self.n).map(value).collect()
    }

    /// The columns of a panel, and its pairs.
    fn panel(&self, panel: usize) -> (Range<usize>, &[i8]) {
        let size = self.k.div_ceil(2) * 2 * WIDE;
        let columns = panel * WIDE..self.n.min((panel + 1) * WIDE);
        (columns, &self.values[panel * size..][..size])
    }
}

thread_local! {
    /// The rounded rows of a block, and their factors, reused from product to product.
    static ROUNDED: RefCell<(Vec<u32>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// `x w` of `x`, `[m, k]` row by row: `[m, n]`. Column `j` is multiplied by `factors[j]`.
///
/// # Panics
/// If a factor has the wrong size, or the CPU lacks the instructions.
pub(crate) fn product(x: &[f32], w: &Panels, factors: &[f32]) -> Vec<f32> {
    assert!(is_available(), "a CPU without AVX2");
    let [k, n] = w.dims();
    let m = x.len() / k.max(1);
    assert_eq!((x.len(), factors.len()), (m * k, n), "sizes of the factors");
    let mut out = vec![0.0; m * n];
    if out.is_empty() {
        return out;
    }
    let parallel = m * n * k >= SINGLE_THREADED;
    let blocks = out.chunks_mut(BLOCK * n).zip(x.chunks(BLOCK * k));
    ROUNDED.with_borrow_mut(|(tiles, scales)| {
        for (out, rows) in blocks {
            round_rows(rows, k, parallel, tiles, scales);
            let block = Block {
                out: out.as_mut_ptr(),
                n,
                pairs: k.div_ceil(2),
                tiles,
                scales,
            };
            let one = |panel: usize| {
                let (columns, panel) = w.panel(panel);
                // SAFETY: the features were checked, and no other call gets these columns.
                unsafe { block.multiply(panel, columns.clone(), &factors[columns]) };
            };
            let panels = 0..n.div_ceil(WIDE);
            if parallel {
                panels.into_par_iter().for_each(one);
            } else {
                panels.for_each(one);
            }
        }
    });
    out
}

/// Some rows of a product; threads write columns of their own.
struct Block<'a> {
    out: *mut f32,
    n: usize,
    pairs: usize,
    tiles: &'a [u32],
    scales: &'a [f32],
}

// SAFETY: `product` gives every thread other columns.
unsafe impl Sync for Block<'_> {}

impl Block<'_> {
    /// Multiplies all rows by the columns of a panel.
    ///
    /// # Safety
    /// The CPU has AVX2, the columns lie in the result, and no other thread writes them.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn multiply(&self, panel: &[i8], columns: Range<usize>, factors: &[f32]) {
        let tiles = self.tiles.chunks_exact(HIGH * self.pairs);
        for (tile, (i, scales)) in tiles.zip(self.scales.chunks(HIGH).enumerate()) {
            let mut total = [[0f32; WIDE]; HIGH];
            let spans = tile.chunks(HIGH * SPAN).zip(panel.chunks(2 * WIDE * SPAN));
            for (tile, panel) in spans {
                sums(tile, panel, &mut total);
            }
            for (row, (total, &scale)) in total.iter().zip(scales).enumerate() {
                // SAFETY: the row is one of the block's, since it has a scale; the columns are the caller's promise.
                let line = unsafe {
                    let at = self.out.add((i * HIGH + row) * self.n + columns.start);
                    std::slice::from_raw_parts_mut(at, columns.len())
                };
                for (to, (sum, factor)) in line.iter_mut().zip(total.iter().zip(factors)) {
                    *to = sum * (scale * factor);
                }
            }
        }
    }
}

/// Rounds rows to integers, as tiles `[tiles, pairs, 6]` of two words each; and the factors of the rows.
fn round_rows(x: &[f32], k: usize, parallel: bool, tiles: &mut Vec<u32>, scales: &mut Vec<f32>) {
    let (m, pairs) = (x.len() / k, k.div_ceil(2));
    tiles.clear();
    tiles.resize(m.div_ceil(HIGH) * pairs * HIGH, 0);
    scales.clear();
    scales.resize(m, 0.0);
    let size = HIGH * pairs;
    // SAFETY: `product` checked the features.
    let work = |((tile, scales), rows): ((&mut [u32], &mut [f32]), &[f32])| unsafe {
        round_tile(rows, k, tile, scales);
    };
    if parallel {
        let tiles = tiles.par_chunks_mut(size).zip(scales.par_chunks_mut(HIGH));
        tiles.zip(x.par_chunks(HIGH * k)).for_each(work);
    } else {
        let tiles = tiles.chunks_mut(size).zip(scales.chunks_mut(HIGH));
        tiles.zip(x.chunks(HIGH * k)).for_each(work);
    }
}

/// The rows of one tile.
#[target_feature(enable = "avx2,fma")]
fn round_tile(rows: &[f32], k: usize, tile: &mut [u32], scales: &mut [f32]) {
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
        // Adding 1.5 * 2^23 rounds to the nearest integer, halves to even.
        let word = |x: f32| (x * inverse + ROUNDING).to_bits() & 0xffff;
        let places = tile[i..].iter_mut().step_by(HIGH);
        let (pairs, rest) = row.as_chunks::<2>();
        let last = rest.iter().map(|&x| [x, 0.0]);
        for (to, pair) in places.zip(pairs.iter().copied().chain(last)) {
            *to = word(pair[0]) | word(pair[1]) << 16;
        }
    }
}

/// Adds the sums of one tile: `tile` `[pairs, 6]` and `panel` `[pairs, 16, 2]`.
#[inline]
#[target_feature(enable = "avx2")]
fn sums(tile: &[u32], panel: &[i8], total: &mut [[f32; WIDE]; HIGH]) {
    let mut sums = [[_mm256_setzero_si256(); 2]; HIGH];
    let (rows, _) = tile.as_chunks::<HIGH>();
    let (columns, _) = panel.as_chunks::<{ 2 * WIDE }>();
    for (a, b) in rows.iter().zip(columns) {
        // SAFETY: both halves lie in the array of 32 bytes.
        let (low, high) = unsafe {
            let at = b.as_ptr().cast::<__m128i>();
            (_mm_loadu_si128(at), _mm_loadu_si128(at.add(1)))
        };
        let (low, high) = (_mm256_cvtepi8_epi16(low), _mm256_cvtepi8_epi16(high));
        for (sum, &pair) in sums.iter_mut().zip(a) {
            let pair = _mm256_set1_epi32(pair as i32);
            sum[0] = _mm256_add_epi32(sum[0], _mm256_madd_epi16(pair, low));
            sum[1] = _mm256_add_epi32(sum[1], _mm256_madd_epi16(pair, high));
        }
    }
    for (to, [low, high]) in total.iter_mut().zip(sums) {
        let sums = [_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)];
        // SAFETY: both halves lie in the 16 numbers.
        unsafe {
            let at = to.as_mut_ptr();
            _mm256_storeu_ps(at, _mm256_add_ps(_mm256_loadu_ps(at), sums[0]));
            let at = at.add(8);
            _mm256_storeu_ps(at, _mm256_add_ps(_mm256_loadu_ps(at), sums[1]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a matrix stored row by row.
    fn panels(values: &[i8], [k, n]: [usize; 2]) -> Panels {
        let column = |j: usize, to: &mut [i8]| {
            for (to, row) in to.iter_mut().zip(values.chunks_exact(n)) {
                *to = row[j];
            }
            1.0
        };
        Panels::of_columns([k, n], column).0
    }

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
            let panels = panels(&values, [k, n]);
            assert_eq!((panels.dims(), panels.values()), ([k, n], values));
        }
    }

    /// Rows of integers up to 32,767 are not rounded, so sums are exact but for those in f32.
    #[test]
    fn sums_of_integers_are_exact() {
        if !is_available() {
            return;
        }
        for [m, k, n] in [[1, 1, 1], [5, 7, 33], [13, 64, 100], [200, 1500, 60]] {
            let w = integers(k * n);
            let mut x: Vec<f32> = integers(m * k).iter().map(|&x| f32::from(x)).collect();
            x.iter_mut().step_by(k).for_each(|first| *first = LARGEST);
            let factors: Vec<f32> = (0..n).map(|j| 1.0 + (j % 3) as f32).collect();
            let ours = product(&x, &panels(&w, [k, n]), &factors);
            for (i, j) in [(0, 0), (m - 1, n - 1), (m / 2, n / 2), (0, n - 1)] {
                let sum: f64 = (0..k)
                    .map(|p| f64::from(x[i * k + p]) * f64::from(w[p * n + j]))
                    .sum();
                let expected = sum * f64::from(factors[j]);
                let off = (f64::from(ours[i * n + j]) - expected).abs();
                assert!(
                    off <= 2e-6 * expected.abs().max(1.0),
                    "{m} {k} {n}: {i} {j}"
                );
            }
        }
    }

    /// The largest sums that there can be.
    #[test]
    fn no_sum_leaves_its_bits() {
        if !is_available() {
            return;
        }
        let k = 4 * SPAN + 2;
        let w = panels(&vec![-127; k * 3], [k, 3]);
        let y = product(&vec![5.0; k * 2], &w, &[1.0; 3]);
        let expected = -127.0 * 5.0 * k as f32;
        assert!(y.iter().all(|y| (y / expected - 1.0).abs() < 1e-6), "{y:?}");
    }

    #[test]
    fn rows_of_nothing_and_of_no_numbers() {
        if !is_available() {
            return;
        }
        let w = panels(&[1, 2, 3, 4], [2, 2]);
        let y = product(&[0.0, 0.0, 1.0, f32::NAN, 2.0, -2.0], &w, &[1.0, 1.0]);
        assert_eq!(y[..2], [0.0, 0.0]);
        assert!(y[2].is_nan() && y[3].is_nan());
        assert_eq!(y[4..], [-4.0, -4.0]);
    }
}
