use burn::tensor::{Device, Int, Tensor, TensorData};
use nextscale_tokenizer::{Scale, ScaleSchedule};
use nextscale_var_core::{
    mask::{BlockCausal, levels},
    matmul::Precision,
    rope::{RopeTable, THETA, grid_positions},
    shortcuts::Shortcuts,
};

use super::config::InfinityConfig;

/// A schedule prepared for a model and a device: positions, masks and scale indices, computed once.
#[derive(Debug, Clone)]
pub struct Plan {
    schedule: ScaleSchedule,
    known: usize,
    offsets: Vec<usize>,
    pub(crate) rope: RopeTable,
    pub(crate) causal: Option<BlockCausal>,
    pub(crate) levels: Tensor<1, Int>,
    pub(crate) precision: Precision,
    shortcuts: Shortcuts,
}

impl Plan {
    /// A plan for generation scale by scale.
    ///
    /// `reference` is the grid on which positions are measured. The released models use the last grid of their 1M
    /// schedule with the same aspect ratio, also for smaller images; a model with a single schedule uses its last grid.
    ///
    /// # Panics
    /// If the schedule has more scales than the model has scale embeddings.
    pub fn stepwise(
        config: &InfinityConfig,
        schedule: &ScaleSchedule,
        reference: Scale,
        device: &Device,
    ) -> Self {
        let (scales, rows) = (schedule.len(), config.levels);
        assert!(
            scales <= rows,
            "the schedule has {scales} scales, the model {rows} scale embeddings"
        );
        Self::stretched(config, schedule, reference, rows, device)
    }

    /// [`Plan::stepwise`] for images larger than those the model was trained on: scales after the first `known` reuse the
    /// last of their embeddings.
    ///
    /// # Panics
    /// If `known` is 0 or larger than the model's number of scale embeddings.
    pub fn stretched(
        config: &InfinityConfig,
        schedule: &ScaleSchedule,
        reference: Scale,
        known: usize,
        device: &Device,
    ) -> Self {
        let rows = config.levels;
        assert!(
            0 < known && known <= rows,
            "{known} of {rows} scale embeddings: must be from 1 to all"
        );
        let positions = grid_positions(schedule, reference);
        let level = |&k: &usize| k.min(known - 1) as i32;
        let levels: Vec<i32> = levels(schedule).iter().map(level).collect();
        let l = levels.len();
        Self {
            schedule: schedule.clone(),
            known,
            offsets: schedule.offsets(),
            rope: RopeTable::new(&positions, config.head_dim(), THETA, device),
            causal: None,
            levels: Tensor::from_data(TensorData::new(levels, [l]), device),
            precision: Precision::F32,
            shortcuts: Shortcuts::none(schedule.len()),
        }
    }

    /// A plan for teacher forcing: [`Plan::stepwise`] with a block-causal mask (`l^2` bytes).
    ///
    /// # Panics
    /// See [`Plan::stepwise`].
    pub fn teacher_forcing(
        config: &InfinityConfig,
        schedule: &ScaleSchedule,
        reference: Scale,
        device: &Device,
    ) -> Self {
        let plan = Self::stepwise(config, schedule, reference, device);
        Self {
            causal: Some(BlockCausal::new(schedule, device)),
            ..plan
        }
    }

    /// The same plan with matrix products of f32 weights in the blocks computed in `precision`.
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

    /// Tokens of each of `depth` blocks that are kept of the scales before `before`.
    pub(crate) fn kept_tokens(&self, depth: usize, before: usize) -> Vec<usize> {
        let Self {
            shortcuts,
            schedule,
            ..
        } = self;
        shortcuts.kept_tokens(schedule, depth, before)
    }

    /// The transformer's schedule.
    pub fn schedule(&self) -> &ScaleSchedule {
        &self.schedule
    }

    /// The index of the scale embedding of scale `k`.
    pub(crate) fn level(&self, k: usize) -> usize {
        k.min(self.known - 1)
    }

    /// Rotary positions of the tokens of scale `k`.
    pub(crate) fn rope_of(&self, k: usize) -> RopeTable {
        let tokens = self.schedule.scales()[k].tokens();
        self.rope.slice(self.offsets[k], tokens)
    }

    /// The rotary table: cosine and sine of each pair, `[l, head_dim / 2]`.
    pub fn rope(&self) -> &RopeTable {
        &self.rope
    }
}
