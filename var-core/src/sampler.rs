//! From logits to indices.
//!
//! Random numbers come from ChaCha generators on the CPU, one stream per image: a seed gives the same image on every device
//! and in any batch.

use burn::tensor::{Device, Int, Tensor, TensorData, activation::softmax};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use serde::{Deserialize, Serialize};

use crate::dtype;

/// How indices are sampled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerConfig {
    /// Logits are divided by it; 0 always takes the most likely value.
    pub temperature: f64,
    /// Keeps the `top_k` most likely values, and values equal to the last of them; 0 keeps all.
    pub top_k: usize,
    /// Drops the least likely values whose total probability is at most `1 - top_p`; 0 or 1 keeps all.
    pub top_p: f64,
}

impl Default for SamplerConfig {
    /// The defaults of Infinity's sampling function.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 900,
            top_p: 0.97,
        }
    }
}

/// Samples indices from logits with its own random numbers.
#[derive(Debug, Clone)]
pub struct Sampler {
    config: SamplerConfig,
    streams: Vec<ChaCha12Rng>,
}

impl Sampler {
    /// A sampler with one seed per image.
    pub fn new(config: SamplerConfig, seeds: &[u64]) -> Self {
        let streams = seeds.iter().map(|&s| ChaCha12Rng::seed_from_u64(s));
        Self {
            config,
            streams: streams.collect(),
        }
    }

    /// Always takes the most likely value, and the lowest index if several are equal.
    pub fn greedy() -> Self {
        let config = SamplerConfig {
            temperature: 0.0,
            top_k: 0,
            top_p: 0.0,
        };
        Self::new(config, &[])
    }

    /// The settings.
    pub fn config(&self) -> &SamplerConfig {
        &self.config
    }

    /// Whether no random numbers are used.
    pub fn is_greedy(&self) -> bool {
        self.config.temperature <= 0.0
    }

    /// Samples one index per token: `[b, l, v]` to `[b, l]`.
    ///
    /// # Panics
    /// If the batch size is not the number of seeds.
    pub fn sample(&mut self, logits: Tensor<3>) -> Tensor<2, Int> {
        let [b, l, v] = logits.dims();
        let logits = dtype::f32(logits);
        if self.is_greedy() {
            return logits.argmax(2).reshape([b, l]);
        }
        #[cfg(feature = "cuda")]
        if crate::card::runs(&logits) && crate::card::takes_values(v) {
            let u = self.uniform(b, l, &logits.device()).reshape([b * l, 1]);
            let drawn = crate::card::sample(logits.reshape([b * l, v]), u, &self.config);
            return drawn.reshape([b, l]);
        }
        let logits = logits / self.config.temperature;
        let kept = filter(logits, self.config.top_k, self.config.top_p);
        let u = self.uniform(b, l, &kept.device()).reshape([b, l, 1]);
        // The sampled value is the first whose cumulative probability exceeds u times the total.
        let below = softmax(kept, 2).cumsum(2);
        let total = below.clone().slice([0..b, 0..l, v - 1..v]);
        let threshold = (u * total).expand([b, l, v]);
        below
            .lower_equal(threshold)
            .int()
            .sum_dim(2)
            .reshape([b, l])
    }

    /// Samples bits: `[b, l, 2d]` to `[b, l, d]` of 0 and 1, bit `i` from the two logits `2i` and `2i + 1`.
    ///
    /// # Panics
    /// If the last axis is odd, or the batch size is not the number of seeds.
    pub fn sample_bits(&mut self, logits: Tensor<3>) -> Tensor<3, Int> {
        let [b, l, width] = logits.dims();
        assert!(
            width.is_multiple_of(2),
            "{width} logits do not split into pairs"
        );
        let d = width / 2;
        let pairs = dtype::f32(logits).reshape([b, l, d, 2]);
        let zero = pairs.clone().slice([0..b, 0..l, 0..d, 0..1]);
        let one = pairs.slice([0..b, 0..l, 0..d, 1..2]);
        let margin: Tensor<3> = (one - zero).reshape([b, l, d]);
        if self.is_greedy() || self.config.top_k == 1 {
            return margin.greater_scalar(0.0).int();
        }
        let p = self.bit_probability(margin);
        let u = self.uniform(b, l * d, &p.device()).reshape([b, l, d]);
        u.lower(p).int()
    }

