//! Reading the image that an edit starts from: before the first scale, or together with all scales under teacher forcing.

use burn::tensor::Tensor;
use nextscale_var_core::attention::PassContext;
use nextscale_var_core::dtype::value;
use nextscale_var_core::layers::embed_scale;

use super::model::Infinity;
use super::plan::Plan;
use super::source::{SourcePlan, means_of_all};
use super::state::{BlockPass, State};
use super::text::TextState;

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
            },
            last: false,
            means: None,
            guidance: None,
        };
        self.run_blocks(x, state, pass);
    }

    /// [`Infinity::forward_hidden`] of edits: `source`, `[b, h w, D]`, are the tokens of the images that are edited.
    ///
    /// # Panics
    /// If the plan was not made by [`Plan::editing_teacher_forcing`], or the shapes do not fit it.
    pub fn forward_edit_hidden(
        &self,
        source: Tensor<3>,
        inputs: Tensor<3>,
        text: &TextState,
        plan: &Plan,
    ) -> Tensor<3> {
        let Some(teacher) = &source_of(plan).teacher else {
            panic!("the plan is not made for teacher forcing; use Plan::editing_teacher_forcing");
        };
        let ([b, ..], schedule) = (inputs.dims(), plan.schedule());
        let source = self.source_tokens(source, plan, b);
        let scales = self.teacher_tokens(inputs, text, plan);
        let all = Tensor::cat(vec![source, scales], 1);
        let context = |i: usize| PassContext {
            rope: Some(&teacher.rope),
            causal: Some(if i == 0 {
                &teacher.first
            } else {
                &teacher.rest
            }),
            precision: plan.precision,
        };
        let keys = |i: usize, x: Tensor<4>| match i {
            0 => means_of_all(x, schedule),
            _ => x,
        };
        let x = self.teacher_blocks(all, text, context, keys);
        x.slice_dim(1, plan.source_tokens()..)
    }

    /// The tokens of the source before the first block, `[rows, h w, C]`.
    fn source_tokens(&self, source: Tensor<3>, plan: &Plan, rows: usize) -> Tensor<3> {
        let SourcePlan { grid, level, .. } = source_of(plan);
        let x = embed_scale(source, *grid, &self.word_embed, rows);
        let c = x.dims()[2];
        let level = value(&self.lvl_embed).slice([*level..level + 1, 0..c]);
        x + level.reshape([1, 1, c])
    }
}

fn source_of(plan: &Plan) -> &SourcePlan {
    let source = plan.source.as_ref();
    source.expect("the plan has no source: it was not made by Plan::editing")
}
