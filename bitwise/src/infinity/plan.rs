use burn::tensor::{Device, Int, Tensor, TensorData};
use nextscale_tokenizer::{Scale, ScaleSchedule};
use nextscale_var_core::{
    cache::KvCache,
    mask::{BlockCausal, levels},
    matmul::Precision,
    rope::{RopeTable, THETA, grid_positions},
    shortcuts::Shortcuts,
};

use super::config::InfinityConfig;
use super::source::{SourcePlan, SourceTeacher, edit_positions};

/// A schedule prepared for a model and a device: positions, masks and scale indices, computed once.
#[derive(Debug, Clone)]
pub struct Plan {
    schedule: ScaleSchedule,
    #[cfg(feature = "cuda")]
    reference: Scale,
    known: usize,
    offsets: Vec<usize>,
    pub(crate) rope: RopeTable,
    pub(crate) causal: Option<BlockCausal>,
    pub(crate) levels: Tensor<1, Int>,
    pub(crate) precision: Precision,
    shortcuts: Shortcuts,
    /// Of the image that is edited, if the model edits one.
    pub(crate) source: Option<SourcePlan>,
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
            #[cfg(feature = "cuda")]
            reference,
            known,
            offsets: schedule.offsets(),
            rope: RopeTable::new(&positions, config.head_dim(), THETA, device),
            causal: None,
            levels: Tensor::from_data(TensorData::new(levels, [l]), device),
            precision: Precision::F32,
            shortcuts: Shortcuts::none(schedule.len()),
            source: None,
        }
    }

    /// A plan for editing an image scale by scale (VAREdit): [`Plan::stepwise`] with room and positions for the source, whose
    /// grid is the last of the schedule. [`Infinity::read_source`](super::Infinity::read_source) has to come before the
    /// first scale.
    ///
    /// If the schedule ends with `reference`, the source lies beyond the image, one image further down and to the right. Of
    /// a smaller schedule, the tokens of source and scales fill the rows of that place one after the other, as in the
    /// released model of 512 x 512 pixels.
    ///
    /// # Panics
    /// See [`Plan::stepwise`]; and if a smaller schedule does not fit into `reference`.
    pub fn editing(
        config: &InfinityConfig,
        schedule: &ScaleSchedule,
        reference: Scale,
        device: &Device,
    ) -> Self {
        let plan = Self::stepwise(config, schedule, reference, device);
        let (source, scales) = edit_positions(schedule, reference);
        let table =
            |positions: &[[f32; 2]]| RopeTable::new(positions, config.head_dim(), THETA, device);
        Self {
            rope: table(&scales),
            source: Some(SourcePlan {
                grid: schedule.last(),
                level: plan.level(schedule.len() - 1),
                rope: table(&source),
                teacher: None,
            }),
            ..plan
        }
    }

    /// A plan for teacher forcing of edits: [`Plan::editing`] with masks for the source and all scales together.
    ///
    /// # Panics
    /// See [`Plan::editing`].
    pub fn editing_teacher_forcing(
        config: &InfinityConfig,
        schedule: &ScaleSchedule,
        reference: Scale,
        device: &Device,
    ) -> Self {
        let mut plan = Self::editing(config, schedule, reference, device);
        let (mut all, scales) = edit_positions(schedule, reference);
        all.extend(scales);
        let rope = RopeTable::new(&all, config.head_dim(), THETA, device);
        if let Some(source) = &mut plan.source {
            source.teacher = Some(SourceTeacher::new(rope, schedule, device));
        }
        plan
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

    /// Whether all tokens of all scales are computed, and no image is edited.
    pub fn is_plain(&self) -> bool {
        self.source.is_none() && self.shortcuts == Shortcuts::none(self.schedule.len())
    }

    /// Tokens of each of `depth` blocks that are kept, the most at any time: those of the source, and of the scales.
    pub(crate) fn kept_tokens(&self, depth: usize) -> Vec<usize> {
        let scales = self.schedule.len();
        let scales = self.shortcuts.kept_tokens(&self.schedule, depth, scales);
        let source = self.source_tokens();
        scales.into_iter().map(|tokens| source + tokens).collect()
    }

    /// The cache of a run of `depth` blocks, with room for the source and the scales before `before`.
    ///
    /// # Panics
    /// If an image is edited and there is a budget for the cache, which knows no source.
    pub(crate) fn cache(&self, depth: usize, before: usize) -> KvCache {
        let source = self.source_tokens();
        let budgeted = self.shortcuts.has_cache_budget();
        assert!(
            source == 0 || !budgeted,
            "a budget for the cache does not go with the source of an edit"
        );
        self.shortcuts
            .cache(&self.schedule, depth, [source, before])
    }

    /// Tokens of each of `depth` blocks that are kept after scale `k`, if there is a budget.
    pub(crate) fn cache_limits(&self, depth: usize, k: usize) -> Option<Vec<usize>> {
        self.shortcuts.cache_limits(&self.schedule, depth, k)
    }

    /// The transformer's schedule.
    pub fn schedule(&self) -> &ScaleSchedule {
        &self.schedule
    }

    /// The index of the scale embedding of scale `k`.
    pub(crate) fn level(&self, k: usize) -> usize {
        k.min(self.known - 1)
    }

    /// The grid on which positions are measured.
    #[cfg(feature = "cuda")]
    pub(super) fn reference(&self) -> Scale {
        self.reference
    }

    /// The scales that have embeddings of their own.
    #[cfg(feature = "cuda")]
    pub(super) fn known(&self) -> usize {
        self.known
    }

    /// The tokens of the scales before scale `k`.
    #[cfg(feature = "cuda")]
    pub(super) fn start_of(&self, k: usize) -> usize {
        self.offsets[k]
    }

    /// Rotary positions of the tokens of scale `k`.
    pub(crate) fn rope_of(&self, k: usize) -> RopeTable {
        let tokens = self.schedule.scales()[k].tokens();
        self.rope.slice(self.offsets[k], tokens)
    }

    /// Tokens of the source; none if the model edits none.
    pub(crate) fn source_tokens(&self) -> usize {
        self.source
            .as_ref()
            .map_or(0, |source| source.grid.tokens())
    }

    /// The rotary table of the source: cosine and sine of each pair, `[l, head_dim / 2]`; none if the model edits none.
    pub fn source_rope(&self) -> Option<&RopeTable> {
        self.source.as_ref().map(|source| &source.rope)
    }

    /// The rotary table: cosine and sine of each pair, `[l, head_dim / 2]`.
    pub fn rope(&self) -> &RopeTable {
        &self.rope
    }
}
