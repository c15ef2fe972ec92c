//! Rotary positions along any number of axes.
//!
//! A head of `d` channels is read as `d / 2` pairs `(2i, 2i + 1)`. The pairs are divided among the axes in equal runs (rows
//! first, then columns, for images), and pair `j` of an axis is rotated by `position * theta^(-2j / (d / axes))`. With one
//! axis this is RoFormer's embedding (arXiv 2104.09864); with two it is that of Infinity's self-attention layers.

use burn::tensor::{Device, Int, Tensor, TensorData};
use nextscale_tokenizer::{Scale, ScaleSchedule};
use rayon::prelude::*;

/// The usual base of the angles.
pub const THETA: f64 = 10_000.0;

/// Cosines and signed sines for every token of a schedule, ready to be multiplied with a head.
#[derive(Debug, Clone)]
pub struct RopeTable {
    /// `[l, d]`: the cosine of a pair, at both of its indices.
    cos: Tensor<2>,
    /// `[l, d]`: the sine of a pair, negative at the even index and positive at the odd one.
    sin: Tensor<2>,
}

impl RopeTable {
    /// The table of `positions`, one per token, for heads of `head_dim` channels.
    ///
    /// Angles are computed in f32, as in the released models.
    ///
    /// # Panics
    /// If `head_dim` is not a multiple of `2 * A`.
    pub fn new<const A: usize>(
        positions: &[[f32; A]],
        head_dim: usize,
        theta: f64,
        device: &Device,
    ) -> Self {
        assert!(
            head_dim > 0 && head_dim.is_multiple_of(2 * A),
            "a head of {head_dim} channels cannot be split into pairs over {A} axes"
        );
        let along = head_dim / A; // channels of a head that one axis rotates
        let rates: Vec<f32> = (0..along / 2)
            .map(|j| 1.0 / (theta.powf(f64::from(2 * j as u32) / along as f64) as f32))
            .collect();
        let mut cos = vec![0.0; positions.len() * head_dim];
        let mut sin = cos.clone();
        let tokens = cos
            .par_chunks_mut(head_dim)
            .zip(sin.par_chunks_mut(head_dim));
        tokens.zip(positions).for_each(|((cos, sin), token)| {
            let pairs = cos.chunks_exact_mut(2).zip(sin.chunks_exact_mut(2));
            let angles = token
                .iter()
                .flat_map(|position| rates.iter().map(move |rate| position * rate));
            for ((cos, sin), angle) in pairs.zip(angles) {
                let (s, c) = f64::from(angle).sin_cos();
                cos.fill(c as f32);
                sin.copy_from_slice(&[-s as f32, s as f32]);
            }
        });
        let shape = [positions.len(), head_dim];
        Self {
            cos: Tensor::from_data(TensorData::new(cos, shape), device),
            sin: Tensor::from_data(TensorData::new(sin, shape), device),
        }
    }

    /// The rows of tokens `start .. start + len`.
    pub fn slice(&self, start: usize, len: usize) -> Self {
        Self {
            cos: self.cos.clone().slice_dim(0, start..start + len),
            sin: self.sin.clone().slice_dim(0, start..start + len),
        }
    }

    /// The rows of some tokens. Of `b l` rows, [`RopeTable::apply`] takes the first `l` for the first row of a batch, and so on.
    pub fn select(&self, tokens: Tensor<1, Int>) -> Self {
        Self {
            cos: self.cos.clone().select(0, tokens.clone()),
            sin: self.sin.clone().select(0, tokens),
        }
    }

    /// The same in memory of its own.
    #[cfg(feature = "cuda")]
    pub fn copied(&self) -> Self {
        let copy = |x: &Tensor<2>| {
            let room = Tensor::empty(x.dims(), (&x.device(), x.dtype()));
            crate::card::place(room, x.clone(), 1)
        };
        Self {
            cos: copy(&self.cos),
            sin: copy(&self.sin),
        }
    }

    /// Cosines and signed sines, `[l, d]` each.
    pub(crate) fn tables(&self) -> [&Tensor<2>; 2] {
        [&self.cos, &self.sin]
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.cos.dims()[0]
    }

