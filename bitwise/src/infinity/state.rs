//! Generation scale by scale: the same blocks with a key-value cache.

use burn::tensor::Tensor;
use nextscale_tokenizer::Scale;
use nextscale_var_core::blocks::Transformer as _;
use nextscale_var_core::{
    attention::PassContext, cache::KvCache, chosen::Chosen, dtype::value, guidance::Guidance,
    layers::embed_scale, pruning::Pruner, spread::TokenShare,
};

use nextscale_var_core::sample_ranks::SampleRanks;

use super::block::{Condition as BlockCondition, TextContext};
#[cfg(feature = "cuda")]
use super::card::Condition;
use super::model::Infinity;
use super::plan::Plan;
use super::source::SourceMeans;
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
    pruner: Option<Pruner>,
    /// What other processes do of it.
    ranks: SampleRanks,
}

impl State {
    /// The encoded prompts.
    pub fn text(&self) -> &TextState {
        &self.text
    }

    /// Reserves the cache for the scales before `before` only: [`State::keep_rows`] makes room for the others.
    pub(crate) fn reserve(&mut self, plan: &Plan, before: usize) {
        self.cache = plan.cache(self.cache.layers(), before);
    }

    /// The keys and values.
    pub(crate) fn cache(&self) -> &KvCache {
        &self.cache
    }

    /// The state holds only what these ranks leave to this process.
    pub(crate) fn share(&mut self, ranks: SampleRanks) {
        self.ranks = ranks;
    }

    /// From now on, measures how selective attention is.
    pub(crate) fn measure(&mut self) {
        self.cache.measure();
    }

    /// Drops all prompts but the first `rows`, with their keys and values, and makes room for the whole plan.
    pub(crate) fn keep_rows(&mut self, rows: usize, plan: &Plan) {
        self.text = self.text.rows(rows);
        for condition in &mut self.conditions {
            *condition = condition.rows(rows);
        }
        #[cfg(feature = "cuda")]
        for condition in &mut self.on_card {
            *condition = condition.rows(rows);
        }
        let kept = plan.kept_tokens(self.cache.layers());
        self.cache.keep_rows(rows, kept);
        if let Some(pruner) = &mut self.pruner {
            pruner.keep_rows(rows);
        }
    }

    /// Whether no token was seen yet.
    pub(super) fn is_empty(&self) -> bool {
        self.cache.is_empty()
    }
}

/// One pass of some tokens through all blocks.
#[derive(Clone, Copy)]
pub(super) struct BlockPass<'a> {
    /// The scale of the guidance weight.
    pub k: usize,
    /// The grid of the scale, of whose tokens some may be left out; none of a pass that computes all.
    pub scale: Option<Scale>,
    pub context: PassContext<'a>,
    /// Whether no later pass attends to these tokens.
    pub last: bool,
    /// How the first block sees the source, if there is one.
    pub means: Option<SourceMeans>,
    pub guidance: Option<&'a Guidance>,
}

impl BlockPass<'_> {
    /// What the tokens with queries `q` attend to in block `i`, with their own keys and values.
    fn extend(
        self,
        cache: &mut KvCache,
        i: usize,
        q: &Tensor<4>,
        own: [Tensor<4>; 2],
    ) -> (Tensor<4>, Tensor<4>) {
        let (k, v) = cache.extend(i, q, own, self.last);
        match self.means.filter(|_| i == 0) {
            Some(means) => (means.of(k), means.of(v)),
            None => (k, v),
        }
    }
}

impl Infinity {
    /// Starts a run: encodes the prompts and reserves the cache for the plan's tokens. Under a plan for editing,
    /// [`Infinity::read_source`] comes next.
    ///
    /// Under guidance, `text` holds the conditional prompts followed by as many unconditional ones.
    pub fn start(&self, text: &TextCondition, plan: &Plan) -> State {
        State {
            text: self.encode_text(text),
            conditions: Vec::with_capacity(self.depth()),
            #[cfg(feature = "cuda")]
            on_card: Vec::new(),
            cache: plan.cache(self.depth(), plan.schedule().len()),
            pruner: plan.shortcuts().pruner(self.depth()),
            ranks: SampleRanks::default(),
        }
    }

