//! Generation scale by scale: the same blocks with a key-value cache.

use crate::blocks::Transformer as _;
use burn::tensor::Tensor;

use super::model::Var;
use super::plan::Plan;
use crate::attention::PassContext;
use crate::cache::KvCache;
use crate::chosen::Chosen;
use crate::layers::{AdaLn, embed_scale};
use crate::pruning::Pruner;
use crate::sample_ranks::SampleRanks;

/// What generation carries from scale to scale.
#[derive(Debug, Clone)]
pub struct State {
    cond: Tensor<2>,
    modulations: Vec<AdaLn>,
    /// The same for a card.
    #[cfg(feature = "cuda")]
    adapted: Vec<crate::card::Adapted>,
    cache: KvCache,
    pruner: Option<Pruner>,
    /// What other processes do of it.
    ranks: SampleRanks,
}

impl State {
    /// Reserves the cache for the scales before `before` only: [`State::keep_rows`] makes room for the others.
    pub(super) fn reserve(&mut self, plan: &Plan, before: usize) {
        self.cache = plan.cache(self.cache.layers(), before);
    }

    /// The keys and values.
    pub(super) fn cache(&self) -> &KvCache {
        &self.cache
    }

    /// The state holds only what these ranks leave to this process.
    pub(super) fn share(&mut self, ranks: SampleRanks) {
        self.ranks = ranks;
    }

    /// From now on, measures how selective attention is.
    pub(super) fn measure(&mut self) {
        self.cache.measure();
    }

    /// Drops all rows but the first `rows`, with their keys and values, and makes room for the whole plan.
    pub(super) fn keep_rows(&mut self, rows: usize, plan: &Plan) {
        self.cond = self.cond.clone().slice_dim(0, 0..rows);
        for modulation in &mut self.modulations {
            *modulation = modulation.rows(rows);
        }
        #[cfg(feature = "cuda")]
        for adapted in &mut self.adapted {
            *adapted = adapted.rows(rows);
        }
        let kept = plan.kept_tokens(self.cache.layers());
        self.cache.keep_rows(rows, kept);
        if let Some(pruner) = &mut self.pruner {
            pruner.keep_rows(rows);
        }
    }
}

impl Var {
    /// Starts generation with one row per label, where [`Var::classes`] is the unconditional class.
    ///
    /// # Panics
    /// If a label is not a class.
    pub fn start(&self, labels: &[usize], plan: &Plan) -> State {
        let cond = self.embed_classes(labels);
        let modulations = self.modulations(&cond);
        State {
            #[cfg(feature = "cuda")]
            adapted: crate::card::adapted(&cond, &modulations),
            modulations,
            cond,
            cache: plan.cache(self.depth(), plan.schedule().len()),
            pruner: plan.shortcuts.pruner(self.depth()),
            ranks: SampleRanks::default(),
        }
    }

    /// Logits of scale `k`, from 0, for every row of the state. Scales must come in order.
    ///
    /// # Shapes
    /// `input` is the running feature map resized to this scale, `[b, n, c]`, and absent at scale 0. If the state has
    /// twice as many rows, both halves get it. The result is `[rows, n, V]` in f32.
    ///
    /// # Panics
    /// If the input does not fit the scale.
    pub fn forward_scale(
        &self,
        k: usize,
        input: Option<Tensor<3>>,
        state: &mut State,
        plan: &Plan,
    ) -> Tensor<3> {
        let scale = plan.schedule().scales()[k];
        let [rows, _] = state.cond.dims();
        let x = match input {
            Some(input) => embed_scale(input, scale, &self.word_embed, rows),
            None => self.first_scale(&state.cond),
        };
        let limits = plan.cache_limits(self.depth(), k);
        state.cache.begin(scale, limits);
        let x = x + self.position_embeddings(plan, plan.offset(k), scale.tokens());
        let ranks = state.ranks.clone();
        let pass = PassContext {
            rope: None,
            causal: None,
            precision: plan.precision,
            share: ranks.share(scale.tokens()),
        };
        let Some(share) = pass.share else {
            let x = self.scale_blocks(k, x, state, pass, plan);
            return self.logits(x, state.cond.clone());
        };
        let x = self.scale_blocks(k, share.own(x, 1), state, pass, plan);
        share.gather(self.logits(x, state.cond.clone()))
    }

    /// All blocks of one scale.
    fn scale_blocks(
        &self,
        k: usize,
        mut x: Tensor<3>,
        state: &mut State,
        pass: PassContext,
        plan: &Plan,
    ) -> Tensor<3> {
        #[cfg(feature = "cuda")]
        if crate::card::runs(&x) {
            return self.scale_blocks_on_card(k, x, state, pass, plan);
        }
        let State {
            modulations,
            cache,
            pruner,
            ..
        } = state;
        let scale = plan.schedule().scales()[k];
        let last = k + 1 == plan.shortcuts.scales();
        for (i, modulation) in modulations.iter().enumerate() {
            let extend = |q: &_, key, value| cache.extend(i, q, [key, value], last);
            let block = self.block(i);
            // Positions are in the tokens already.
            let run = |x, _: Option<&Chosen>| block.forward(x, modulation, pass, extend);
            x = match pruner {
                Some(pruner) => pruner.block(k, scale, i, x, run),
                None => run(x, None),
            };
        }
        x
    }

    #[cfg(feature = "cuda")]
    fn scale_blocks_on_card(
        &self,
        k: usize,
        x: Tensor<3>,
        state: &mut State,
        pass: PassContext,
        plan: &Plan,
    ) -> Tensor<3> {
        use crate::card::stream::{Kept, Stream};
        let [b, l, c] = x.dims();
        let State {
            adapted,
            cache,
            pruner,
            ..
        } = state;
        let scale = plan.schedule().scales()[k];
        let last = k + 1 == plan.shortcuts.scales();
        let mut pruner = pruner.as_mut().filter(|pruner| pruner.acts(k));
        let dtype = crate::layers::working_dtype(&self.head);
        let before = |layer: usize| &adapted[layer].norms[0];
        let mut stream = Stream::new(x.reshape([b * l, c]), before(0), dtype);
        for layer in 0..adapted.len() {
            let block = self.block(layer);
            // The norm after the last block is not used.
            let next = (layer + 1).min(adapted.len() - 1);
            let mut run = |stream: Stream| {
                // The kernels write to the cache, and attend to it, as it is.
                if block.passes() && cache.is_plain() && pass.share.is_none() {
                    let kept = Kept { cache, layer, last };
                    return block.pass(stream, b, [&adapted[layer], &adapted[next]], pass, kept);
                }
                let extend = |q: &_, key, value| cache.extend(layer, q, [key, value], last);
                let x = block.on_card(stream, b, &adapted[layer], pass, extend);
                Stream::new(x, before(next), dtype)
            };
            stream = match &mut pruner {
                None => run(stream),
                Some(pruner) => {
                    let x = stream.x.reshape([b, l, c]);
                    let x = pruner.block(k, scale, layer, x, |x, _| {
                        let [_, n, _] = x.dims();
                        let stream = Stream::new(x.reshape([b * n, c]), before(layer), dtype);
                        run(stream).x.reshape([b, n, c])
                    });
                    Stream::new(x.reshape([b * l, c]), before(next), dtype)
                }
            };
        }
        stream.x.reshape([b, l, c])
    }
}
