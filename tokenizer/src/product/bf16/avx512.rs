//! bf16 products on AVX-512, with tiles of 12 x 32 sums in registers.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_mask_storeu_ps,
    _mm512_set1_epi32, _mm512_setzero_ps,
};
use std::cell::RefCell;

use burn::tensor::bf16;
use rayon::prelude::*;

use super::factor::Factor;
use super::turned;
use crate::product::shared::Shared;

/// Rows of a tile.
const HIGH: usize = 12;
/// Columns of a tile: two registers.
const WIDE: usize = 32;
/// Multiplications below which one thread computes the whole product.
const SINGLE_THREADED: usize = 200_000_000;

/// Whether this CPU has the instructions.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

thread_local! {
    /// Buffers for packed factors, reused from product to product.
    static PACKED: RefCell<(Vec<u32>, Vec<u32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// `[m, n]`, the sums over `k` of `a` times `b`, whose numbers are rounded to bf16.
///
/// # Panics
/// If the CPU lacks the instructions.
pub(super) fn product([m, n, k]: [usize; 3], a: Factor, b: Factor) -> Vec<f32> {
    assert!(is_available(), "a CPU without AVX512-BF16");
    let mut out = vec![0.0; m * n];
    if m == 0 || n == 0 {
        return out;
    }
    let pairs = k.div_ceil(2);
    let (tiles, threads) = (m.div_ceil(HIGH), rayon::current_num_threads());
    let single_threaded = m * n * k < SINGLE_THREADED;
    PACKED.with_borrow_mut(|(packed_a, packed_b)| {
        // SAFETY: the features were checked above.
        unsafe { pack::<HIGH>(a, m, k, packed_a) };
        let packed_a = packed_a.as_slice();
        if !single_threaded && tiles < 2 * threads {
            // Few rows: they do not keep all threads busy, and packing the other factor is most of the work.
            columns(packed_a, b, [m, n, k], &mut out);
            return;
        }
        // SAFETY: as above.
        unsafe { pack::<WIDE>(b, n, k, packed_b) };
        let packed_b = packed_b.as_slice();
        let share = if single_threaded {
            tiles
        } else {
            tiles.div_ceil(2 * threads).max(1)
        };
        let work = |(i, rows): (usize, &mut [f32])| {
            let a = &packed_a[i * share * HIGH * pairs..];
            // SAFETY: the features were checked above.
            unsafe { block(a, packed_b, rows, n, pairs) };
        };
        if share == tiles {
            work((0, &mut out));
        } else {
            let chunks = out.par_chunks_mut(share * HIGH * n);
            chunks.enumerate().for_each(work);
        }
    });
    out
}

/// The whole result, panel by panel of `b`, each packed by the thread that multiplies it.
fn columns(a: &[u32], b: Factor, [m, n, k]: [usize; 3], out: &mut [f32]) {
    thread_local! {
        static PANEL: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    }
    let pairs = k.div_ceil(2);
    let shared = Shared::new(out);
    let shared = &shared;
    (0..n.div_ceil(WIDE)).into_par_iter().for_each(|panel| {
        let column = panel * WIDE;
        let count = WIDE.min(n - column);
        PANEL.with_borrow_mut(|packed| {
            packed.clear();
            packed.resize(pairs * WIDE, 0);
            // SAFETY: `product` checked the features.
            unsafe { pack_panel::<WIDE>(b, [n, k], column, packed) };
            for (tile, row) in a.chunks_exact(HIGH * pairs).zip((0..m).step_by(HIGH)) {
                // SAFETY: as above; the lines are those of this panel alone.
                unsafe {
                    let sums = sums(tile, packed);
                    for (i, sums) in sums.iter().take(HIGH.min(m - row)).enumerate() {
                        store(shared.line((row + i) * n + column, count), sums);
                    }
                }
            }
        });
    });
}

/// All tiles of some rows of the result.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn block(a: &[u32], b: &[u32], out: &mut [f32], n: usize, pairs: usize) {
    let high = out.len() / n;
    for (panel, column) in b.chunks_exact(WIDE * pairs).zip((0..n).step_by(WIDE)) {
        let columns = WIDE.min(n - column);
        for (tile, row) in a.chunks_exact(HIGH * pairs).zip((0..high).step_by(HIGH)) {
            let rows = HIGH.min(high - row);
            let sums = sums(tile, panel);
            for (i, sums) in sums.iter().take(rows).enumerate() {
                let line = &mut out[(row + i) * n + column..][..columns];
                store(line, sums);
            }
        }
    }
}

/// Writes the first numbers of two registers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn store(line: &mut [f32], [low, high]: &[__m512; 2]) {
    let mask = |count: usize| ((1u32 << count.min(16)) - 1) as u16;
    let rest = line.len().saturating_sub(16);
    let at = line.as_mut_ptr();
    // SAFETY: the masks select the numbers of the line alone.
    unsafe {
        _mm512_mask_storeu_ps(at, mask(line.len()), *low);
        if rest > 0 {
            _mm512_mask_storeu_ps(at.add(16), mask(rest), *high);
        }
    }
}