    /// Weights over all values instead of one of them, `[b, l, v]`: the softmax of the logits with Gumbel noise, at a
    /// temperature that falls with `ratio`, from 0 at the first scale to 1 at the last (`more_smooth` of VAR).
    ///
    /// # Panics
    /// If the batch size is not the number of seeds.
    pub fn soften(&mut self, logits: Tensor<3>, ratio: f64) -> Tensor<3> {
        let [b, l, v] = logits.dims();
        let temperature = (0.27 * (1.0 - ratio * 0.95)).max(0.005);
        let u = self.uniform(b, l * v, &logits.device()).reshape([b, l, v]);
        let gumbel = -(-u.clamp_min(1e-20).log()).clamp_min(1e-20).log();
        softmax(
            (dtype::f32(logits) * (1.0 + ratio) + gumbel) / temperature,
            2,
        )
    }

    /// The probability of a one from the margin between its two logits, after temperature and top-p.
    fn bit_probability(&self, margin: Tensor<3>) -> Tensor<3> {
        let p = burn::tensor::activation::sigmoid(margin / self.config.temperature);
        let rare = 1.0 - self.config.top_p;
        if self.config.top_p <= 0.0 || rare <= 0.0 {
            return p;
        }
        // The less likely value is dropped if its probability is at most 1 - top_p; the other one always stays.
        let rare = rare.min(0.5);
        let never = p.clone().lower_equal_scalar(rare);
        let always = (p.clone() * -1.0 + 1.0).lower_equal_scalar(rare);
        p.mask_fill(never, 0.0).mask_fill(always, 1.0)
    }

    /// `n` numbers from 0 to just below 1 for each image, `[b, n]`, each row from its own stream.
    fn uniform(&mut self, b: usize, n: usize, device: &Device) -> Tensor<2> {
        assert_eq!(
            b,
            self.streams.len(),
            "a batch of {b} images and {} seeds",
            self.streams.len()
        );
        // A little short of 1, so that u times a total never rounds up to the total.
        let short = 1.0 - f32::EPSILON;
        let mut numbers = Vec::with_capacity(b * n);
        for stream in &mut self.streams {
            numbers.extend((0..n).map(|_| stream.random::<f32>() * short));
        }
        Tensor::from_data(TensorData::new(numbers, [b, n]), device)
    }
}