    /// Rotates every head of `x`, `[b, l, h, d]` in f32, by the position of its token.
    ///
    /// # Panics
    /// If the table has neither `l` nor `b l` tokens, or `d` differs from the table's.
    pub fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, l, h, d] = x.dims();
        let [rows, width] = self.cos.dims();
        assert!(
            (rows == l || rows == b * l) && width == d,
            "rope table [{rows}, {width}] and heads disagree on [l, d]: [{l}, {d}]"
        );
        let swapped: Tensor<4> = x
            .clone()
            .reshape([b, l, h, d / 2, 2])
            .flip([4])
            .reshape([b, l, h, d]);
        let cos = self.cos.clone().reshape([rows / l, l, 1, d]);
        let sin = self.sin.clone().reshape([rows / l, l, 1, d]);
        x * cos + swapped * sin
    }

    /// Cosines and sines per pair, `[l, d / 2]` each, as other implementations cache them.
    pub fn pairs(&self) -> (Tensor<2>, Tensor<2>) {
        let [l, d] = self.cos.dims();
        let odd = |t: &Tensor<2>| {
            t.clone()
                .reshape([l, d / 2, 2])
                .slice([0..l, 0..d / 2, 1..2])
                .reshape([l, d / 2])
        };
        (odd(&self.cos), odd(&self.sin))
    }
}

/// Row and column of every token of an image schedule, see [`cell_positions`].
pub fn grid_positions(schedule: &ScaleSchedule, reference: Scale) -> Vec<[f32; 2]> {
    let scales = schedule.scales().iter();
    let frames = scales.flat_map(|scale| std::iter::repeat_n(*scale, scale.t));
    frames
        .flat_map(|scale| cell_positions(scale, reference))
        .collect()
}

/// Row and column of every cell of one frame of `scale`, on the grid of `reference`.
///
/// Row `i` of a scale with `h` rows is at `round(i * (H / h))`, in f32 with halves to even, where `H` is the number of rows
/// of `reference`, so that a token keeps its place in the image from scale to scale (`precompute_rope2d_freqs_grid` of
/// Infinity, mode 2). Columns likewise.
pub fn cell_positions(scale: Scale, reference: Scale) -> impl Iterator<Item = [f32; 2]> {
    let place = |i: usize, full: usize, side: usize| {
        let at = i as f32 * (full as f64 / side as f64) as f32;
        // The cells of a grid that is finer than the reference are between its positions.
        if side > full {
            at
        } else {
            at.round_ties_even()
        }
    };
    let row = move |i| place(i, reference.h, scale.h);
    let column = move |j| place(j, reference.w, scale.w);
    (0..scale.h).flat_map(move |i| (0..scale.w).map(move |j| [row(i), column(j)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_to_even() {
        let schedule = ScaleSchedule::square(&[1, 2, 4]).unwrap();
        let rows: Vec<f32> = grid_positions(&schedule, Scale::image(5, 5))
            .iter()
            .skip(5)
            .step_by(4)
            .map(|p| p[0])
            .collect();
        assert_eq!(rows, [0.0, 1.0, 2.0, 4.0]); // 0, 1.25, 2.5, 3.75
    }

    #[test]
    fn a_turn_keeps_length_and_relative_angle() {
        let device = Device::flex();
        let positions: Vec<[f32; 1]> = (0..6).map(|i| [i as f32]).collect();
        let table = RopeTable::new(&positions, 4, THETA, &device);
        let x = Tensor::<1>::from_floats([1.0, 2.0, -1.0, 0.5], &device)
            .reshape([1, 1, 1, 4])
            .repeat_dim(1, 6);
        let y: Vec<f32> = table.apply(x).into_data().try_to_vec().unwrap();
        let dot = |a: usize, b: usize| -> f32 { (0..4).map(|i| y[4 * a + i] * y[4 * b + i]).sum() };
        assert!((dot(0, 0) - 6.25).abs() < 1e-5);
        assert!((dot(0, 2) - dot(3, 5)).abs() < 1e-5);
        assert!((dot(0, 2) - dot(0, 3)).abs() > 1e-2);
        assert_eq!(&y[..4], [1.0, 2.0, -1.0, 0.5]);
        let (c, s) = (1f32.cos(), 1f32.sin());
        assert!((y[4] - (c - 2.0 * s)).abs() < 1e-6 && (y[5] - (s + 2.0 * c)).abs() < 1e-6);
    }
}
