//! Attention on the CPU: scores of some queries at a time, on all cores.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{Bool, DType, Tensor};
use nextscale_tokenizer::cpu::{plain, tensor};
use nextscale_tokenizer::product::{Matrix, Numbers, multiply};
use nextscale_tokenizer::widest;
use rayon::prelude::*;

/// Queries whose scores are in memory at a time: whole tiles of the products.
const QUERIES: usize = 96;
/// Queries, keys and numbers of a head below whose product one thread does the work.
const SINGLE_THREADED: usize = 1 << 16;

/// `softmax(q k^T) v`: `q` is `[b, h, n, d]`, `k` and `v` are `[b, h, m, d]`, and so is the result. `hidden` broadcasts to
/// `[b, h, n, m]` and is true where a query does not attend. None if the tensors are not in f32 on the CPU.
///
/// Nothing is copied of a view of the first tokens of a cache. The result lies in memory as `[b, n, h, d]`, in which the heads are
/// merged.
pub(crate) fn attention(
    q: &Tensor<4>,
    k: &Tensor<4>,
    v: &Tensor<4>,
    hidden: Option<&Tensor<4, Bool>>,
) -> Option<Tensor<4>> {
    let [b, h, n, d] = q.dims();
    let [_, _, m, _] = k.dims();
    let [q, k, v] = [Heads::of(q)?, Heads::of(k)?, Heads::of(v)?];
    if b * h * n * d * m == 0 {
        return None;
    }
    let hidden = hidden.map(Mask::of);
    let mut out = vec![0.0; b * n * h * d];
    let place = Place(out.as_mut_ptr());
    let head = |image: usize, head: usize, from: usize| {
        let count = QUERIES.min(n - from);
        let mut scores = vec![0.0; count * m];
        multiply(
            q.matrix([image, head], from, count),
            k.matrix([image, head], 0, m).transposed(),
            &mut scores,
            false,
        );
        let mut sums = [0.0; QUERIES];
        for (i, (row, sum)) in scores.chunks_exact_mut(m).zip(&mut sums).enumerate() {
            if let Some(mask) = &hidden {
                hide(mask.row([image, head, from + i]), row);
            }
            *sum = exponentials(row);
        }
        let mut attended = vec![0.0; count * d];
        let weights = Matrix::new(Numbers::F32(&scores), [count, m]);
        let values = v.matrix([image, head], 0, m);
        multiply(weights, values, &mut attended, false);
        for (i, (row, sum)) in attended.chunks_exact(d).zip(&sums).enumerate() {
            let at = ((image * n + from + i) * h + head) * d;
            // SAFETY: each row of each head has a place of its own in the result, and one piece of work writes it.
            let to = unsafe { std::slice::from_raw_parts_mut(place.at(at), d) };
            let share = 1.0 / sum;
            for (to, x) in to.iter_mut().zip(row) {
                *to = x * share;
            }
        }
    };
    let blocks = n.div_ceil(QUERIES);
    let piece = |i: usize| head(i / blocks / h, i / blocks % h, i % blocks * QUERIES);
    if n * m * d < SINGLE_THREADED / h {
        (0..b * h * blocks).for_each(piece);
    } else {
        (0..b * h * blocks).into_par_iter().for_each(piece);
    }
    let out = Tensor::from_primitive::<Flex>(tensor(out, [b, n, h, d]));
    Some(out.swap_dims(1, 2))
}

/// Where the threads write.
struct Place(*mut f32);

// SAFETY: the threads write different places.
unsafe impl Sync for Place {}

impl Place {
    fn at(&self, i: usize) -> *mut f32 {
        self.0.wrapping_add(i)
    }
}

/// Rows of numbers by image and head.
struct Heads {
    tensor: FlexTensor,
    start: usize,
    /// From image to image, head to head and token to token.
    strides: [usize; 3],
    d: usize,
}