/// Sets the logits that top-k and top-p drop to minus infinity; `[b, l, v]` in f32.
///
/// Top-k comes first and keeps ties. Top-p drops the least likely values up to a cumulative probability of `1 - top_p`,
/// but never the most likely value (the order of VAR's and Infinity's samplers).
pub fn filter(logits: Tensor<3>, top_k: usize, top_p: f64) -> Tensor<3> {
    let [b, l, v] = logits.dims();
    let mut logits = logits;
    if top_k > 0 && top_k < v {
        let kth = logits.clone().topk(top_k, 2).min_dim(2).expand([b, l, v]);
        let out = logits.clone().lower(kth);
        logits = logits.mask_fill(out, f32::NEG_INFINITY);
    }
    if top_p > 0.0 {
        let (sorted, order) = logits.clone().sort_with_indices(2);
        let below = softmax(sorted, 2).cumsum(2);
        let out = below.lower_equal_scalar((1.0 - top_p) as f32);
        let out = out.slice_fill([0..b, 0..l, v - 1..v], false);
        let unsorted = out.int().gather(2, order.argsort(2));
        logits = logits.mask_fill(unsorted.equal_scalar(1), f32::NEG_INFINITY);
    }
    logits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(rows: &[[f32; 3]]) -> Tensor<3> {
        let flat: Vec<f32> = rows.iter().flatten().copied().collect();
        Tensor::from_data(TensorData::new(flat, [1, rows.len(), 3]), &Device::flex())
    }

    fn ints<const D: usize>(t: Tensor<D, Int>) -> Vec<i64> {
        t.into_data().iter::<i64>().collect()
    }

    #[test]
    fn greedy_takes_the_first_of_the_best() {
        let picked = Sampler::greedy().sample(logits(&[[0.0, 2.0, 1.0], [3.0, 3.0, 1.0]]));
        assert_eq!(ints(picked), [1, 0]);
        let tie = Tensor::<3>::from_floats([[[1.0, 1.0, 0.0, 0.5]]], &Device::flex());
        assert_eq!(ints(Sampler::greedy().sample_bits(tie)), [0, 1]);
    }

    #[test]
    fn filters_as_documented() {
        let row = logits(&[[0.0, 1.0, 2.0]]);
        let kept = |k, p| -> Vec<bool> {
            let data = filter(row.clone(), k, p).into_data();
            data.iter::<f32>().map(f32::is_finite).collect()
        };
        assert_eq!(kept(0, 0.0), [true, true, true]);
        assert_eq!(kept(2, 0.0), [false, true, true]);
        assert_eq!(kept(900, 0.8), [false, true, true]); // p = .09, .24, .67
        assert_eq!(kept(0, 0.6), [false, false, true]);
        assert_eq!(kept(0, 0.01), [false, false, true]);
    }

    #[test]
    fn softened_weights_sum_to_one_and_sharpen() {
        let row = logits(&[[0.0, 1.0, 4.0]]);
        let sharpest = |ratio: f64| -> f32 {
            let mut sampler = Sampler::new(SamplerConfig::default(), &[5]);
            let weights = sampler.soften(row.clone(), ratio);
            let sum: f32 = weights.clone().sum().into_scalar();
            assert!((sum - 1.0).abs() < 1e-5);
            weights.max().into_scalar()
        };
        assert!(sharpest(1.0) >= sharpest(0.0) && sharpest(1.0) > 0.99);
    }

    #[test]
    fn frequencies_follow_the_distribution() {
        let n = 20_000;
        let rows: Vec<[f32; 3]> = vec![[0.0, 1.0, 2.0]; n];
        let config = SamplerConfig {
            temperature: 2.0,
            top_k: 0,
            top_p: 0.0,
        };
        let drawn = ints(Sampler::new(config, &[7]).sample(logits(&rows)));
        let weights: Vec<f64> = [0.0f64, 0.5, 1.0].iter().map(|x| x.exp()).collect();
        let total: f64 = weights.iter().sum();
        for (value, weight) in weights.iter().enumerate() {
            let share = drawn.iter().filter(|&&d| d == value as i64).count() as f64 / n as f64;
            assert!((share - weight / total).abs() < 0.015, "{value}: {share}");
        }
    }

    #[test]
    fn bits_follow_the_margin_and_top_p() {
        let n = 20_000;
        let pair = |margin: f32| {
            let flat: Vec<f32> = (0..n).flat_map(|_| [0.0, margin]).collect();
            Tensor::<3>::from_data(TensorData::new(flat, [1, n, 2]), &Device::flex())
        };
        let mut sampler = Sampler::new(SamplerConfig::default(), &[3]);
        let mut share = |margin: f32| {
            ints(sampler.sample_bits(pair(margin))).iter().sum::<i64>() as f64 / n as f64
        };
        assert!((share(1.0) - 0.731).abs() < 0.015);
        assert_eq!(share(4.0), 1.0); // p(0) = 0.018 <= 0.03
        assert_eq!(share(-4.0), 0.0);
        assert!(share(3.0) < 1.0); // p(0) = 0.047
    }

    #[test]
    fn an_image_does_not_depend_on_its_batch() {
        let flat: Vec<f32> = (0..2 * 50 * 8).map(|i| (i as f32 * 0.37).sin()).collect();
        let both = Tensor::<3>::from_data(TensorData::new(flat, [2, 50, 8]), &Device::flex());
        let config = SamplerConfig::default();
        let mut pair = Sampler::new(config, &[11, 12]);
        let mut alone = Sampler::new(config, &[12]);
        for _ in 0..2 {
            let in_batch = ints(pair.sample_bits(both.clone()).slice_dim(0, 1..2));
            assert_eq!(
                in_batch,
                ints(alone.sample_bits(both.clone().slice_dim(0, 1..2)))
            );
            let in_batch = ints(pair.sample(both.clone()).slice_dim(0, 1..2));
            assert_eq!(
                in_batch,
                ints(alone.sample(both.clone().slice_dim(0, 1..2)))
            );
        }
        let again = ints(Sampler::new(config, &[11, 12]).sample_bits(both.clone()));
        assert_eq!(
            again,
            ints(Sampler::new(config, &[11, 12]).sample_bits(both))
        );
    }
}
