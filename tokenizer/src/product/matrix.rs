//! Matrices in memory, and the threads of a product.

use std::cell::RefCell;

use rayon::prelude::*;

use super::pack::Numbers;
use super::tile::{Packed, Part};

/// Multiplications below which one thread computes the whole product.
const SINGLE_THREADED: usize = 1 << 20;
/// Parts of a product for each thread.
const PARTS: usize = 4;
/// Fewest rows and columns of a part.
const FEWEST: [usize; 2] = [96, 64];

/// A matrix in memory.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    numbers: Numbers<'a>,
    shape: [usize; 2],
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// Of `shape`, row by row.
    ///
    /// # Panics
    /// If there are not as many numbers.
    pub fn new(numbers: Numbers<'a>, shape: [usize; 2]) -> Self {
        assert_eq!(numbers.len(), shape[0] * shape[1], "numbers of a matrix");
        Self {
            numbers,
            shape,
            strides: [shape[1], 1],
        }
    }

    /// Of `shape`, from the first number on, with so many numbers from row to row.
    ///
    /// # Panics
    /// If there are fewer numbers.
    pub fn of_rows(numbers: Numbers<'a>, shape: [usize; 2], stride: usize) -> Self {
        let [rows, columns] = shape;
        let end = if rows == 0 {
            0
        } else {
            (rows - 1) * stride + columns
        };
        assert!(end <= numbers.len(), "numbers of a matrix");
        Self {
            numbers,
            shape,
            strides: [stride, 1],
        }
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Rows become columns.
    pub fn transposed(self) -> Self {
        let turn = |[a, b]: [usize; 2]| [b, a];
        Self {
            numbers: self.numbers,
            shape: turn(self.shape),
            strides: turn(self.strides),
        }
    }
}

/// `a b`, with `a` `[m, k]` in f32 and `b` `[k, n]`: `[m, n]`, row by row, on all threads.
///
/// # Panics
/// If the shapes do not fit, or `a` is not in f32.
pub fn product(a: Matrix, b: Matrix) -> Vec<f32> {
    let (m, n) = (a.shape[0], b.shape[1]);
    let mut out = vec![0.0; m * n];
    let whole = part(a, b, &mut out, false);
    let [m, n, k] = whole.shape;
    let threads = rayon::current_num_threads();
    if threads == 1 || m * n * k < SINGLE_THREADED {
        run(&whole);
        return out;
    }
    let pieces = |length: usize, fewest: usize, most: usize| (length / fewest).clamp(1, most);
    let across = pieces(n, FEWEST[1], threads * PARTS);
    let down = pieces(m, FEWEST[0], (threads * PARTS).div_ceil(across));
    // Whole tiles of every processor.
    let high = m.div_ceil(down).next_multiple_of(12);
    let wide = n.div_ceil(across).next_multiple_of(32);
    let starts = (0..m)
        .step_by(high)
        .flat_map(|i| (0..n).step_by(wide).map(move |j| (i, j)));
    let parts: Vec<Sent> = starts
        .map(|(i, j)| {
            Sent(Part {
                shape: [high.min(m - i), wide.min(n - j), k],
                a: whole.a.wrapping_add(i * whole.a_strides[0]),
                b_start: j * whole.b_strides[1],
                c: whole.c.wrapping_add(i * whole.c_stride + j),
                ..whole
            })
        })
        .collect();
    parts.par_iter().for_each(|Sent(part)| run(part));
    out
}

/// `out = [out +] a b` on the calling thread; `out` is `[m, n]`, row by row.
///
/// # Panics
/// If the shapes do not fit, or `a` is not in f32.
pub fn multiply(a: Matrix, b: Matrix, out: &mut [f32], add: bool) {
    run(&part(a, b, out, add));
}

/// The whole product as one part.
fn part<'a>(a: Matrix, b: Matrix<'a>, out: &mut [f32], add: bool) -> Part<'a> {
    let ([m, k], [rows, n]) = (a.shape, b.shape);
    assert_eq!(k, rows, "the inner axes of a product");
    assert_eq!(out.len(), m * n, "the result of a product");
    let Numbers::F32(left) = a.numbers else {
        panic!("the left factor of a product is in f32");
    };
    if k == 0 && !add {
        out.fill(0.0);
    }
    Part {
        shape: [m, n, k],
        a: left.as_ptr(),
        a_strides: a.strides,
        b: b.numbers,
        b_start: 0,
        b_strides: b.strides,
        c: out.as_mut_ptr(),
        c_stride: n,
        add,
    }
}

/// A part that goes to another thread.
struct Sent<'a>(Part<'a>);

// SAFETY: parts of a product write other places of its result, and nothing writes the factors.
unsafe impl Send for Sent<'_> {}
unsafe impl Sync for Sent<'_> {}

/// The kernel of this processor.
pub fn kernel() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return "AVX-512";
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return "AVX2";
        }
    }
    "128-bit vectors"
}

thread_local! {
    /// Packed factors, reused from product to product.
    static PACKED: RefCell<Packed> = RefCell::default();
}

fn run(part: &Part) {
    PACKED.with_borrow_mut(|packed| run_with(part, packed));
}

