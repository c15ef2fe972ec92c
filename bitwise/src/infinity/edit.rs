//! Reading the image that an edit starts from, before the first scale.

use burn::tensor::Tensor;
use nextscale_var_core::attention::PassContext;
use nextscale_var_core::dtype::value;
use nextscale_var_core::layers::embed_scale;

use super::model::Infinity;
use super::plan::Plan;
use super::source::SourcePlan;
use super::state::{BlockPass, State};

impl Infinity {
    /// Reads the image that is edited: keeps its keys and values of every block in `state`. Under guidance the conditional
    /// and the unconditional prompts both see it.
    ///
    /// # Shapes
    /// `source`: `[b, h w, D]`, its tokens on the grid of the last scale, or `[1, h w, D]` for all prompts
    ///
    /// # Panics
    /// If `plan` is not one for editing, the tokens do not fit it, or `state` holds tokens already.
    pub fn read_source(&self, source: Tensor<3>, state: &mut State, plan: &Plan) {
        let SourcePlan { rope, .. } = source_of(plan);
        assert!(state.is_empty(), "the source comes before the first scale");
        let rows = state.text().cond.dims()[0];
        let x = self.source_tokens(source, plan, rows);
        let pass = BlockPass {
            k: 0,
            scale: None,
            context: PassContext {
                rope: Some(rope),
                causal: None,
                precision: plan.precision,
                share: None,
            },
            last: false,
            means: None,
            guidance: None,
        };
        self.run_blocks(x, state, pass);
    }

    /// The tokens of the source before the first block, `[rows, h w, C]`.
    pub(super) fn source_tokens(&self, source: Tensor<3>, plan: &Plan, rows: usize) -> Tensor<3> {
        let SourcePlan { grid, level, .. } = source_of(plan);
        let x = embed_scale(source, *grid, &self.word_embed, rows);
        let c = x.dims()[2];
        let level = value(&self.lvl_embed).slice([*level..level + 1, 0..c]);
        x + level.reshape([1, 1, c])
    }
}

pub(super) fn source_of(plan: &Plan) -> &SourcePlan {
    let source = plan.source.as_ref();
    source.expect("the plan has no source: it was not made by Plan::editing")
}
