//! Classifier-free guidance: how much, and where in the network.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::collective::Collective;

/// Where the conditional and the unconditional half of a batch are mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuidancePoint {
    /// The logits.
    Logits,
    /// The output of a block, counted from the end: 1 is the last block. Both halves continue with the mix.
    FromEnd(usize),
}

/// Guidance weights, one per scale, and where they act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guidance {
    /// Weight of each scale; 1 turns guidance off for that scale. The length is the number of scales.
    pub weights: Vec<f64>,
    /// Where to mix. Infinity's released settings use the logits only.
    pub points: Vec<GuidancePoint>,
}

impl Guidance {
    /// The same weight at each of `scales` scales, on the logits.
    pub fn constant(weight: f64, scales: usize) -> Self {
        Self {
            weights: vec![weight; scales],
            points: vec![GuidancePoint::Logits],
        }
    }

    /// VAR's ramp on the logits: `(1 + t) cond - t uncond` with `t = cfg k / (K - 1)`, in the terms of
    /// [`mix`]: the weight of scale `k` is `1 + t`.
    pub fn ramp(cfg: f64, scales: usize) -> Self {
        let last = scales.saturating_sub(1).max(1) as f64;
        Self {
            weights: (0..scales).map(|k| 1.0 + cfg * k as f64 / last).collect(),
            points: vec![GuidancePoint::Logits],
        }
    }

    /// Checks the settings of a generation of `scales` scales, the first `forced` of which have given codes.
    ///
    /// # Panics
    /// If there is not one weight per scale, or there are more forced scales than scales.
    pub fn check_scales(&self, scales: usize, forced: usize) {
        assert_eq!(self.weights.len(), scales, "guidance weights");
        assert!(forced <= scales, "more forced scales than scales");
    }

    /// Whether any scale needs the unconditional half of the batch.
    pub fn is_active(&self) -> bool {
        self.weights.iter().any(|&w| w != 1.0)
    }

    /// How many of the first `scales` scales there are until none is guided any more: from then on nothing needs the
    /// unconditional half of the batch.
    pub fn guided_scales(&self, scales: usize) -> usize {
        let weights = self.weights.iter().take(scales);
        let last = weights.enumerate().rfind(|(_, w)| **w != 1.0);
        last.map_or(0, |(k, _)| k + 1)
    }

    /// The same guidance at the first `scales` scales, and none after them.
    #[must_use]
    pub fn until(mut self, scales: usize) -> Self {
        self.weights.iter_mut().skip(scales).for_each(|w| *w = 1.0);
        self
    }

    /// The weight of scale `k`.
    ///
    /// # Panics
    /// If `k` is not a scale.
    pub fn weight(&self, k: usize) -> f64 {
        self.weights[k]
    }

    /// Whether scale `k` is mixed at the logits.
    pub fn on_logits(&self, k: usize) -> bool {
        self.weight(k) != 1.0 && self.points.contains(&GuidancePoint::Logits)
    }

    /// Whether scale `k` is mixed after block `block` of `depth`.
    pub fn after_block(&self, k: usize, block: usize, depth: usize) -> bool {
        let from_end = GuidancePoint::FromEnd(depth - block);
        self.weight(k) != 1.0 && self.points.contains(&from_end)
    }
}

/// `weight * cond + (1 - weight) * uncond` of a batch whose first half is conditional: `[2b, ..]` to `[b, ..]`.
///
/// # Panics
/// If the batch is odd.
pub fn mix<const D: usize>(x: Tensor<D>, weight: f64) -> Tensor<D> {
    let doubled = x.dims()[0];
    assert!(
        doubled.is_multiple_of(2),
        "a guided batch must be even, not {doubled}"
    );
    let b = doubled / 2;
    let cond = x.clone().slice_dim(0, 0..b);
    let uncond = x.slice_dim(0, b..doubled);
    cond * weight + uncond * (1.0 - weight)
}

/// Where the halves of a guided batch are.
#[derive(Debug, Clone, Default)]
pub enum Halves {
    /// Both here: conditional rows followed by as many unconditional ones.
    #[default]
    Here,
    /// On two ranks: the conditional rows on the first, the unconditional ones on the second. Both compute the same mix.
    OnRanks(Arc<dyn Collective>),
}

impl Halves {
    /// The half of each of two ranks.
    ///
    /// # Panics
    /// If there are not two.
    pub fn on_ranks(ranks: Arc<dyn Collective>) -> Self {
        assert_eq!(
            ranks.world(),
            2,
            "ranks for the two halves of a guided batch"
        );
        Self::OnRanks(ranks)
    }