fn run_with(part: &Part, packed: &mut Packed) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{__m256, __m512};

        #[target_feature(enable = "avx512f")]
        fn v4(part: &Part, packed: &mut Packed) {
            // SAFETY: `part` checked the sizes, and the caller the processor.
            unsafe { part.run::<__m512, 12, 2, 32>(packed) }
        }
        #[target_feature(enable = "avx2,fma")]
        fn v3(part: &Part, packed: &mut Packed) {
            // SAFETY: as above.
            unsafe { part.run::<__m256, 6, 2, 16>(packed) }
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has the instructions.
            return unsafe { v4(part, packed) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: as above.
            return unsafe { v3(part, packed) };
        }
    }
    // SAFETY: `part` checked the sizes.
    unsafe { part.run::<[f32; 4], 6, 4, 16>(packed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{bf16, f16};

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 37 + seed) % 17) as f32 - 8.0)
            .collect()
    }

    fn turned(x: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
        (0..rows * columns)
            .map(|i| x[i % rows * columns + i / rows])
            .collect()
    }

    /// Small integers: every order of sums gives the same numbers.
    #[test]
    fn the_same_numbers_as_the_sum() {
        for [m, k, n] in [
            [1, 1, 1],
            [2, 300, 33],
            [5, 7, 100],
            [13, 64, 16],
            [130, 257, 70],
            [250, 40, 600],
            [3, 2000, 1300],
        ] {
            let (a, b) = (numbers(m * k, 3), numbers(k * n, 11));
            let mut expected = vec![0f32; m * n];
            for (i, line) in expected.chunks_exact_mut(n).enumerate() {
                for (p, row) in b.chunks_exact(n).enumerate() {
                    for (sum, b) in line.iter_mut().zip(row) {
                        *sum += a[i * k + p] * b;
                    }
                }
            }
            let left = Matrix::new(Numbers::F32(&a), [m, k]);
            let right = Matrix::new(Numbers::F32(&b), [k, n]);
            assert_eq!(product(left, right), expected, "{m} {k} {n}");
            let (a_turned, b_turned) = (turned(&a, [m, k]), turned(&b, [k, n]));
            let a_turned = Matrix::new(Numbers::F32(&a_turned), [k, m]).transposed();
            let b_turned = Matrix::new(Numbers::F32(&b_turned), [n, k]).transposed();
            assert_eq!(product(a_turned, b_turned), expected, "turned {m} {k} {n}");
            let halves: Vec<bf16> = b.iter().map(|&x| bf16::from_f32(x)).collect();
            let halves = Matrix::new(Numbers::Bf16(&halves), [k, n]);
            assert_eq!(product(left, halves), expected, "bf16 {m} {k} {n}");
            let halves: Vec<f16> = b.iter().map(|&x| f16::from_f32(x)).collect();
            let halves = Matrix::new(Numbers::F16(&halves), [k, n]);
            assert_eq!(product(left, halves), expected, "f16 {m} {k} {n}");
            let integers: Vec<i8> = b.iter().map(|&x| x as i8).collect();
            let integers = Matrix::new(Numbers::Int8(&integers), [k, n]);
            assert_eq!(product(left, integers), expected, "int8 {m} {k} {n}");
            let mut twice = expected.clone();
            multiply(left, right, &mut twice, true);
            let double: Vec<f32> = expected.iter().map(|x| 2.0 * x).collect();
            assert_eq!(twice, double, "added {m} {k} {n}");
        }
    }

    /// The tiles of all processors, of which only some have wider registers.
    #[test]
    fn every_kernel_gives_the_same() {
        let [m, k, n] = [67, 300, 75];
        let (a, b) = (numbers(m * k, 3), numbers(k * n, 11));
        let left = Matrix::new(Numbers::F32(&a), [m, k]);
        let right = Matrix::new(Numbers::F32(&b), [k, n]);
        let expected = product(left, right);
        let mut out = vec![0.0; m * n];
        let part = part(left, right, &mut out, false);
        // SAFETY: `part` checked the sizes.
        unsafe { part.run::<[f32; 4], 6, 4, 16>(&mut Packed::default()) };
        assert_eq!(out, expected);
        let part = super::part(left, right, &mut out, false);
        // SAFETY: as above.
        unsafe { part.run::<[f32; 4], 12, 8, 32>(&mut Packed::default()) };
        assert_eq!(out, expected);
    }

    /// A row does not depend on those beside it: in a batch it is what it is alone.
    #[test]
    fn rows_are_the_same_in_every_batch() {
        let [m, k, n] = [40, 515, 300];
        let a: Vec<f32> = numbers(m * k, 3).iter().map(|x| (x * 1.7).sin()).collect();
        let b: Vec<f32> = numbers(k * n, 11).iter().map(|x| (x * 0.3).cos()).collect();
        let right = Matrix::new(Numbers::F32(&b), [k, n]);
        let all = product(Matrix::new(Numbers::F32(&a), [m, k]), right);
        for rows in [1, 2, 5, 7, 12] {
            let some = product(Matrix::new(Numbers::F32(&a[..rows * k]), [rows, k]), right);
            assert_eq!(some, all[..rows * n]);
        }
    }

    #[test]
    fn nothing_to_sum() {
        let empty = Matrix::new(Numbers::F32(&[]), [2, 0]);
        assert_eq!(product(empty, empty.transposed()), [0.0; 4]);
    }

    #[test]
    #[should_panic(expected = "inner axes")]
    fn factors_that_do_not_fit() {
        let x = Matrix::new(Numbers::F32(&[1.0; 6]), [2, 3]);
        product(x, x);
    }
}
