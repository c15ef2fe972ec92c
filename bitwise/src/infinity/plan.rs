use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use nextscale_tokenizer::{Scale, ScaleSchedule};
use nextscale_var_core::{
    mask,
    matmul::Precision,
    rope::{RopeTable, THETA, grid_positions},
};

use super::InfinityConfig;

/// A schedule made ready for a model on a device: positions, masks and scale indices, built once.
#[derive(Debug, Clone)]
pub struct Plan {
    schedule: ScaleSchedule,
    known: usize,
    offsets: Vec<usize>,
    pub(crate) rope: RopeTable,
    pub(crate) hidden: Option<Tensor<4, Bool>>,
    pub(crate) levels: Tensor<1, Int>,
    pub(crate) precision: Precision,
}

impl Plan {
    /// A plan for generating scale by scale.
    ///
    /// `reference` is the grid on which positions are measured. The released models take the last grid of
    /// their 1M schedule of the same aspect ratio, even for smaller pictures; a model with one schedule of
    /// its own takes that schedule's last grid.
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
            "{scales} scales, but the model knows {rows}"
        );
        Self::stretched(config, schedule, reference, rows, device)
    }

    /// As [`Plan::stepwise`], for larger pictures than the model was trained for: scales behind the first `known` take the
    /// embedding of the last of these.
    ///
    /// # Panics
    /// If the model has fewer embeddings than `known`, or `known` is 0.
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
            "{known} scale embeddings of {rows}"
        );
        let positions = grid_positions(schedule, reference);
        let level = |&k: &usize| k.min(known - 1) as i32;
        let levels: Vec<i32> = mask::levels(schedule).iter().map(level).collect();
        let l = levels.len();
        Self {
            schedule: schedule.clone(),
            known,
            offsets: schedule.offsets(),
            rope: RopeTable::new(&positions, config.head_dim(), THETA, device),
            hidden: None,
            levels: Tensor::from_data(TensorData::new(levels, [l]), device),
            precision: Precision::F32,
        }
    }

    /// A plan for teacher forcing: as [`Plan::stepwise`], with the block-causal mask (`l^2` bytes).
    ///
    /// # Panics
    /// As [`Plan::stepwise`].
    pub fn teacher_forcing(
        config: &InfinityConfig,
        schedule: &ScaleSchedule,
        reference: Scale,
        device: &Device,
    ) -> Self {
        let plan = Self::stepwise(config, schedule, reference, device);
        Self {
            hidden: Some(mask::block_causal(schedule, device)),
            ..plan
        }
    }

    /// The same plan, with the matrix products of the blocks' f32 weights in another precision.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The schedule, in tokens of the transformer.
    pub fn schedule(&self) -> &ScaleSchedule {
        &self.schedule
    }

    /// The row of scale `k` in the table of scale embeddings.
    pub(crate) fn level(&self, k: usize) -> usize {
        k.min(self.known - 1)
    }

    /// Positions of the tokens of scale `k`.
    pub(crate) fn rope_of(&self, k: usize) -> RopeTable {
        let tokens = self.schedule.scales()[k].tokens();
        self.rope.slice(self.offsets[k], tokens)
    }

    /// The position table: cosines and sines per pair, `[l, head_dim / 2]`.
    pub fn rope(&self) -> &RopeTable {
        &self.rope
    }
}