    /// Both halves, `[2b, ..]`, from what is here of them.
    ///
    /// # Panics
    /// If the ranks cannot talk any more.
    pub fn join<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let Self::OnRanks(ranks) = self else {
            return x;
        };
        let mut shape = x.dims();
        let count = x.shape().num_elements();
        let both = ranks.all_gather(x.reshape([count]));
        shape[0] *= 2;
        both.unwrap_or_else(|error| panic!("{error}"))
            .reshape(shape)
    }

    /// The half that is here of both, `[2b, ..]`; all where both are.
    pub fn own<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let Self::OnRanks(ranks) = self else {
            return x;
        };
        let b = x.dims()[0] / 2;
        x.slice_dim(0, ranks.rank() * b..(ranks.rank() + 1) * b)
    }

    /// [`mix`] of both halves, `[b, ..]`, from what is here of them.
    ///
    /// # Panics
    /// If the ranks cannot talk any more.
    pub fn mix<const D: usize>(&self, x: Tensor<D>, weight: f64) -> Tensor<D> {
        mix(self.join(x), weight)
    }

    /// [`mix`](Self::mix) for both halves to go on with: as many rows as `x` has.
    ///
    /// # Panics
    /// If the ranks cannot talk any more.
    pub fn mix_both<const D: usize>(&self, x: Tensor<D>, weight: f64) -> Tensor<D> {
        let mixed = self.mix(x, weight);
        match self {
            Self::Here => mixed.repeat_dim(0, 2),
            Self::OnRanks(_) => mixed,
        }
    }

    /// Whether both are here.
    pub fn are_here(&self) -> bool {
        matches!(self, Self::Here)
    }

    /// Whether the conditional rows are here.
    pub fn has_conditional(&self) -> bool {
        match self {
            Self::Here => true,
            Self::OnRanks(ranks) => ranks.rank() == 0,
        }
    }

    /// What `compute` makes of the conditional rows, of this shape and on this device. It runs where those rows are.
    ///
    /// # Panics
    /// If the ranks cannot talk any more.
    pub fn of_conditional<const D: usize>(
        &self,
        shape: [usize; D],
        device: &Device,
        compute: impl FnOnce() -> Tensor<D>,
    ) -> Tensor<D> {
        let Self::OnRanks(ranks) = self else {
            return compute();
        };
        let count: usize = shape.iter().product();
        let own = match ranks.rank() {
            0 => compute().reshape([count]),
            _ => Tensor::zeros([count], device),
        };
        let sent = ranks.broadcast(own, 0);
        sent.unwrap_or_else(|error| panic!("{error}"))
            .reshape(shape)
    }
}

/// Features `[b, l, t]` with those of marked rows replaced by `other`, `[1, l, t]`: condition dropout for training,
/// differentiable in both.
///
/// # Panics
/// If there is not one mark per row.
pub fn replace_rows(features: Tensor<3>, other: Tensor<3>, marked: &[bool]) -> Tensor<3> {
    let [b, ..] = features.dims();
    assert_eq!(b, marked.len(), "{b} prompts and {} marks", marked.len());
    let marks: Vec<f32> = marked.iter().map(|&m| f32::from(u8::from(m))).collect();
    let marks = Tensor::<3>::from_data(TensorData::new(marks, [b, 1, 1]), &features.device());
    features * (marks.clone().neg() + 1.0) + other * marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixing_extrapolates() {
        let x = Tensor::<2>::from_floats([[1.0, 2.0], [0.0, 4.0]], &Device::flex());
        let y: Vec<f32> = mix(x, 3.0).into_data().try_to_vec().unwrap();
        assert_eq!(y, [3.0, -2.0]);
    }

    #[test]
    fn ramps_start_without_guidance() {
        let ramp = Guidance::ramp(4.0, 3);
        assert_eq!(ramp.weights, [1.0, 3.0, 5.0]);
        assert!(!ramp.on_logits(0) && ramp.on_logits(1));
        assert!(!Guidance::constant(1.0, 3).is_active());
        let some = Guidance::constant(4.0, 5).until(3);
        assert_eq!(some.weights, [4.0, 4.0, 4.0, 1.0, 1.0]);
        assert_eq!([5, 3, 2].map(|n| some.guided_scales(n)), [3, 3, 2]);
        assert_eq!(ramp.guided_scales(1), 0);
    }

    #[test]
    fn blocks_count_from_the_end() {
        let mut guidance = Guidance::constant(2.0, 1);
        guidance.points = vec![GuidancePoint::FromEnd(2)];
        let hits: Vec<usize> = (0..4).filter(|&i| guidance.after_block(0, i, 4)).collect();
        assert_eq!(hits, [2]);
    }
}
