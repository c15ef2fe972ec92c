//! The error of what is predicted.

use burn::tensor::Tensor;
use nextscale_var_core::matmul::Precision;

use super::model::Dit;
use super::process::Process;

/// Latents with noise, for one step of training.
#[derive(Debug, Clone)]
pub struct Noised<'a> {
    /// The latents, `[b, c, s, s]`, of about unit variance.
    pub latents: Tensor<4>,
    /// Their noise, of the same shape.
    pub noise: Tensor<4>,
    /// The time of each, as [`Process::time`] draws it.
    pub times: &'a [f32],
    /// The class of each; the number of classes stands for none.
    pub labels: &'a [usize],
}

/// Mean squared error of what the model predicts, `[1]`.
///
/// # Panics
/// As [`Dit::forward`].
pub fn loss(model: &Dit, batch: Noised, process: Process, precision: Precision) -> Tensor<1> {
    let Noised {
        latents,
        noise,
        times,
        labels,
    } = batch;
    let c = latents.dims()[1];
    let rows = times.iter().enumerate().map(|(i, &time)| {
        let [signal, loud] = process.factors(time);
        let row = |x: &Tensor<4>| x.clone().slice_dim(0, i..i + 1);
        row(&latents) * signal + row(&noise) * loud
    });
    let x = Tensor::cat(rows.collect(), 0);
    let predicted = model.forward(x, times, labels, precision);
    let target = process.target(latents, noise);
    let off = predicted.slice_dim(1, 0..c) - target;
    (off.clone() * off).mean()
}
