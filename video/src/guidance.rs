//! Guidance: how closely a pass follows its prompt.

use burn::tensor::{DType, Tensor};
use nextscale_tokenizer::cpu::is_cpu;
use nextscale_var_core::guidance::mix;
use serde::{Deserialize, Serialize};

/// Guidance on the logits of a pass, after the temperature.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum InfinityStarGuidance {
    /// The prompt alone, at half the cost.
    None,
    /// Classifier-free guidance: `scale c + (1 - scale) u`.
    Cfg {
        /// The guidance weight; 1 means no guidance.
        scale: f64,
    },
    /// Adaptive projected guidance (arXiv:2410.02416) without the parallel component: `c + (scale - 1) orthogonal(d)`, where
    /// `d = c - u` is scaled down to a root mean square of at most `threshold` and projected orthogonally to `c`.
    Apg {
        /// The guidance weight; 1 means no guidance.
        scale: f64,
        /// The maximum difference of both, as a root mean square over all logits of the pass; 0 means no limit.
        threshold: f64,
    },
}

impl InfinityStarGuidance {
    /// Whether the unconditional half of the batch is needed.
    pub fn is_active(&self) -> bool {
        match *self {
            Self::None => false,
            Self::Cfg { scale } | Self::Apg { scale, .. } => scale != 1.0,
        }
    }

    /// How far from the unconditional logits; 1 is no guidance.
    pub fn scale(&self) -> f64 {
        match *self {
            Self::None => 1.0,
            Self::Cfg { scale } | Self::Apg { scale, .. } => scale,
        }
    }

    /// The same kind of guidance with another scale; plain guidance where there was none.
    #[must_use]
    pub fn with_scale(self, scale: f64) -> Self {
        match self {
            Self::Apg { threshold, .. } => Self::Apg { scale, threshold },
            Self::None | Self::Cfg { .. } => Self::Cfg { scale },
        }
    }

    /// Logits `[2b, l, v]`, conditional ones first, to `[b, l, v]`. Without guidance `[b, l, v]` is returned unchanged.
    ///
    /// Source: `infinity/models/apg.py`, with eta 0 and without momentum.
    ///
    /// # Panics
    /// If the batch is odd.
    pub fn apply(&self, logits: Tensor<3>) -> Tensor<3> {
        match *self {
            _ if !self.is_active() => logits,
            Self::None => logits,
            Self::Cfg { scale } => mix(logits, scale),
            Self::Apg { scale, threshold } => {
                let [rows, _, _] = logits.dims();
                assert!(rows % 2 == 0, "a guided batch must be even, not {rows}");
                let conditional = logits.clone().slice_dim(0, 0..rows / 2);
                let unconditional = logits.slice_dim(0, rows / 2..rows);
                project(conditional, unconditional, scale, threshold)
            }
        }
    }
}

fn project(c: Tensor<3>, u: Tensor<3>, scale: f64, threshold: f64) -> Tensor<3> {
    let [b, l, v] = c.dims();
    let flat = [b, l * v];
    let (c, d) = (c.clone().reshape(flat), (c - u).reshape(flat));
    let rms = d.clone().square().sum_dim(1).sqrt() / ((l * v) as f64).sqrt(); // [b, 1]
    let shrink = (rms.clamp_min(f32::MIN_POSITIVE).recip() * threshold).clamp_max(1.0);
    let d = if threshold > 0.0 { d * shrink } else { d };
    // The projection sums millions of terms: in double precision on the CPU, which adds them one after the other. A card adds
    // them in a tree, and its compiler makes no sums of f64.
    let on_cpu = is_cpu(&c.device());
    let wide = if on_cpu { DType::F64 } else { DType::F32 };
    let (wide_c, wide_d) = (c.clone().cast(wide), d.cast(wide));
    let along = (wide_d.clone() * wide_c.clone()).sum_dim(1)
        / wide_c.clone().square().sum_dim(1).clamp_min(1e-24);
    let across = (wide_d - wide_c * along).cast(DType::F32);
    (c + across * (scale - 1.0)).reshape([b, l, v])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn apply(guidance: InfinityStarGuidance, c: [f32; 2], u: [f32; 2]) -> Vec<f32> {
        let logits = Tensor::<3>::from_floats([[c], [u]], &Device::flex());
        guidance.apply(logits).into_data().iter().collect()
    }

    #[test]
    fn what_is_parallel_goes() {
        let apg = |scale, threshold| InfinityStarGuidance::Apg { scale, threshold };
        // d = (1, 1), its part across c = (2, 0) is (0, 1).
        assert_eq!(apply(apg(3.0, 9.0), [2.0, 0.0], [1.0, -1.0]), [2.0, 2.0]);
        // Root mean square 1, shrunk to a quarter.
        assert_eq!(apply(apg(3.0, 0.25), [2.0, 0.0], [1.0, -1.0]), [2.0, 0.5]);
        // Nothing to guide by.
        assert_eq!(apply(apg(3.0, 0.25), [2.0, 0.0], [2.0, 0.0]), [2.0, 0.0]);
    }

    #[test]
    fn plain_guidance_extrapolates() {
        let cfg = InfinityStarGuidance::Cfg { scale: 3.0 };
        assert_eq!(apply(cfg, [2.0, 0.0], [1.0, 1.0]), [4.0, -2.0]);
        assert!(!InfinityStarGuidance::Cfg { scale: 1.0 }.is_active());
        assert!(!InfinityStarGuidance::None.is_active());
    }
}
