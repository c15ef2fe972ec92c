//! A schedule made ready for a device.

use burn::tensor::{Device, Int, Tensor, TensorData};
use nextscale_tokenizer::ScaleSchedule;

use super::config::VarConfig;
use crate::attention::PassContext;
use crate::cache::KvCache;
use crate::mask::{BlockCausal, levels};
use crate::matmul::Precision;
use crate::shortcuts::Shortcuts;

/// A model's schedule made ready for a device: masks and scale indices, built once.
#[derive(Debug, Clone)]
pub struct Plan {
    schedule: ScaleSchedule,
    offsets: Vec<usize>,
    pub(super) causal: Option<BlockCausal>,
    pub(super) levels: Tensor<1, Int>,
    pub(super) precision: Precision,
    pub(super) shortcuts: Shortcuts,
}

impl Plan {
    /// A plan for generating scale by scale.
    pub fn stepwise(config: &VarConfig, device: &Device) -> Self {
        let schedule = config.schedule.clone();
        let levels: Vec<i32> = levels(&schedule).iter().map(|&k| k as i32).collect();
        let l = levels.len();
        Self {
            offsets: schedule.offsets(),
            shortcuts: Shortcuts::none(schedule.len()),
            schedule,
            causal: None,
            levels: Tensor::from_data(TensorData::new(levels, [l]), device),
            precision: Precision::F32,
        }
    }

    /// A plan for teacher forcing: as [`Plan::stepwise`], with the block-causal mask (`l^2` bytes).
    pub fn teacher_forcing(config: &VarConfig, device: &Device) -> Self {
        let plan = Self::stepwise(config, device);
        Self {
            causal: Some(BlockCausal::new(&plan.schedule, device)),
            ..plan
        }
    }

    /// The same plan with another precision for matrix products with f32 weights.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The same plan with what a run leaves out.
    ///
    /// # Panics
    /// If the schedule has fewer scales.
    #[must_use]
    pub fn with_shortcuts(self, shortcuts: Shortcuts) -> Self {
        shortcuts.check(&self.schedule);
        Self { shortcuts, ..self }
    }

    /// What a run leaves out.
    pub fn shortcuts(&self) -> &Shortcuts {
        &self.shortcuts
    }

    /// Whether runs leave nothing out.
    pub fn is_plain(&self) -> bool {
        self.shortcuts == Shortcuts::none(self.schedule.len())
    }

    /// Tokens of each of `depth` blocks that are kept of all scales, the most at any time.
    pub(super) fn kept_tokens(&self, depth: usize) -> Vec<usize> {
        let scales = self.schedule.len();
        self.shortcuts.kept_tokens(&self.schedule, depth, scales)
    }

    /// The cache of a run of `depth` blocks, with room for the scales before `before`.
    pub(super) fn cache(&self, depth: usize, before: usize) -> KvCache {
        self.shortcuts.cache(&self.schedule, depth, [0, before])
    }

    /// Tokens of each of `depth` blocks that are kept after scale `k`, if there is a budget.
    pub(super) fn cache_limits(&self, depth: usize, k: usize) -> Option<Vec<usize>> {
        self.shortcuts.cache_limits(&self.schedule, depth, k)
    }

    /// What all tokens of teacher forcing share.
    pub(super) fn pass(&self) -> PassContext<'_> {
        PassContext {
            rope: None,
            causal: self.causal.as_ref(),
            precision: self.precision,
            share: None,
        }
    }

    /// The schedule.
    pub fn schedule(&self) -> &ScaleSchedule {
        &self.schedule
    }

    /// The first token of scale `k`.
    pub(super) fn offset(&self, k: usize) -> usize {
        self.offsets[k]
    }
}