/// The sums of one tile: `tile` `[pairs, 12]` and `panel` `[pairs, 32]`, each number a pair of bf16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn sums(tile: &[u32], panel: &[u32]) -> [[__m512; 2]; HIGH] {
    let mut sums = [[_mm512_setzero_ps(); 2]; HIGH];
    for (a, b) in tile.chunks_exact(HIGH).zip(panel.chunks_exact(WIDE)) {
        // SAFETY: both halves lie in the chunk of 32 numbers.
        let (low, high) = unsafe {
            let at = b.as_ptr().cast::<__m512i>();
            (_mm512_loadu_si512(at), _mm512_loadu_si512(at.add(1)))
        };
        for (sum, &pair) in sums.iter_mut().zip(a) {
            let pair = _mm512_set1_epi32(pair as i32);
            sum[0] = _mm512_dpbf16_ps(sum[0], halves(pair), halves(low));
            sum[1] = _mm512_dpbf16_ps(sum[1], halves(pair), halves(high));
        }
    }
    sums
}

/// The same bits, read as pairs of bf16.
#[inline(always)]
fn halves(bits: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits without invalid values.
    unsafe { std::mem::transmute(bits) }
}

/// Rounded to the nearest bf16, halves to even, in the low 16 bits.
#[inline(always)]
pub(crate) fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16
}

#[inline(always)]
fn bits(x: bf16) -> u32 {
    u32::from(x.to_bits())
}

/// An int8 as bf16, which represents it exactly.
#[inline(always)]
fn from_int8(x: i8) -> u32 {
    f32::from(x).to_bits() >> 16
}

/// Two numbers as the instructions take them.
#[inline(always)]
pub(crate) fn pair(low: f32, high: f32) -> u32 {
    rounded(low) | (rounded(high) << 16)
}

/// Panels of `S` rows (or columns) of a factor: `[panels, pairs, S]`, padded with zeros.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pack<const S: usize>(factor: Factor, outer: usize, k: usize, packed: &mut Vec<u32>) {
    let pairs = k.div_ceil(2);
    let size = outer.div_ceil(S) * pairs * S;
    packed.clear();
    packed.resize(size, 0);
    for (panel, first) in packed
        .chunks_exact_mut(pairs * S)
        .zip((0..outer).step_by(S))
    {
        pack_panel::<S>(factor, [outer, k], first, panel);
    }
}

/// One panel: rows (or columns) from `first` on, `[pairs, S]`; `panel` holds zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn pack_panel<const S: usize>(
    factor: Factor,
    [outer, k]: [usize; 2],
    first: usize,
    panel: &mut [u32],
) {
    let count = S.min(outer - first);
    match factor {
        Factor::Columns(x) => pack_columns::<S, _>(x, [outer, k], [first, count], panel, rounded),
        Factor::Bf16(x) => pack_columns::<S, _>(x, [outer, k], [first, count], panel, bits),
        Factor::Int8(x) => pack_columns::<S, _>(x, [outer, k], [first, count], panel, from_int8),
        Factor::Rows(x) if S.is_multiple_of(turned::SIDE) => {
            for (block, rows) in (0..count)
                .step_by(turned::SIDE)
                .zip(x[first * k..][..count * k].chunks((turned::SIDE * k).max(1)))
            {
                for at in (0..k).step_by(2 * turned::SIDE) {
                    let end = k.min(at + 2 * turned::SIDE);
                    let pairs = turned::of_rows(rows.chunks_exact(k).map(|row| &row[at..end]));
                    let lines = panel[at / 2 * S..].chunks_exact_mut(S);
                    for (line, pairs) in lines.zip(pairs) {
                        turned::write(pairs, &mut line[block..]);
                    }
                }
            }
        }
        Factor::Rows(x) => {
            for i in 0..count {
                let row = &x[(first + i) * k..][..k];
                let to = panel[i..].iter_mut().step_by(S);
                let whole = row.chunks_exact(2);
                let last = whole.remainder();
                let values = whole.map(|c| pair(c[0], c[1]));
                let values = values.chain(last.iter().map(|&low| rounded(low)));
                to.zip(values).for_each(|(to, value)| *to = value);
            }
        }
    }
}

