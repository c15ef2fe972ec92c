//! The numbers of a tensor: converted to another format, and transposed.
//!
//! Checkpoints have gigabytes of them, so each is touched once, on all cores, and checked on the way: a NaN in a file
//! would otherwise only show in the image.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{DType, Element, TensorData, bf16, f16};
use bytemuck::{Pod, allocation::pod_collect_to_vec};
use rayon::prelude::*;

/// Numbers per task.
const CHUNK: usize = 1 << 16;

/// Rows and columns of a transposed tile: 64 x 64 numbers of 4 bytes fit the smallest cache.
const TILE: usize = 64;

/// A number format of a file. The conversions have no branches, so that the compiler can vectorise them.
pub(crate) trait Number: Element + Pod {
    const SIZE: usize = size_of::<Self>();
    const MAX: f32;
    fn get(bytes: &[u8]) -> f32;
    fn of(value: f32) -> Self;
}

impl Number for f32 {
    const MAX: f32 = f32::MAX;

    fn get(bytes: &[u8]) -> f32 {
        f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    fn of(value: f32) -> Self {
        value
    }
}

impl Number for f16 {
    const MAX: f32 = 65_504.0;

    fn get(bytes: &[u8]) -> f32 {
        let half = u32::from(u16::from_le_bytes([bytes[0], bytes[1]]));
        // The exponent is 112 too small. What becomes 65536 or more was infinite or NaN, and gets all exponent bits.
        let size = f32::from_bits((half & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
        let special = if size >= 65_536.0 { 0x7f80_0000 } else { 0 };
        f32::from_bits(size.to_bits() | special | (half & 0x8000) << 16)
    }

    fn of(value: f32) -> Self {
        Self::from_f32(value)
    }
}

impl Number for bf16 {
    const MAX: f32 = 3.389_531_4e38;

    fn get(bytes: &[u8]) -> f32 {
        f32::from_bits(u32::from(u16::from_le_bytes([bytes[0], bytes[1]])) << 16)
    }

    fn of(value: f32) -> Self {
        // Half of the last place, and a little less where the last place is even.
        let bits = value.to_bits();
        let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        let nan = bits >> 16 | 0x40;
        let rounded = if value.is_nan() { nan } else { nearest };
        Self::from_bits(rounded as u16)
    }
}

/// `data` with its numbers in another format, and whether all of them are finite in it. None for formats other than f32,
/// f16 and bf16.
pub(crate) fn convert(data: &TensorData, to: DType) -> Option<(TensorData, bool)> {
    let run = functions(data.dtype(), to)?.0;
    Some(run(data.as_bytes(), data.shape().to_vec()))
}

/// As [`convert`], for a matrix `[m, n]`, which becomes `[n, m]`.
///
/// # Panics
/// If `data` is not a matrix.
pub(crate) fn transpose(data: &TensorData, to: DType) -> Option<(TensorData, bool)> {
    let run = functions(data.dtype(), to)?.1;
    let [m, n] = data.shape()[..] else {
        panic!("a tensor of shape {:?} is not a matrix", data.shape());
    };
    Some(run(data.as_bytes(), m, n))
}

/// Numbers of a format from their bytes, in memory that is aligned for them: bytes alone would be copied once more.
pub(crate) fn numbers(bytes: &[u8], shape: Vec<usize>, dtype: DType) -> TensorData {
    fn of<T: Number>(bytes: &[u8], shape: Vec<usize>) -> TensorData {
        TensorData::new(pod_collect_to_vec::<u8, T>(bytes), shape)
    }
    match dtype {
        DType::F32 => of::<f32>(bytes, shape),
        DType::F16 => of::<f16>(bytes, shape),
        DType::BF16 => of::<bf16>(bytes, shape),
        other => TensorData::from_bytes_vec(bytes.to_vec(), shape, other),
    }
}

/// The rows of a matrix of floating-point numbers, or of any tensor by its first axis.
pub struct Rows<'a> {
    bytes: &'a [u8],
    unpack: fn(&[u8], &mut [f32]) -> bool,
    /// Bytes of a row.
    stride: usize,
    shape: [usize; 2],
}

impl<'a> Rows<'a> {
    /// Of a tensor in f32, f16 or bf16; none for others.
    pub fn of(data: &'a TensorData) -> Option<Self> {
        fn row<S: Number>(from: &[u8], to: &mut [f32]) -> bool {
            unpack::<S>(from, to, f32::MAX)
        }
        let (unpack, size) = match data.dtype() {
            DType::F32 => (row::<f32> as fn(&[u8], &mut [f32]) -> bool, 4),
            DType::F16 => (row::<f16> as _, 2),
            DType::BF16 => (row::<bf16> as _, 2),
            _ => return None,
        };
        let rows = data.shape().first().copied().unwrap_or(1);
        let columns = data.shape().num_elements() / rows.max(1);
        Some(Self {
            bytes: data.as_bytes(),
            unpack,
            stride: columns * size,
            shape: [rows, columns],
        })
    }

