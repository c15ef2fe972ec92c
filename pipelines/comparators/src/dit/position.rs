//! Fixed embeddings of positions and times: sines and cosines.

use burn::tensor::{Device, Tensor, TensorData};

/// The period of the slowest wave.
const PERIOD: f64 = 10_000.0;

/// Embeddings of the tokens of a square, `[1, n n, c]`: the first half of the channels of the column, the second of the row, each sines
/// and then cosines (`get_2d_sincos_pos_embed` of `models.py`).
pub(super) fn grid(n: usize, c: usize, device: &Device) -> Tensor<3> {
    let quarter = c / 4;
    let rate = |i: usize| PERIOD.powf(-(i as f64) / quarter as f64);
    let rates: Vec<f64> = (0..quarter).map(rate).collect();
    let mut all = Vec::with_capacity(n * n * c);
    for cell in 0..n * n {
        for position in [cell % n, cell / n] {
            let angles = rates.iter().map(|rate| position as f64 * rate);
            let angles: Vec<f64> = angles.collect();
            all.extend(angles.iter().map(|angle| angle.sin() as f32));
            all.extend(angles.iter().map(|angle| angle.cos() as f32));
        }
    }
    Tensor::from_data(TensorData::new(all, [1, n * n, c]), device)
}

/// Embeddings of times, `[b, c]`: cosines and then sines (`timestep_embedding` of `models.py`).
pub(super) fn times(times: &[f32], c: usize, device: &Device) -> Tensor<2> {
    let half = c / 2;
    let rates: Vec<f32> = (0..half)
        .map(|i| (-PERIOD.ln() as f32 * i as f32 / half as f32).exp())
        .collect();
    let mut all = Vec::with_capacity(times.len() * c);
    for time in times {
        all.extend(rates.iter().map(|rate| (time * rate).cos()));
        all.extend(rates.iter().map(|rate| (time * rate).sin()));
    }
    Tensor::from_data(TensorData::new(all, [times.len(), 2 * half]), device)
}
