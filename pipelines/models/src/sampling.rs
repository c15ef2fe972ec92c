//! How codes are drawn: a model's defaults, and the plan of one run with a value for each scale.

use std::ops::RangeInclusive;

use nextscale_var_core::guidance::{Guidance, GuidancePoint};
use nextscale_var_core::sampler::{Sampler, SamplerConfig};
use serde::{Deserialize, Serialize};

/// Why a setting is refused; none if its value is in the range.
pub fn out_of_range(key: &str, value: f64, range: RangeInclusive<f64>) -> Option<String> {
    let (low, high) = (range.start(), range.end());
    let message = || format!("`{key}` should be from {low} to {high}, but it is {value}");
    (!range.contains(&value)).then(message)
}

/// How a model of images samples unless asked otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Guidance weight. Infinity: the weight of every scale, 1 for none. VAR: the end of a ramp over the scales, 0 for
    /// none.
    pub cfg: f64,
    /// Logits are divided by it; 0 takes the most likely value.
    #[serde(rename = "tau")]
    pub temperature: f64,
    /// Sample from the N most likely values; 0 for all.
    pub top_k: usize,
    /// Sample from the most likely values that make up this share; 0 or 1 for all.
    pub top_p: f64,
}

impl Sampling {
    /// The same weight and temperature at each of `scales` scales: Infinity's way.
    pub fn constant(&self, scales: usize) -> SamplingPlan {
        self.plan(vec![self.cfg; scales], scales)
    }

    /// Guidance that grows linearly over `scales` scales: VAR's way.
    pub fn ramp(&self, scales: usize) -> SamplingPlan {
        self.plan(Guidance::ramp(self.cfg, scales).weights, scales)
    }

    fn plan(&self, guidance: Vec<f64>, scales: usize) -> SamplingPlan {
        SamplingPlan {
            guidance,
            guidance_layer: 0,
            temperatures: vec![self.temperature; scales],
            top_k: self.top_k,
            top_p: self.top_p,
        }
    }
}

/// How the codes of one run are drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingPlan {
    /// The guidance weight of each scale; 1 is none.
    pub guidance: Vec<f64>,
    /// Where guidance acts: 0 on the logits, -N on the output of the N-th block from the end (Infinity only).
    pub guidance_layer: i64,
    /// The temperature of each scale; 0 at every scale takes the most likely values. VAR has one for all scales.
    pub temperatures: Vec<f64>,
    /// Sample from the N most likely values; 0 for all.
    pub top_k: usize,
    /// Sample from the most likely values that make up this share; 0 or 1 for all.
    pub top_p: f64,
}

impl SamplingPlan {
    /// Scales, from the first, up to the last one of `scales` that is guided. They need two rows of the transformer's batch for each
    /// image.
    pub fn guided_scales(&self, scales: usize) -> usize {
        self.guidance().guided_scales(scales)
    }

    /// The same plan with guidance at the first `scales` scales only.
    #[must_use]
    pub fn guided_until(mut self, scales: usize) -> Self {
        self.guidance = self.guidance().until(scales).weights;
        self
    }

    /// The guidance of a transformer.
    pub(crate) fn guidance(&self) -> Guidance {
        let point = match self.guidance_layer {
            0 => GuidancePoint::Logits,
            layer => GuidancePoint::FromEnd(layer.unsigned_abs() as usize),
        };
        Guidance {
            weights: self.guidance.clone(),
            points: vec![point],
        }
    }

    /// Whether the most likely values are taken.
    pub fn is_greedy(&self) -> bool {
        self.temperatures.first() == Some(&0.0)
    }

    /// A sampler with one seed for each image, which divides logits by `temperature`.
    pub(crate) fn sampler(&self, seeds: &[u64], temperature: f64) -> Sampler {
        if self.is_greedy() {
            return Sampler::greedy();
        }
        let config = SamplerConfig {
            temperature,
            top_k: self.top_k,
            top_p: self.top_p,
        };
        Sampler::new(config, seeds)
    }
}
