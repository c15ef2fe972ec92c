//! Numbers whose summed axis is not the one that the instructions read, packed in blocks of 16 x 16 pairs.

use std::arch::x86_64::{
    __m512i, _mm512_cvtne2ps_pbh, _mm512_loadu_si512, _mm512_maskz_loadu_ps,
    _mm512_permutexvar_epi16, _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_storeu_si512,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

/// Pairs on each side of a block.
pub(super) const SIDE: usize = 16;

/// A block, a register per row.
pub(super) type Block = [__m512i; SIDE];

/// The block whose rows are the columns of this one.
#[inline]
#[target_feature(enable = "avx512f")]
fn turned(rows: &Block) -> Block {
    let mut pairs = *rows;
    for (to, from) in pairs.chunks_exact_mut(2).zip(rows.chunks_exact(2)) {
        to[0] = _mm512_unpacklo_epi32(from[0], from[1]);
        to[1] = _mm512_unpackhi_epi32(from[0], from[1]);
    }
    // Register `4 i + j` holds column `j` of each quarter of rows `4 i` to `4 i + 3`.
    let mut fours = pairs;
    for (to, from) in fours.chunks_exact_mut(4).zip(pairs.chunks_exact(4)) {
        to[0] = _mm512_unpacklo_epi64(from[0], from[2]);
        to[1] = _mm512_unpackhi_epi64(from[0], from[2]);
        to[2] = _mm512_unpacklo_epi64(from[1], from[3]);
        to[3] = _mm512_unpackhi_epi64(from[1], from[3]);
    }
    let mut columns = fours;
    for j in 0..4 {
        let [a, b, c, d] = [fours[j], fours[4 + j], fours[8 + j], fours[12 + j]];
        let even = [
            _mm512_shuffle_i32x4::<0x88>(a, b),
            _mm512_shuffle_i32x4::<0x88>(c, d),
        ];
        let odd = [
            _mm512_shuffle_i32x4::<0xdd>(a, b),
            _mm512_shuffle_i32x4::<0xdd>(c, d),
        ];
        columns[j] = _mm512_shuffle_i32x4::<0x88>(even[0], even[1]);
        columns[4 + j] = _mm512_shuffle_i32x4::<0x88>(odd[0], odd[1]);
        columns[8 + j] = _mm512_shuffle_i32x4::<0xdd>(even[0], even[1]);
        columns[12 + j] = _mm512_shuffle_i32x4::<0xdd>(odd[0], odd[1]);
    }
    columns
}

/// At most 16 numbers in each half, rounded; zeros where no number is.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn halves(low: &[f32], high: &[f32]) -> __m512i {
    let mask = |numbers: &[f32]| ((1u32 << numbers.len().min(SIDE)) - 1) as u16;
    // SAFETY: the masks select the numbers of the slices alone, and both types are 512 bits without invalid values.
    unsafe {
        let [low, high] = [low, high].map(|x| _mm512_maskz_loadu_ps(mask(x), x.as_ptr()));
        std::mem::transmute(_mm512_cvtne2ps_pbh(high, low))
    }
}

/// At most 32 numbers, rounded: neighbours are a pair.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) fn rounded(numbers: &[f32]) -> __m512i {
    let (low, high) = numbers.split_at(numbers.len().min(SIDE));
    halves(low, high)
}

/// Rows of numbers, at most 16 of at most 32, as pairs of neighbours: `[pairs, rows]`.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) fn of_rows<'a>(rows: impl Iterator<Item = &'a [f32]>) -> Block {
    let mut block = [_mm512_setzero_si512(); SIDE];
    for (to, row) in block.iter_mut().zip(rows) {
        *to = rounded(row);
    }
    turned(&block)
}

/// Pairs of rows of numbers, at most 16 of at most 16, of which a pair is in one place: `[numbers, pairs]`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn of_pairs<'a>(pairs: impl Iterator<Item = [&'a [f32]; 2]>) -> Block {
    /// Places of the first half and of the second by turns.
    const BY_TURNS: [u16; 2 * SIDE] = {
        let mut places = [0; 2 * SIDE];
        let mut i = 0;
        while i < places.len() {
            places[i] = (i / 2 + i % 2 * SIDE) as u16;
            i += 1;
        }
        places
    };
    // SAFETY: the table is 512 bits long.
    let by_turns = unsafe { _mm512_loadu_si512(BY_TURNS.as_ptr().cast()) };
    let mut block = [_mm512_setzero_si512(); SIDE];
    for (to, [low, high]) in block.iter_mut().zip(pairs) {
        *to = _mm512_permutexvar_epi16(by_turns, halves(low, high));
    }
    turned(&block)
}

/// Writes a row of a block.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn write(row: __m512i, to: &mut [u32]) {
    let to = &mut to[..SIDE];
    // SAFETY: it has 512 bits.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), row) };
}