    /// Logits of scale `k` (from 0) after guidance. Scales must come in order.
    ///
    /// With `guidance` the state holds `2 b` prompts, and both halves are computed, also where the weight is 1.
    ///
    /// # Shapes
    /// - `input`: `[b, h w, D]`, the running feature map resized to this scale; `None` at scale 0
    /// - result: `[b, h w, 2 D]` in f32
    ///
    /// # Panics
    /// If the input does not fit the scale, or the source of an edit was not read.
    pub fn forward_scale(
        &self,
        k: usize,
        input: Option<Tensor<3>>,
        state: &mut State,
        plan: &Plan,
        guidance: Option<&Guidance>,
    ) -> Tensor<3> {
        let x = self.scale_tokens(k, input, &state.text, plan);
        let ranks = state.ranks.clone();
        let Some(share) = ranks.share(x.dims()[1]) else {
            let x = self.scale_blocks(k, x, state, plan, guidance, None);
            return self.guided_logits(k, x, state, guidance);
        };
        let x = self.scale_blocks(k, share.own(x, 1), state, plan, guidance, Some(share));
        share.gather(self.guided_logits(k, x, state, guidance))
    }

    /// [`Infinity::forward_scale`] with blocks that are recorded, or are to be.
    #[cfg(feature = "cuda")]
    pub(crate) fn forward_recorded_scale(
        &self,
        k: usize,
        input: Option<Tensor<3>>,
        state: &State,
        plan: &Plan,
        guidance: Option<&Guidance>,
        recording: &mut super::graph_store::Lease,
    ) -> Tensor<3> {
        let x = self.scale_tokens(k, input, &state.text, plan);
        let x = recording.blocks(self, k, x, &state.text, plan);
        self.guided_logits(k, x, state, guidance)
    }

    /// The logits of scale `k` from the output of the last block, `[rows, h w, C]`.
    fn guided_logits(
        &self,
        k: usize,
        x: Tensor<3>,
        state: &State,
        guidance: Option<&Guidance>,
    ) -> Tensor<3> {
        let cond = state.text.cond.clone();
        let Some(guidance) = guidance else {
            return self.logits(x, cond);
        };
        if guidance.on_logits(k) {
            return state
                .ranks
                .halves
                .mix(self.logits(x, cond), guidance.weight(k));
        }
        let halves = &state.ranks.halves;
        let [rows, l, _] = x.dims();
        let b = if halves.are_here() { rows / 2 } else { rows };
        halves.of_conditional([b, l, self.head.weight.dims()[1]], &x.device(), || {
            self.logits(x.slice_dim(0, 0..b), cond.slice_dim(0, 0..b))
        })
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
        x: Tensor<3>,
        state: &mut State,
        plan: &Plan,
        guidance: Option<&Guidance>,
        share: Option<TokenShare>,
    ) -> Tensor<3> {
        assert!(
            state.cache.len(0) >= plan.source_tokens(),
            "the source of an edit has to be read before the first scale"
        );
        let limits = plan.cache_limits(self.depth(), k);
        state.cache.begin(plan.schedule().scales()[k], limits);
        let rope = plan.rope_of(k);
        let rope = match share {
            Some(share) => rope.slice(share.start(), share.len()),
            None => rope,
        };
        let means = plan.source.as_ref().map(|source| SourceMeans {
            grid: source.grid,
            scale: plan.schedule().scales()[k],
        });
        let pass = BlockPass {
            k,
            scale: Some(plan.schedule().scales()[k]),
            context: PassContext {
                rope: Some(&rope),
                causal: None,
                precision: plan.precision,
                share,
            },
            last: k + 1 == plan.shortcuts().scales(),
            means,
            guidance,
        };
        self.run_blocks(x, state, pass)
    }

