//! Weights of the scales in a training loss.

use burn::tensor::{Device, Tensor, TensorData};
use nextscale_tokenizer::ScaleSchedule;
use serde::{Deserialize, Serialize};

/// How much a token of each scale counts in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleWeighting {
    /// Every token counts the same, so the last scale dominates.
    #[default]
    Uniform,
    /// A token counts `sqrt(area of the last scale / area of its own scale)` times as much as a token of the last scale
    /// (`reweight_loss_by_scale` of the reference).
    Area,
    /// A token counts the root of degree `1 + r` of the same ratio, at most 40 times as much (`reweight_loss_by_scale` of
    /// InfinityStar's trainer, 4 in its scripts); 1 is nearly [`ScaleWeighting::Area`].
    Root(f64),
}

impl ScaleWeighting {
    /// How much a token counts of a scale whose area is the largest one's divided by `ratio`.
    pub fn of(self, ratio: f64) -> f64 {
        match self {
            Self::Uniform => 1.0,
            Self::Area => ratio.sqrt(),
            Self::Root(r) => ratio.powf(1.0 / (1.0 + r)).min(40.0),
        }
    }

    /// The weight of every token, `[1, l]`; they sum to 1.
    pub fn weights(self, schedule: &ScaleSchedule, device: &Device) -> Tensor<2> {
        let last = schedule.last().tokens() as f64;
        let tokens = schedule.scales().iter().flat_map(|scale| {
            let weight = self.of(last / scale.tokens() as f64);
            std::iter::repeat_n(weight, scale.tokens())
        });
        let weights: Vec<f64> = tokens.collect();
        let total: f64 = weights.iter().sum();
        let weights: Vec<f32> = weights.iter().map(|w| (w / total) as f32).collect();
        let l = weights.len();
        Tensor::from_data(TensorData::new(weights, [1, l]), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one() {
        let schedule = ScaleSchedule::square(&[1, 2, 4]).unwrap();
        let weights = ScaleWeighting::Area.weights(&schedule, &Device::flex());
        let w: Vec<f32> = weights.into_data().iter().collect();
        assert!((w.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((w[0] / w[20] - 4.0).abs() < 1e-5 && (w[1] / w[20] - 2.0).abs() < 1e-5);
    }
}