/// As [`pack_panel`] for `count` adjacent columns; `number` gives the bits of one number as bf16.
#[inline(always)]
fn pack_columns<const S: usize, T: Copy>(
    x: &[T],
    [outer, k]: [usize; 2],
    [first, count]: [usize; 2],
    panel: &mut [u32],
    number: impl Fn(T) -> u32,
) {
    for (p, to) in panel.chunks_exact_mut(S).enumerate() {
        let low = &x[2 * p * outer + first..][..count];
        match x.get((2 * p + 1) * outer + first..) {
            Some(high) if 2 * p + 1 < k => {
                let both = low.iter().zip(&high[..count]);
                for (to, (&low, &high)) in to.iter_mut().zip(both) {
                    *to = number(low) | (number(high) << 16);
                }
            }
            _ => {
                for (to, &low) in to.iter_mut().zip(low) {
                    *to = number(low);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_the_nearest_and_even() {
        let round = |x: f32| f32::from_bits(rounded(x) << 16);
        assert_eq!(round(1.0), 1.0);
        assert_eq!(round(1.0 + 1.0 / 256.0), 1.0); // half way, down to even
        assert_eq!(round(1.0 + 3.0 / 256.0), 1.0 + 2.0 / 128.0); // half way, up to even
        assert_eq!(round(-1.0 - 1.1 / 256.0), -1.0 - 1.0 / 128.0);
        assert_eq!(round(f32::INFINITY), f32::INFINITY);
        assert!(round(f32::NAN).is_nan());
    }

    #[test]
    fn few_rows_make_the_same_sums() {
        if !is_available() {
            return;
        }
        let (m, n, k) = (13, 4001, 4099); // two tiles, an odd inner axis and a panel that is not full
        assert!(m * n * k >= SINGLE_THREADED);
        let numbers = |count: usize| (0..count).map(|i| ((i * 29 + 5) % 13) as f32 - 6.0);
        let (a, b): (Vec<f32>, Vec<f32>) = (numbers(m * k).collect(), numbers(k * n).collect());
        let all = product([m, n, k], Factor::Rows(&a), Factor::Columns(&b));
        for j in [0, 31, 32, 2000, 4000] {
            let column: Vec<f32> = (0..k).map(|p| b[p * n + j]).collect();
            let one = product([m, 1, k], Factor::Rows(&a), Factor::Columns(&column));
            let ours: Vec<f32> = (0..m).map(|i| all[i * n + j]).collect();
            assert_eq!(ours, one);
        }
    }

    #[test]
    fn many_threads_make_the_same_sums() {
        if !is_available() {
            return;
        }
        let (m, n, k) = (700, 640, 500); // more than one thread's share
        assert!(m * n * k >= SINGLE_THREADED);
        let numbers = |count: usize| (0..count).map(|i| ((i * 29 + 5) % 13) as f32 - 6.0);
        let (a, b): (Vec<f32>, Vec<f32>) = (numbers(m * k).collect(), numbers(k * n).collect());
        let all = product([m, n, k], Factor::Rows(&a), Factor::Columns(&b));
        for i in [0, 11, 12, 350, 699] {
            let row = product(
                [1, n, k],
                Factor::Rows(&a[i * k..][..k]),
                Factor::Columns(&b),
            );
            assert_eq!(all[i * n..][..n], row);
        }
    }
}