    /// Tokens before the first block to those after the last one, `[rows, n, C]`.
    pub(super) fn run_blocks(
        &self,
        mut x: Tensor<3>,
        state: &mut State,
        pass: BlockPass,
    ) -> Tensor<3> {
        #[cfg(feature = "cuda")]
        if nextscale_var_core::card::runs(&x) {
            return self.run_blocks_on_card(x, state, pass);
        }
        let depth = self.depth();
        let State {
            text,
            conditions,
            cache,
            pruner,
            ranks,
            ..
        } = state;
        for i in 0..depth {
            // A streamed block is read once for what it keeps of the prompts and its forward pass.
            let block = self.block(i);
            if conditions.len() == i {
                conditions.push(block.condition(
                    text.kv.clone(),
                    text.modulation.clone(),
                    pass.context.precision,
                ));
            }
            let extend = |q: &_, key, value| pass.extend(cache, i, q, [key, value]);
            let text_context = TextContext {
                keys: &conditions[i].keys,
                hidden: text.hidden.as_ref(),
            };
            let ada = &conditions[i].ada;
            let run = |x, chosen: Option<&Chosen>| {
                let own = chosen.zip(pass.context.rope);
                let own = own.map(|(chosen, rope)| chosen.rope(rope));
                let context = PassContext {
                    rope: own.as_ref().or(pass.context.rope),
                    ..pass.context
                };
                block.forward_cached(x, ada, text_context, context, extend)
            };
            x = match (&mut *pruner, pass.scale) {
                (Some(pruner), Some(scale)) => pruner.block(pass.k, scale, i, x, run),
                _ => run(x, None),
            };
            if let Some(guidance) = pass.guidance
                && guidance.after_block(pass.k, i, depth)
            {
                x = ranks.halves.mix_both(x, guidance.weight(pass.k));
            }
        }
        x
    }

    #[cfg(feature = "cuda")]
    fn run_blocks_on_card(&self, x: Tensor<3>, state: &mut State, pass: BlockPass) -> Tensor<3> {
        use nextscale_var_core::card::stream::{Kept, Stream};
        use nextscale_var_core::layers::working_dtype;
        let ([b, l, c], depth, last) = (x.dims(), self.depth(), pass.last);
        let rows = x.reshape([b * l, c]);
        let State {
            text,
            on_card,
            cache,
            pruner,
            ranks,
            ..
        } = state;
        let pruner = pruner.as_mut().filter(|pruner| pruner.acts(pass.k));
        let mut pruner = pruner.zip(pass.scale);
        let mixed = |x: Tensor<2>, i: usize| {
            let guidance = pass.guidance;
            let guidance = guidance.filter(|guidance| guidance.after_block(pass.k, i, depth))?;
            let mixed = ranks
                .halves
                .mix_both(x.reshape([b, l, c]), guidance.weight(pass.k));
            Some(mixed.reshape([b * l, c]))
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
            let mut run = |stream: Stream, context: PassContext| {
                // The kernels write to the cache, and attend to it, as it is.
                let plain = cache.is_plain() && (layer > 0 || pass.means.is_none());
                if block.passes() && plain && context.share.is_none() {
                    let kept = Kept { cache, layer, last };
                    return block.pass(stream, b, both, hidden, context, kept);
                }
                let extend = |q: &_, key, value| pass.extend(cache, layer, q, [key, value]);
                let x = block.on_card(stream, b, both[0], context, hidden, extend);
                Stream::new(x, both[1].before(), dtype)
            };
            stream = match &mut pruner {
                None => run(stream, pass.context),
                Some((pruner, scale)) => {
                    let x = stream.x.reshape([b, l, c]);
                    let x = pruner.block(pass.k, *scale, layer, x, |x, chosen| {
                        let ([_, n, _], rope) = (x.dims(), pass.context.rope);
                        let own = chosen.zip(rope).map(|(chosen, rope)| chosen.rope(rope));
                        let rope = own.as_ref().or(rope);
                        let stream = Stream::new(x.reshape([b * n, c]), both[0].before(), dtype);
                        let context = PassContext {
                            rope,
                            ..pass.context
                        };
                        run(stream, context).x.reshape([b, n, c])
                    });
                    Stream::new(x.reshape([b * l, c]), both[1].before(), dtype)
                }
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
