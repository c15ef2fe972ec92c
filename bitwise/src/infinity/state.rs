//! Generation scale by scale: the same blocks with a key-value cache.

use burn::tensor::Tensor;
use nextscale_var_core::{
    attention::PassContext,
    cache::KvCache,
    dtype::value,
    guidance::{Guidance, mix},
    layers::embed_scale,
};

use super::block::{Condition as BlockCondition, TextContext};
#[cfg(feature = "cuda")]
use super::card::Condition;
use super::model::Infinity;
use super::plan::Plan;
use super::text::{TextCondition, TextState};

/// The state of generation between scales.
#[derive(Debug, Clone)]
pub struct State {
    text: TextState,
    /// What the blocks keep of the prompts that the first scale has passed through.
    conditions: Vec<BlockCondition>,
    /// The same for a card.
    #[cfg(feature = "cuda")]
    on_card: Vec<Condition>,
    cache: KvCache,
}

impl State {
    /// The encoded prompts.
    pub fn text(&self) -> &TextState {
        &self.text
    }
}

impl Infinity {
    /// Starts a run: encodes the prompts and reserves the cache for the plan's tokens.
    ///
    /// Under guidance, `text` holds the conditional prompts followed by as many unconditional ones.
    pub fn start(&self, text: &TextCondition, plan: &Plan) -> State {
        State {
            text: self.encode_text(text),
            conditions: Vec::with_capacity(self.depth()),
            #[cfg(feature = "cuda")]
            on_card: Vec::new(),
            cache: KvCache::new(self.depth(), plan.schedule().kept_tokens()),
        }
    }

    /// Logits of scale `k` (from 0) after guidance. Scales must come in order.
    ///
    /// With `guidance` the state holds `2 b` prompts, and both halves are computed at every scale, also where the weight
    /// is 1.
    ///
    /// # Shapes
    /// - `input`: `[b, h w, D]`, the running feature map resized to this scale; `None` at scale 0
    /// - result: `[b, h w, 2 D]` in f32
    ///
    /// # Panics
    /// If the input does not fit the scale.
    pub fn forward_scale(
        &self,
        k: usize,
        input: Option<Tensor<3>>,
        state: &mut State,
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

    /// The tokens of scale `k` before the first block, `[rows, h w, C]`, for all prompts of the state.
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
            Some(input) => embed_scale(input, scale, &self.word_embed, rows),
            None => {
                assert_eq!(
                    scale.tokens(),
                    1,
                    "only a first scale of one token goes without an input"
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
        state: &mut State,
        plan: &Plan,
        guidance: Option<&Guidance>,
    ) -> Tensor<3> {
        let rope = plan.rope_of(k);
        let context = PassContext {
            rope: Some(&rope),
            hidden: None,
            precision: plan.precision,
        };
        let (depth, last) = (self.depth(), k + 1 == plan.schedule().len());
        #[cfg(feature = "cuda")]
        if nextscale_var_core::card::runs(&x) {
            return self.scale_blocks_on_card(k, x, state, context, last, guidance);
        }
        let State {
            text,
            conditions,
            cache,
            ..
        } = state;
        for i in 0..depth {
            // A streamed block is read once for what it keeps of the prompts and its forward pass.
            let block = self.block(i);
            if conditions.len() == i {
                conditions.push(block.condition(text.kv.clone(), text.modulation.clone()));
            }
            let extend = |key, value| cache.extend(i, key, value, last);
            let text_context = TextContext {
                keys: &conditions[i].keys,
                hidden: text.hidden.as_ref(),
            };
            x = block.forward(x, &conditions[i].ada, text_context, context, extend);
            if let Some(guidance) = guidance
                && guidance.after_block(k, i, depth)
            {
                x = mix(x, guidance.weight(k)).repeat_dim(0, 2);
            }
        }
        x
    }

    #[cfg(feature = "cuda")]
    fn scale_blocks_on_card(
        &self,
        k: usize,
        x: Tensor<3>,
        state: &mut State,
        context: PassContext,
        last: bool,
        guidance: Option<&Guidance>,
    ) -> Tensor<3> {
        use nextscale_var_core::card::stream::{Kept, Stream};
        use nextscale_var_core::layers::working_dtype;
        let ([b, l, c], depth) = (x.dims(), self.depth());
        let rows = x.reshape([b * l, c]);
        let State {
            text,
            on_card,
            cache,
            ..
        } = state;
        let mixed = |x: Tensor<2>, i: usize| {
            let guidance = guidance.filter(|guidance| guidance.after_block(k, i, depth))?;
            let mixed = mix(x.reshape([b, l, c]), guidance.weight(k));
            Some(mixed.repeat_dim(0, 2).reshape([b * l, c]))
        };
        let mut block = self.block(0);
        if on_card.is_empty() {
            on_card.push(Condition::new(&block, text));
        }
        let dtype = working_dtype(&block.sa.q);
        let mut stream = Stream::new(rows, on_card[0].before(), dtype);
        for layer in 0..depth {
            // The norm after the last block is not used.
            let next = layer + usize::from(layer + 1 < depth);
            let next_block = (next != layer).then(|| self.block(next));
            if let (Some(next_block), true) = (&next_block, on_card.len() == next) {
                on_card.push(Condition::new(next_block, text));
            }
            let both = [&on_card[layer], &on_card[next]];
            let hidden = text.hidden.as_ref();
            stream = if block.passes() {
                let kept = Kept { cache, layer, last };
                block.pass(stream, b, both, hidden, context, kept)
            } else {
                let extend = |key, value| cache.extend(layer, key, value, last);
                let x = block.on_card(stream, b, both[0], context, hidden, extend);
                Stream::new(x, both[1].before(), dtype)
            };
            if let Some(x) = mixed(stream.x.clone(), layer) {
                stream = Stream::new(x, both[1].before(), dtype);
            }
            if let Some(next_block) = next_block {
                block = next_block;
            }
        }
        stream.x.reshape([b, l, c])
    }
}
