//! How a latent becomes noise, and back.

use std::sync::LazyLock;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Steps of the noise that DDPM adds.
const STEPS: usize = 1000;
/// The first and the last variance of those steps, linear in between.
const BETAS: [f64; 2] = [1e-4, 0.02];

/// How a latent becomes noise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Process {
    /// On a straight line (rectified flow, arXiv 2209.03003): `x_t = (1 - t) x + t e`. The model predicts the velocity `e - x`, and
    /// Euler's method goes back.
    #[default]
    Flow,
    /// In a thousand small steps (DDPM, arXiv 2006.11239): `x_t = sqrt(a_t) x + sqrt(1 - a_t) e`. The model predicts the noise `e`, and
    /// DDIM (arXiv 2010.02502), without new noise, goes back.
    Ddpm,
}

impl Process {
    /// The time of the model, 0 to 1000, for a number drawn evenly from 0 to 1.
    pub fn time(self, uniform: f64) -> f32 {
        match self {
            Self::Flow => (uniform * STEPS as f64) as f32,
            Self::Ddpm => (uniform * STEPS as f64).floor().min(STEPS as f64 - 1.0) as f32,
        }
    }

    /// The factors of the latent and of the noise in what is there at a time.
    pub fn factors(self, time: f32) -> [f64; 2] {
        match self {
            Self::Flow => {
                let t = f64::from(time) / STEPS as f64;
                [1.0 - t, t]
            }
            Self::Ddpm => DDPM.factors(time as usize),
        }
    }

    /// What the model is to predict of a latent and its noise.
    pub fn target(self, latent: Tensor<4>, noise: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Flow => noise - latent,
            Self::Ddpm => noise,
        }
    }

    /// The times of so many steps back, from noise.
    ///
    /// # Panics
    /// If there is no step, or DDPM has fewer.
    pub fn times(self, steps: usize) -> Vec<f32> {
        assert!(steps > 0, "no step");
        match self {
            Self::Flow => {
                let time = |i: usize| ((steps - i) as f64 / steps as f64 * STEPS as f64) as f32;
                (0..steps).map(time).collect()
            }
            Self::Ddpm => DDPM.times(steps),
        }
    }

    /// The latent at the time `next`, or without noise if it is none, from that at a time and what is predicted for it.
    pub fn back(
        self,
        x: Tensor<4>,
        predicted: Tensor<4>,
        time: f32,
        next: Option<f32>,
    ) -> Tensor<4> {
        match self {
            Self::Flow => {
                let step = f64::from(next.unwrap_or(0.0) - time) / STEPS as f64;
                x + predicted * step
            }
            Self::Ddpm => {
                let [signal, noise] = self.factors(time);
                let [next_signal, next_noise] = next.map_or([1.0, 0.0], |next| self.factors(next));
                let latent = (x - predicted.clone() * noise) / signal;
                latent * next_signal + predicted * next_noise
            }
        }
    }
}

/// The one table of all runs.
static DDPM: LazyLock<Ddpm> = LazyLock::new(Ddpm::new);

/// The thousand steps of DDPM with variances that grow evenly (`diffusion/gaussian_diffusion.py`).
#[derive(Debug, Clone)]
pub struct Ddpm {
    /// The share of the latent's variance that is left after each step.
    left: Vec<f64>,
}

impl Default for Ddpm {
    fn default() -> Self {
        Self::new()
    }
}

impl Ddpm {
    /// The table.
    pub fn new() -> Self {
        let [first, last] = BETAS;
        let beta = |i: usize| first + (last - first) * i as f64 / (STEPS - 1) as f64;
        let left = (0..STEPS).scan(1.0, |left, i| {
            *left *= 1.0 - beta(i);
            Some(*left)
        });
        Self {
            left: left.collect(),
        }
    }

    /// The factors of latent and noise after step `t`, from 0.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn factors(&self, t: usize) -> [f64; 2] {
        let left = self.left[t];
        [left.sqrt(), (1.0 - left).sqrt()]
    }

    /// So many of the steps, evenly, from the last to the first (`space_timesteps` of `diffusion/respace.py`).
    ///
    /// # Panics
    /// If there are more than a thousand, or none.
    pub fn times(&self, steps: usize) -> Vec<f32> {
        assert!((1..=STEPS).contains(&steps), "{steps} of {STEPS} steps");
        let stride = match steps {
            1 => 1.0,
            _ => (STEPS - 1) as f64 / (steps - 1) as f64,
        };
        let times = (0..steps).map(|i| (i as f64 * stride).round_ties_even() as f32);
        times.rev().collect()
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;

    /// With the true velocity or noise, one step or many lead to the latent.
    #[test]
    fn a_perfect_model_leads_back() {
        let device = Device::flex();
        let random = || Tensor::<4>::random([1, 2, 3, 3], Distribution::Normal(0.0, 1.0), &device);
        let (latent, noise) = (random(), random());
        for process in [Process::Flow, Process::Ddpm] {
            for steps in [1, 2, 7] {
                let times = process.times(steps);
                let [signal, loud] = process.factors(times[0]);
                let mut x = latent.clone() * signal + noise.clone() * loud;
                for (i, &time) in times.iter().enumerate() {
                    let target = process.target(latent.clone(), noise.clone());
                    x = process.back(x, target, time, times.get(i + 1).copied());
                }
                let off: f32 = (x - latent.clone()).abs().max().into_scalar();
                assert!(off < 1e-4, "{process:?} {steps}: {off}");
            }
        }
    }

    #[test]
    fn times_are_those_of_the_official_code() {
        let ddpm = Ddpm::new();
        assert_eq!(ddpm.times(4), [999.0, 666.0, 333.0, 0.0]);
        assert_eq!(ddpm.times(250)[..3], [999.0, 995.0, 991.0]);
        assert_eq!(ddpm.times(1), [0.0]);
        let [signal, noise] = ddpm.factors(999);
        assert!(
            (signal - 0.00635).abs() < 1e-4 && noise > 0.9999,
            "{signal}"
        );
        assert_eq!(Process::Flow.times(2), [1000.0, 500.0]);
        assert_eq!(
            (Process::Ddpm.time(0.9999), Process::Ddpm.time(0.0)),
            (999.0, 0.0)
        );
    }
}