    /// Rows, and numbers in each.
    pub fn dims(&self) -> [usize; 2] {
        self.shape
    }

    /// Reads a row in f32. True if all of its numbers are finite.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn read(&self, row: usize, to: &mut [f32]) -> bool {
        (self.unpack)(&self.bytes[row * self.stride..][..self.stride], to)
    }
}

type Convert = fn(&[u8], Vec<usize>) -> (TensorData, bool);
type Transpose = fn(&[u8], usize, usize) -> (TensorData, bool);

fn functions(from: DType, to: DType) -> Option<(Convert, Transpose)> {
    fn between<S: Number, T: Number>() -> (Convert, Transpose) {
        (convert_bytes::<S, T>, transpose_bytes::<S, T>)
    }
    Some(match (from, to) {
        (DType::F32, DType::F32) => between::<f32, f32>(),
        (DType::F32, DType::F16) => between::<f32, f16>(),
        (DType::F32, DType::BF16) => between::<f32, bf16>(),
        (DType::F16, DType::F32) => between::<f16, f32>(),
        (DType::F16, DType::F16) => between::<f16, f16>(),
        (DType::F16, DType::BF16) => between::<f16, bf16>(),
        (DType::BF16, DType::F32) => between::<bf16, f32>(),
        (DType::BF16, DType::F16) => between::<bf16, f16>(),
        (DType::BF16, DType::BF16) => between::<bf16, bf16>(),
        _ => return None,
    })
}

/// Converts numbers to f32. True if all of them are finite in a format whose largest number is `max`.
fn unpack<S: Number>(from: &[u8], to: &mut [f32], max: f32) -> bool {
    let mut good = true;
    for (to, from) in to.iter_mut().zip(from.chunks_exact(S::SIZE)) {
        *to = S::get(from);
        good &= to.abs() <= max; // false for a NaN
    }
    good
}

fn pack<T: Number>(from: &[f32], to: &mut [MaybeUninit<T>]) {
    for (from, to) in from.iter().zip(to) {
        to.write(T::of(*from));
    }
}

/// Memory for `count` numbers, which `write` fills, as a tensor; and what `write` returns. Zeros would be written for nothing.
///
/// # Safety
/// `write` fills all of it.
#[allow(unsafe_code)]
pub(crate) unsafe fn filled<T: Number>(
    count: usize,
    shape: Vec<usize>,
    write: impl FnOnce(&mut [MaybeUninit<T>]) -> bool,
) -> (TensorData, bool) {
    let mut numbers = Vec::with_capacity(count);
    let finite = write(&mut numbers.spare_capacity_mut()[..count]);
    // SAFETY: the caller's promise.
    unsafe { numbers.set_len(count) };
    (TensorData::new(numbers, shape), finite)
}

#[allow(unsafe_code)]
fn convert_bytes<S: Number, T: Number>(from: &[u8], shape: Vec<usize>) -> (TensorData, bool) {
    let count = from.len() / S::SIZE;
    let write = |to: &mut [MaybeUninit<T>]| {
        let finite = AtomicBool::new(true);
        let chunks = to.par_chunks_mut(CHUNK);
        chunks
            .zip(from.par_chunks(CHUNK * S::SIZE))
            .for_each(|(to, from)| {
                let mut numbers = [0.0; TILE];
                let mut good = true;
                let runs = to.chunks_mut(TILE).zip(from.chunks(TILE * S::SIZE));
                for (to, from) in runs {
                    good &= unpack::<S>(from, &mut numbers, T::MAX);
                    pack(&numbers, to);
                }
                finite.fetch_and(good, Ordering::Relaxed);
            });
        finite.into_inner()
    };
    // SAFETY: there are as many numbers as the bytes hold, and each has its place.
    unsafe { filled(count, shape, write) }
}

#[allow(unsafe_code)]
fn transpose_bytes<S: Number, T: Number>(from: &[u8], m: usize, n: usize) -> (TensorData, bool) {
    assert_eq!(from.len(), m * n * S::SIZE, "numbers of a matrix");
    let write = |to: &mut [MaybeUninit<T>]| {
        let finite = AtomicBool::new(true);
        // Each thread writes a band of rows of the result, which is a band of columns of the source.
        let bands = to.par_chunks_mut(TILE * m.max(1)).enumerate();
        bands.for_each(|(band, to)| {
            let good = transpose_band::<S, T>(from, [m, n], band * TILE, to);
            finite.fetch_and(good, Ordering::Relaxed);
        });
        finite.into_inner()
    };
    // SAFETY: the bands are all rows of the result, and each is filled.
    unsafe { filled(m * n, vec![n, m], write) }
}

/// Fills rows of the transposed matrix: columns of `from` from `first` on.
fn transpose_band<S: Number, T: Number>(
    from: &[u8],
    [m, n]: [usize; 2],
    first: usize,
    to: &mut [MaybeUninit<T>],
) -> bool {
    let columns = to.len() / m;
    let mut tile = [[0.0f32; TILE]; TILE];
    let mut good = true;
    for start in (0..m).step_by(TILE) {
        let rows = TILE.min(m - start);
        for (i, row) in tile[..rows].iter_mut().enumerate() {
            let at = ((start + i) * n + first) * S::SIZE;
            good &= unpack::<S>(&from[at..at + columns * S::SIZE], row, T::MAX);
        }
        let mut column = [0.0; TILE];
        for (j, to) in to.chunks_exact_mut(m).enumerate() {
            for (number, row) in column.iter_mut().zip(&tile[..rows]) {
                *number = row[j];
            }
            pack(&column[..rows], &mut to[start..start + rows]);
        }
    }
    good
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(shape: [usize; 2]) -> TensorData {
        let count = shape[0] * shape[1];
        let values = (0..count).map(|i| (i as f32 - 40.0) * 0.37);
        TensorData::new(values.collect::<Vec<_>>(), shape)
    }

    #[test]
    fn formats_are_those_of_the_tensor_library() {
        let formats = [DType::F32, DType::F16, DType::BF16];
        let special = [
            0.0, -0.0, 6e-8, -6e-5, 1.0009766, 30_000.0, 1e-40, 3.3333333,
        ];
        let special = TensorData::new(special.to_vec(), [2, 4]);
        for (from, data) in formats
            .iter()
            .flat_map(|f| [(*f, matrix([7, 129])), (*f, special.clone())])
        {
            let data = data.convert_dtype(from);
            for to in formats {
                let (ours, finite) = convert(&data, to).unwrap();
                assert!(finite);
                ours.assert_eq(&data.clone().convert_dtype(to), true);
            }
        }
        assert!(convert(&TensorData::new(vec![1i64], [1]), DType::F32).is_none());
    }

    #[test]
    fn matrices_are_transposed() {
        for shape in [[1, 1], [3, 200], [200, 3], [130, 65]] {
            let data = matrix(shape);
            let (transposed, _) = transpose(&data, DType::F32).unwrap();
            let [m, n] = shape;
            assert_eq!(transposed.shape().to_vec(), [n, m]);
            let (old, new): (Vec<f32>, Vec<f32>) =
                (data.iter().collect(), transposed.iter().collect());
            assert!((0..m * n).all(|at| new[at] == old[(at % m) * n + at / m]));
            let (back, _) = transpose(&transposed, DType::F32).unwrap();
            back.assert_eq(&data, true);
        }
    }

    #[test]
    fn numbers_that_are_not_finite_are_found() {
        for bad in [f32::NAN, f32::INFINITY, -1e6] {
            let mut values = vec![0.5f32; 200];
            values[150] = bad;
            let data = TensorData::new(values, [2, 100]);
            assert!(!convert(&data, DType::F16).unwrap().1);
            assert!(!transpose(&data, DType::F16).unwrap().1);
            assert_eq!(convert(&data, DType::BF16).unwrap().1, bad == -1e6);
        }
    }
}
