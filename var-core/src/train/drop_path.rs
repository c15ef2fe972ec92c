//! Stochastic depth (arXiv 1603.09382): now and then a sample skips the attention or the feed-forward layer of a block.

use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;

/// Which samples of a batch keep which layers, and by what factor these count. It is drawn once for a step, so that a block that is
/// computed twice skips the same.
#[derive(Debug, Clone)]
pub struct DropPath {
    /// For each block the factors of attention and feed-forward, a number for each sample.
    factors: Vec<[Vec<f32>; 2]>,
}

impl DropPath {
    /// Block `i` of `depth` drops with probability `rate i / (depth - 1)`, as in the reference's models; what is kept counts by
    /// 1 over the probability of keeping it. None at a rate of 0.
    pub fn draw(rate: f64, depth: usize, batch: usize, rng: &mut impl Rng) -> Option<Self> {
        if rate <= 0.0 {
            return None;
        }
        let last = depth.saturating_sub(1).max(1) as f64;
        let factors = (0..depth).map(|i| {
            let keep = 1.0 - rate * i as f64 / last;
            let mut one = || {
                let factor = |kept: bool| if kept { (1.0 / keep) as f32 } else { 0.0 };
                (0..batch).map(|_| factor(rng.random_bool(keep))).collect()
            };
            [one(), one()]
        });
        Some(Self {
            factors: factors.collect(),
        })
    }

    /// The factors of block `i`, `[b, 1, 1]`: of the attention and of the feed-forward layers.
    pub fn of(&self, i: usize, device: &Device) -> [Tensor<3>; 2] {
        self.factors[i].each_ref().map(|factors| {
            let b = factors.len();
            Tensor::from_data(TensorData::new(factors.clone(), [b, 1, 1]), device)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn later_blocks_drop_more_and_the_mean_stays() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        assert!(DropPath::draw(0.0, 3, 4, &mut rng).is_none());
        let drawn = DropPath::draw(0.4, 3, 4000, &mut rng).unwrap();
        for (i, rate) in [0.0, 0.2, 0.4].into_iter().enumerate() {
            for factors in &drawn.factors[i] {
                let dropped = factors.iter().filter(|&&f| f == 0.0).count() as f64 / 4000.0;
                let mean = factors.iter().sum::<f32>() / 4000.0;
                assert!((dropped - rate).abs() < 0.03, "block {i}: {dropped}");
                assert!((mean - 1.0).abs() < 0.05, "block {i}: {mean}");
            }
        }
        assert_eq!(drawn.of(1, &Device::flex())[0].dims(), [4000, 1, 1]);
    }
}
