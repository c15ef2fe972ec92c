//! Group norm and SiLU on the CPU with one pass forward and two backward, one group of an image at a time.

use rayon::prelude::*;

/// The shapes of a group norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Groups {
    /// Groups of an image.
    pub groups: usize,
    /// Channels of a group.
    pub channels: usize,
    /// Cells of a channel.
    pub cells: usize,
}

/// What the backward pass needs of a group: its mean, and one over its standard deviation.
pub(super) type Moments = (f32, f32);

/// The gradients of input, weight and bias.
pub(super) struct Gradients {
    pub x: Vec<f32>,
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// The sum of `f` over all pairs: 16 parallel sums, accumulated in double precision between blocks.
#[inline(always)]
fn total(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f64 {
    let mut total = 0.0;
    for (x, y) in x.chunks(4096).zip(y.chunks(4096)) {
        let mut lanes = [0f32; 16];
        let (xs, ys) = (x.chunks_exact(16), y.chunks_exact(16));
        for (&x, &y) in xs.remainder().iter().zip(ys.remainder()) {
            total += f64::from(f(x, y));
        }
        for (x, y) in xs.zip(ys) {
            for (lane, (&x, &y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
                *lane += f(x, y);
            }
        }
        total += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
    }
    total
}

/// `1 / (1 + exp(-x))`, within two units in the last place of the exponential.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    // exp(-x) = 2^n exp(r), |r| <= ln 2 / 2, by the polynomial of the Cephes library
    let y = (-x).clamp(-87.0, 87.0);
    let shifted = y * std::f32::consts::LOG2_E + 12_582_912.0; // rounds to integers
    let n = shifted - 12_582_912.0;
    let r = y - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = ((((1.987_569_1e-4 * r + 1.398_2e-3) * r + 8.333_452e-3) * r + 4.166_579_6e-2) * r
        + 1.666_666_5e-1)
        * r
        + 0.5;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    1.0 / (1.0 + (p * r * r + r + 1.0) * power)
}

widest!(moments, moments_body, (x: &[f32]) -> Moments);

#[inline(always)]
fn moments_body(x: &[f32]) -> Moments {
    let n = x.len() as f64;
    let mean = (total(x, x, |x, _| x) / n) as f32;
    let var = total(x, x, |x, _| (x - mean) * (x - mean)) / n;
    (mean, (1.0 / (var + 1e-6).sqrt()) as f32)
}

widest!(apply, apply_body, (x: &[f32], y: &mut [f32], scale: f32, shift: f32));

#[inline(always)]
fn apply_body(x: &[f32], y: &mut [f32], scale: f32, shift: f32) {
    for (x, y) in x.iter().zip(y) {
        let z = x * scale + shift;
        *y = z * sigmoid(z);
    }
}

widest!(unsilu, unsilu_body, (x: &[f32], dy: &[f32], dz: &mut [f32], scale: f32, shift: f32));

/// The gradient before SiLU.
#[inline(always)]
fn unsilu_body(x: &[f32], dy: &[f32], dz: &mut [f32], scale: f32, shift: f32) {
    for ((x, dy), dz) in x.iter().zip(dy).zip(dz) {
        let z = x * scale + shift;
        let s = sigmoid(z);
        *dz = dy * (s + z * s * (1.0 - s));
    }
}

widest!(sums, sums_body, (x: &[f32], dz: &[f32], mean: f32) -> (f64, f64));

/// The sums of the gradient, and of the gradient times the centred input.
#[inline(always)]
fn sums_body(x: &[f32], dz: &[f32], mean: f32) -> (f64, f64) {
    (
        total(dz, dz, |dz, _| dz),
        total(x, dz, |x, dz| (x - mean) * dz),
    )
}

widest!(finish, finish_body, (x: &[f32], dz: &mut [f32], a: f32, b: f32, c: f32));

/// `a dz + b x + c`.
#[inline(always)]
fn finish_body(x: &[f32], dz: &mut [f32], a: f32, b: f32, c: f32) {
    for (x, dz) in x.iter().zip(dz) {
        *dz = *dz * a + x * b + c;
    }
}

/// The index of a group, its values, the gradient of its output, and a buffer for the gradient of its values.
type Indexed<'a> = (usize, ((&'a [f32], &'a [f32]), &'a mut [f32]));

