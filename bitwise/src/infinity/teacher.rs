//! All scales at once, given the true earlier ones: teacher forcing.

use burn::tensor::Tensor;
use nextscale_var_core::attention::PassContext;
use nextscale_var_core::blocks::Transformer as _;
use nextscale_var_core::dtype::{f32, value};
use nextscale_var_core::layers::project;

use super::block::{Block, TextContext};
use super::edit::source_of;
use super::model::Infinity;
use super::plan::Plan;
use super::source::means_of_all;
use super::text::{TextCondition, TextState};

impl Infinity {
    /// Logits of all scales at once under teacher forcing.
    ///
    /// `plan` must be made by [`Plan::teacher_forcing`].
    ///
    /// # Shapes
    /// - `inputs`: `[b, l - 1, D]`, the running feature map resized to each scale but the first (patchified if the
    ///   tokenizer's grids are the finer ones)
    /// - result: `[b, l, 2 D]` in f32; the logits of bit `i` have indices `2i` (it is 0) and `2i + 1` (it is 1)
    ///
    /// # Panics
    /// If the shapes do not fit the plan.
    pub fn forward(&self, inputs: Tensor<3>, text: &TextCondition, plan: &Plan) -> Tensor<3> {
        let text = self.encode_text(text);
        let x = self.forward_hidden(None, inputs, &text, plan);
        self.logits(x, text.cond)
    }

    /// [`Infinity::forward`] up to the last block: `[b, l, C]`. Of edits, `source`, `[b, h w, D]`, are the tokens of the images
    /// that are edited, and the plan was made by [`Plan::editing_teacher_forcing`].
    ///
    /// # Panics
    /// See [`Infinity::forward`].
    pub fn forward_hidden(
        &self,
        source: Option<Tensor<3>>,
        inputs: Tensor<3>,
        text: &TextState,
        plan: &Plan,
    ) -> Tensor<3> {
        let x = self.teacher_start(source, inputs, text, plan);
        let block = |x, i: usize| teacher_block(&self.block(i), (i, None), x, text, plan);
        teacher_end((0..self.depth()).fold(x, block), plan)
    }

    /// The tokens of the source, if there is one, and of all scales before the first block, `[b, l, C]`.
    pub(crate) fn teacher_start(
        &self,
        source: Option<Tensor<3>>,
        inputs: Tensor<3>,
        text: &TextState,
        plan: &Plan,
    ) -> Tensor<3> {
        let [b, rest, _] = inputs.dims();
        let [l] = plan.levels.dims();
        assert_eq!(
            rest + 1,
            l,
            "inputs for {rest} tokens after the first, in a plan of {l} tokens"
        );
        let mut x = self.first_token(text); // [b, 1, c]
        if rest > 0 {
            x = Tensor::cat(vec![x, project(f32(inputs), &self.word_embed)], 1);
        }
        assert_eq!(x.dims()[0], b, "the numbers of prompts and images differ");
        let levels = value(&self.lvl_embed).select(0, plan.levels.clone());
        let x = x + levels.unsqueeze();
        match source {
            Some(source) => Tensor::cat(vec![self.source_tokens(source, plan, b), x], 1),
            None => x,
        }
    }
}

/// Block number `i`: `x`, `[b, l, C]`, to the same shape. `kept` are factors on what attention and feed-forward add.
pub(crate) fn teacher_block(
    block: &Block,
    (i, kept): (usize, Option<[Tensor<3>; 2]>),
    x: Tensor<3>,
    text: &TextState,
    plan: &Plan,
) -> Tensor<3> {
    let condition = block.condition(text.kv.clone(), text.modulation.clone(), plan.precision);
    let ada = condition.ada.with_factors(kept);
    let text_context = TextContext {
        keys: &condition.keys,
        hidden: text.hidden.as_ref(),
    };
    let Some(_) = &plan.source else {
        assert!(
            x.dims()[1] == 1 || plan.causal.is_some(),
            "a stepwise plan has no mask for teacher forcing; use Plan::teacher_forcing"
        );
        let context = PassContext {
            rope: Some(&plan.rope),
            causal: plan.causal.as_ref(),
            precision: plan.precision,
            share: None,
        };
        return block.forward(x, &ada, text_context, context, |k, v| (k, v));
    };
    let Some(teacher) = &source_of(plan).teacher else {
        panic!("the plan is not made for teacher forcing; use Plan::editing_teacher_forcing");
    };
    let is_first = i == 0;
    let context = PassContext {
        rope: Some(&teacher.rope),
        causal: Some(if is_first {
            &teacher.first
        } else {
            &teacher.rest
        }),
        precision: plan.precision,
        share: None,
    };
    let keys = |x: Tensor<4>| {
        if is_first {
            means_of_all(x, plan.schedule())
        } else {
            x
        }
    };
    block.forward(x, &ada, text_context, context, |k, v| (keys(k), keys(v)))
}

/// The tokens of all scales, without those of a source.
pub(crate) fn teacher_end(x: Tensor<3>, plan: &Plan) -> Tensor<3> {
    match plan.source {
        Some(_) => x.slice_dim(1, plan.source_tokens()..),
        None => x,
    }
}