impl Heads {
    /// Of a tensor in f32 on the CPU.
    fn of(x: &Tensor<4>) -> Option<Self> {
        if x.dtype() != DType::F32 {
            return None;
        }
        let x = plain(x)?;
        let strides = x.layout().strides();
        let rows = strides[3] == 1 && strides.iter().all(|&stride| stride >= 0);
        let tensor = if rows { x } else { x.to_contiguous() };
        let layout = tensor.layout();
        let mut strides = [0; 3];
        for (to, &from) in strides.iter_mut().zip(layout.strides()) {
            *to = usize::try_from(from).ok()?;
        }
        Some(Self {
            start: layout.start_offset(),
            strides,
            d: layout.shape()[3],
            tensor,
        })
    }

    /// `count` rows of a head, from token `from` on.
    fn matrix(&self, [image, head]: [usize; 2], from: usize, count: usize) -> Matrix<'_> {
        let [images, heads, tokens] = self.strides;
        let at = self.start + image * images + head * heads + from * tokens;
        let numbers = &self.tensor.storage::<f32>()[at..];
        Matrix::of_rows(Numbers::F32(numbers), [count, self.d], tokens)
    }
}

/// What queries do not attend to.
struct Mask {
    hidden: Vec<bool>,
    shape: [usize; 4],
}

impl Mask {
    fn of(mask: &Tensor<4, Bool>) -> Self {
        Self {
            hidden: mask.to_data().iter().collect(),
            shape: mask.dims(),
        }
    }

    /// Of an image, a head and a query: for all keys, or one number for all.
    fn row(&self, at: [usize; 3]) -> &[bool] {
        let mut row = 0;
        for (size, at) in self.shape.iter().zip(at) {
            row = row * size + at.min(size - 1);
        }
        &self.hidden[row * self.shape[3]..][..self.shape[3]]
    }
}

/// Scores of hidden keys: less than all others.
fn hide(hidden: &[bool], scores: &mut [f32]) {
    for (score, &hidden) in scores.iter_mut().zip(hidden.iter().cycle()) {
        if hidden {
            *score = f32::NEG_INFINITY;
        }
    }
}

widest!(exponentials, exponentials_body, (x: &mut [f32]) -> f32);

/// Sums that a processor adds side by side.
const LANES: usize = 16;