/// Scale and shift of a channel.
fn affine(weight: f32, bias: f32, (mean, inv): Moments) -> (f32, f32) {
    let scale = inv * weight;
    (scale, bias - mean * scale)
}

impl Groups {
    fn group(&self) -> usize {
        self.channels * self.cells
    }

    /// `silu(norm(x) weight + bias)` and the moments of each group, by image and group.
    pub fn forward(&self, x: &[f32], weight: &[f32], bias: &[f32]) -> (Vec<f32>, Vec<Moments>) {
        let mut y = vec![0.0; x.len()];
        let groups = x
            .par_chunks_exact(self.group())
            .zip(y.par_chunks_exact_mut(self.group()));
        let work = |(i, (x, y)): (usize, (&[f32], &mut [f32]))| {
            let all = moments(x);
            let cells = x
                .chunks_exact(self.cells)
                .zip(y.chunks_exact_mut(self.cells));
            for (c, (x, y)) in cells.enumerate() {
                let at = i % self.groups * self.channels + c;
                let (scale, shift) = affine(weight[at], bias[at], all);
                apply(x, y, scale, shift);
            }
            all
        };
        let moments = groups.enumerate().map(work).collect();
        (y, moments)
    }

    /// The gradients, given the gradient of the output.
    pub fn backward(
        &self,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        moments: &[Moments],
        grad: &[f32],
    ) -> Gradients {
        let mut dx = vec![0.0; x.len()];
        let inputs = x
            .par_chunks_exact(self.group())
            .zip(grad.par_chunks_exact(self.group()));
        let groups = inputs.zip(dx.par_chunks_exact_mut(self.group()));
        let work = |(i, ((x, dy), dx)): Indexed<'_>| {
            let first = i % self.groups * self.channels;
            let own = first..first + self.channels;
            self.group_backward(x, dy, dx, &weight[own.clone()], &bias[own], moments[i])
        };
        let parameters: Vec<_> = groups.enumerate().map(work).collect();
        let (mut dw, mut db) = (vec![0.0; weight.len()], vec![0.0; bias.len()]);
        for (i, group) in parameters.iter().enumerate() {
            for (c, &(w, b)) in group.iter().enumerate() {
                dw[i % self.groups * self.channels + c] += w;
                db[i % self.groups * self.channels + c] += b;
            }
        }
        Gradients {
            x: dx,
            weight: dw.iter().map(|&v| v as f32).collect(),
            bias: db.iter().map(|&v| v as f32).collect(),
        }
    }

    /// Fills `dx` with the gradient of a group, whose weights and biases are given. Returns the gradients of both, by channel.
    fn group_backward(
        &self,
        x: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        weight: &[f32],
        bias: &[f32],
        (mean, inv): Moments,
    ) -> Vec<(f64, f64)> {
        let cells = |c: usize| c * self.cells..(c + 1) * self.cells;
        let (mut sum, mut sum_x) = (0.0, 0.0);
        let mut parameters = Vec::with_capacity(self.channels);
        for c in 0..self.channels {
            let (x, dx) = (&x[cells(c)], &mut dx[cells(c)]);
            let (scale, shift) = affine(weight[c], bias[c], (mean, inv));
            unsilu(x, &dy[cells(c)], dx, scale, shift);
            let (plain, centred) = sums(x, dx, mean);
            let w = f64::from(weight[c]);
            sum += w * plain;
            sum_x += w * centred;
            parameters.push((centred * f64::from(inv), plain));
        }
        // dx = inv (w dz - mean(w dz) - (x - mean) inv^2 mean(w dz (x - mean)))
        let n = self.group() as f64;
        let b = -f64::from(inv).powi(3) * sum_x / n;
        let constant = -f64::from(inv) * sum / n - b * f64::from(mean);
        for c in 0..self.channels {
            let (x, dx) = (&x[cells(c)], &mut dx[cells(c)]);
            finish(x, dx, inv * weight[c], b as f32, constant as f32);
        }
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigmoid_is_exact_enough() {
        for i in -4000..4000 {
            let x = i as f32 * 0.025;
            let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
            let off = (f64::from(sigmoid(x)) - exact).abs() / exact;
            assert!(off < 4e-7 || exact < 1e-37, "{x}: off by {off}");
        }
    }
}
