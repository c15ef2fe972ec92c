use burn::tensor::{Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;

/// A diagonal normal distribution over the latent.
#[derive(Debug, Clone)]
pub struct Posterior {
    /// Means, `[b, c, t, h, w]`.
    pub mean: Tensor<5>,
    /// Logarithms of the variances, same shape, clamped to [-30, 20].
    pub log_variance: Tensor<5>,
}

impl Posterior {
    /// From moments `[b, 2c, t, h, w]`: means followed by logarithms of variances.
    ///
    /// # Panics
    /// If the number of channels is odd.
    pub fn new(moments: Tensor<5>) -> Self {
        let [_, wide, _, _, _] = moments.dims();
        assert!(
            wide % 2 == 0,
            "{wide} channels do not split into means and variances"
        );
        Self {
            mean: moments.clone().slice_dim(1, 0..wide / 2),
            log_variance: moments.slice_dim(1, wide / 2..wide).clamp(-30.0, 20.0),
        }
    }

    /// The mode: the means.
    pub fn mode(&self) -> Tensor<5> {
        self.mean.clone()
    }

    /// The sample for standard normal noise `eps` of the same shape. The released models are conditioned on samples, not
    /// on [`Posterior::mode`].
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn with_noise(&self, eps: Tensor<5>) -> Tensor<5> {
        assert_eq!(
            eps.dims(),
            self.mean.dims(),
            "noise and latent differ in shape"
        );
        self.mean.clone() + (self.log_variance.clone() * 0.5).exp() * eps
    }

    /// A sample. The noise is drawn on the host, so a seed gives the same sample on every device.
    pub fn sample(&self, seed: u64) -> Tensor<5> {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let dims = self.mean.dims();
        let count: usize = dims.iter().product();
        let values: Vec<f32> = (0..count).map(|_| normal(&mut rng)).collect();
        let eps = Tensor::from_data(TensorData::new(values, dims), &self.mean.device());
        self.with_noise(eps)
    }
}

/// A standard normal number by the Box-Muller transform.
fn normal(rng: &mut impl Rng) -> f32 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    let radius = (-2.0 * (1.0 - u).ln()).sqrt();
    (radius * (std::f64::consts::TAU * v).cos()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn draws_have_the_moments() {
        let device = Device::flex();
        let mean = Tensor::<5>::ones([1, 2, 1, 50, 50], &device) * 3.0;
        let log_variance = Tensor::<5>::ones([1, 2, 1, 50, 50], &device) * 4f64.ln();
        let posterior = Posterior::new(Tensor::cat(vec![mean, log_variance], 1));
        let draw = posterior.sample(7);
        let mean: f32 = draw.clone().mean().into_scalar();
        let deviation: f32 = (draw.clone() - mean).square().mean().sqrt().into_scalar();
        assert!((mean - 3.0).abs() < 0.1 && (deviation - 2.0).abs() < 0.1);
        draw.into_data()
            .assert_eq(&posterior.sample(7).into_data(), true);
    }

    #[test]
    fn tiny_variances_are_cut() {
        let moments = Tensor::<1>::from_floats([1.0, -99.0], &Device::flex());
        let posterior = Posterior::new(moments.reshape([1, 2, 1, 1, 1]));
        assert_eq!(posterior.log_variance.into_scalar::<f32>(), -30.0);
    }
}
