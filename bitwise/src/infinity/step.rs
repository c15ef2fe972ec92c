//! Generation scale by scale: the same blocks, with the past in a cache.

use burn::tensor::Tensor;
use nextscale_var_core::{
    cache::KvCache,
    guidance::{Guidance, mix},
};

use super::block::{Scene, TextKeys};
use super::{Infinity, Plan, TextCondition, TextState};
use nextscale_var_core::dtype::{f32, value};
use nextscale_var_core::layers::project;

/// What generation carries from scale to scale.
#[derive(Debug, Clone)]
pub struct StepState {
    text: TextState,
    /// Those of the blocks that the first scale has been through.
    keys: Vec<TextKeys>,
    cache: KvCache,
}

impl StepState {
    /// The prompts, as encoded at the start.
    pub fn text(&self) -> &TextState {
        &self.text
    }
}

impl Infinity {
    /// Starts a run: encodes the prompts and makes room for the plan's tokens.
    ///
    /// Under guidance `text` holds the conditional prompts, then as many unconditional ones.
    pub fn start(&self, text: &TextCondition, plan: &Plan) -> StepState {
        StepState {
            text: self.encode_text(text),
            keys: Vec::with_capacity(self.depth()),
            cache: KvCache::new(self.depth(), plan.schedule().kept_tokens()),
        }
    }

    /// Logits of scale `k` (from 0), `[b, h w, 2 D]` in f32, behind guidance.
    ///
    /// `input` is the running feature map brought to this scale, `[b, h w, D]`, and absent at scale 0. With
    /// `guidance` the state holds `2 b` prompts; every scale goes through both halves, also those of
    /// weight 1. Scales must come in order.
    ///
    /// # Panics
    /// If the input does not fit the scale.
    pub fn forward_scale(
        &self,
        k: usize,
        input: Option<Tensor<3>>,
        state: &mut StepState,
        plan: &Plan,
        guidance: Option<&Guidance>,
    ) -> Tensor<3> {
        let x = self.scale_tokens(k, input, &state.text, plan);
        let x = self.scale_blocks(k, x, state, plan, guidance);
        let cond = state.text.cond.clone();
        let Some(guidance) = guidance else {
            return self.logits(x, cond);
        };
        if guidance.on_logits(k) {
            return mix(self.logits(x, cond), guidance.weight(k));
        }
        let b = x.dims()[0] / 2;
        self.logits(x.slice_dim(0, 0..b), cond.slice_dim(0, 0..b))
    }

    /// The tokens of scale `k` before the first block, for every prompt of the state.
    fn scale_tokens(
        &self,
        k: usize,
        input: Option<Tensor<3>>,
        text: &TextState,
        plan: &Plan,
    ) -> Tensor<3> {
        let scale = plan.schedule().scales()[k];
        let rows = text.cond.dims()[0];
        let x = match input {
            Some(input) => {
                let [b, n, _] = input.dims();
                assert_eq!(n, scale.tokens(), "tokens of scale {k} ({scale})");
                project(f32(input), &self.word_embed).repeat_dim(0, rows / b)
            }
            None => {
                assert_eq!(
                    scale.tokens(),
                    1,
                    "only a first scale of one token has no input"
                );
                self.first_token(text)
            }
        };
        let c = x.dims()[2];
        let row = plan.level(k);
        let level = value(&self.lvl_embed).slice([row..row + 1, 0..c]);
        x + level.reshape([1, 1, c])
    }

    fn scale_blocks(
        &self,
        k: usize,
        mut x: Tensor<3>,
        state: &mut StepState,
        plan: &Plan,
        guidance: Option<&Guidance>,
    ) -> Tensor<3> {
        let rope = plan.rope_of(k);
        let StepState { text, keys, cache } = state;
        let scene = Scene {
            rope: &rope,
            hidden: None,
            text_hidden: text.hidden.as_ref(),
            precision: plan.precision,
        };
        let (depth, last) = (self.depth(), k + 1 == plan.schedule().len());
        for i in 0..depth {
            // Read once for both, where it is not loaded.
            let block = self.block(i);
            if keys.len() == i {
                keys.push(block.text_keys(text.kv.clone()));
            }
            let remember = |key, value| match last {
                true => cache.with_last(i, key, value),
                false => cache.append(i, key, value),
            };
            let shared = text.modulation.clone();
            x = block.forward(x, shared, &keys[i], scene, remember);
            if let Some(guidance) = guidance
                && guidance.behind_block(k, i, depth)
            {
                x = mix(x, guidance.weight(k)).repeat_dim(0, 2);
            }
        }
        x
    }
}