/// Exponentials of the numbers less the largest, and their sum.
#[inline(always)]
fn exponentials_body(x: &mut [f32]) -> f32 {
    let mut most = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for numbers in whole {
        for (most, &x) in most.iter_mut().zip(numbers) {
            *most = if x > *most { x } else { *most };
        }
    }
    for (most, &x) in most.iter_mut().zip(rest) {
        *most = if x > *most { x } else { *most };
    }
    let mut largest = f32::NEG_INFINITY;
    for most in most {
        largest = if most > largest { most } else { largest };
    }
    let mut sums = [0.0; LANES];
    let (whole, rest) = x.as_chunks_mut::<LANES>();
    for numbers in whole {
        for (sum, x) in sums.iter_mut().zip(numbers) {
            *x = exp(*x - largest);
            *sum += *x;
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *x = exp(*x - largest);
        *sum += *x;
    }
    let mut all = 0.0;
    for sum in sums {
        all += sum;
    }
    all
}

/// Coefficients of the exponential between `-ln 2 / 2` and `ln 2 / 2`: those of `expf` in the Cephes library.
const EXP: [f32; 6] = [
    1.987_569_1e-4,
    1.398_199_9e-3,
    8.333_452e-3,
    4.166_579_6e-2,
    1.666_666_5e-1,
    0.5,
];
/// `ln 2` in two parts, of which the first has few bits (Cephes).
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// Adding this rounds to a whole number, which the last bits of the sum hold.
const ROUND: f32 = 12_582_912.0;
/// The exponential of less is 0.
const LEAST: f32 = -87.0;

/// `e^x` of a number that is not above 0, accurate to two units in the last place. What is no number stays none.
#[inline(always)]
fn exp(x: f32) -> f32 {
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let power = rounded - ROUND;
    let rest = x - power * LN_2[0] - power * LN_2[1];
    let mut sum = EXP[0];
    for c in &EXP[1..] {
        sum = sum * rest + *c;
    }
    let sum = sum * rest * rest + rest + 1.0;
    // The exponent of a number of 32 bits starts at its 24th.
    let scaled = f32::from_bits(sum.to_bits().wrapping_add(rounded.to_bits() << 23));
    let scaled = if x < LEAST { 0.0 } else { scaled };
    // What is no number must not become one with other bits.
    if x.is_nan() { x } else { scaled }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution, Tolerance, activation::softmax};

    fn random(shape: [usize; 4]) -> Tensor<4> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
    }

    fn written_out(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
        softmax(q.matmul(k.transpose()), 3).matmul(v)
    }

    /// Compared with the operations written out, of a few tokens and of more than one block, in views of a cache.
    #[test]
    fn as_written_out() {
        for [n, m, d] in [[1, 1, 8], [5, 7, 64], [250, 130, 16], [97, 600, 48]] {
            let q = random([2, 3, n, d]);
            let cached = || random([2, 3, m + 5, d]).slice_dim(2, 0..m);
            let (k, v) = (cached(), cached());
            let ours = attention(&q, &k, &v, None).unwrap();
            let expected = written_out(q, k, v).into_data();
            let tolerance = Tolerance::<f32>::absolute(2e-5);
            ours.into_data().assert_approx_eq(&expected, tolerance);
        }
    }

    /// A key that is hidden is as one that is not there: to the last bit.
    #[test]
    fn hidden_keys_are_none() {
        let [n, m, d] = [100, 300, 32];
        let (q, k, v) = (
            random([2, 3, n, d]),
            random([2, 3, m, d]),
            random([2, 3, m, d]),
        );
        let hidden = crate::mask::padding(&[200, 300], m, &Device::flex());
        let all = attention(&q, &k, &v, hidden.as_ref()).unwrap();
        let [first, short] = [q, k.clone()].map(|x| x.slice_dim(0, 0..1));
        let keys = [short, v.slice_dim(0, 0..1)].map(|x| x.slice_dim(2, 0..200));
        let alone = attention(&first, &keys[0], &keys[1], None).unwrap();
        assert_eq!(all.slice_dim(0, 0..1).into_data(), alone.into_data());
    }

    /// A query does not depend on those beside it.
    #[test]
    fn queries_are_the_same_in_every_block() {
        let (q, k, v) = (
            random([1, 2, 150, 16]),
            random([1, 2, 40, 16]),
            random([1, 2, 40, 16]),
        );
        let all = attention(&q, &k, &v, None).unwrap();
        for rows in [0..1, 3..10, 90..150] {
            let some = q.clone().slice_dim(2, rows.clone());
            let some = attention(&some, &k, &v, None).unwrap();
            assert_eq!(some.into_data(), all.clone().slice_dim(2, rows).into_data());
        }
    }

    #[test]
    fn exponential() {
        for i in 0..87_000 {
            let x = -(i as f32) / 1000.0;
            let exact = f64::from(x).exp();
            let off = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(off < 2.4e-7, "{x}: {off}");
        }
        assert_eq!(
            [exp(0.0), exp(-100.0), exp(f32::NEG_INFINITY)],
            [1.0, 0.0, 0.0]
        );
        assert!(exp(f32::NAN).is_nan());
    }

    /// A score that is no number spoils its own query and no other.
    #[test]
    fn no_number_stays_none() {
        let mut rows = random([1, 1, 2, 8]);
        rows = rows.slice_fill([0..1, 0..1, 0..1, 0..1], f32::NAN);
        let ours = attention(&rows, &random([1, 1, 3, 8]), &random([1, 1, 3, 8]), None).unwrap();
        let ours: Vec<f32> = ours.into_data().iter().collect();
        assert!(ours[..8].iter().all(|x| x.is_nan()) && ours[8..].iter().all(|x| x.is_finite()));
    }
}
