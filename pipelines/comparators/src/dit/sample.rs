//! Sampling: from noise to a latent.

use burn::tensor::{Device, Tensor, TensorData};
use nextscale_var_core::guidance::mix;
use nextscale_var_core::matmul::Precision;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;

use super::config::DitConfig;
use super::model::Dit;
use super::process::Process;

/// What [`sample`] generates from.
#[derive(Debug, Clone)]
pub struct SampleInput<'a> {
    /// One class per image.
    pub labels: &'a [usize],
    /// Normal noise, `[b, c, s, s]`, such as that of [`noise`].
    pub noise: Tensor<4>,
    /// The guidance weight, `weight c + (1 - weight) u` on all channels; 1 is no guidance.
    pub cfg: f64,
    /// How latents become noise.
    pub process: Process,
    /// Passes through the model.
    pub steps: usize,
}

/// An iterator over the latents after each step, `[b, c, s, s]`, of which the last is the result. Dropping it stops the work.
pub struct Sampling<'a> {
    model: &'a Dit,
    labels: Vec<usize>,
    input: (f64, Process),
    times: Vec<f32>,
    x: Tensor<4>,
    step: usize,
}

/// Generates one image per label from noise.
///
/// # Panics
/// If a label is not a class, there is not one noise per image, or there is no step.
pub fn sample<'a>(model: &'a Dit, input: SampleInput<'_>) -> Sampling<'a> {
    let images = input.labels.len();
    assert_eq!(input.noise.dims()[0], images, "images of noise");
    let mut labels = input.labels.to_vec();
    if input.cfg != 1.0 {
        labels.extend(vec![model.config().classes; images]);
    }
    Sampling {
        model,
        labels,
        input: (input.cfg, input.process),
        times: input.process.times(input.steps),
        x: input.noise,
        step: 0,
    }
}

/// Normal noise of seeds, one per image, `[b, c, s, s]`: the same numbers on every device.
pub fn noise(seeds: &[u64], config: &DitConfig, device: &Device) -> Tensor<4> {
    let rows = seeds.iter().map(|&seed| one(seed, config, device));
    Tensor::cat(rows.collect(), 0)
}

fn one(seed: u64, config: &DitConfig, device: &Device) -> Tensor<4> {
    let [c, h, w] = [config.channels, config.side, config.side];
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let count = c * h * w;
    let mut numbers = Vec::with_capacity(count + 1);
    while numbers.len() < count {
        let (u, v): (f64, f64) = (rng.random(), rng.random());
        let radius = (-2.0 * (1.0 - u).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * v).sin_cos();
        numbers.extend([(radius * cos) as f32, (radius * sin) as f32]);
    }
    numbers.truncate(count);
    Tensor::from_data(TensorData::new(numbers, [1, c, h, w]), device)
}

impl Iterator for Sampling<'_> {
    type Item = Tensor<4>;

    fn next(&mut self) -> Option<Tensor<4>> {
        let &time = self.times.get(self.step)?;
        self.step += 1;
        let ([images, c, ..], (cfg, process)) = (self.x.dims(), self.input);
        let rows = self.labels.len();
        let x = self.x.clone().repeat_dim(0, rows / images);
        let predicted = self
            .model
            .forward(x, &vec![time; rows], &self.labels, Precision::F32);
        let predicted = predicted.slice_dim(1, 0..c);
        let predicted = if cfg == 1.0 {
            predicted
        } else {
            mix(predicted, cfg)
        };
        let next = self.times.get(self.step).copied();
        self.x = process.back(self.x.clone(), predicted, time, next);
        Some(self.x.clone())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.times.len() - self.step;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Sampling<'_> {}
