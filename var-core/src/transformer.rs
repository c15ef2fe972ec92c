//! The VAR transformer: a class and earlier scales in, one distribution over the codebook a token out.
//!
//! The first token is the class; the tokens of scale `k > 1` are the running feature map, brought to that scale, one
//! linear layer away from `C`. Every token has a learned position and scale embedding. Every block attends to the
//! picture so far and is modulated by the class (VAR, arXiv 2404.02905, section 3; `var.py` and `basic_var.py` of the
//! reference).

mod block;
mod config;
pub mod loss;
mod plan;

use std::borrow::Cow;

use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Int, Tensor, TensorData},
};

use crate::blocks::{Shelf, StreamedBlocks, Transformer};
use crate::cache::KvCache;
use crate::dtype::{f32, value};
use crate::layers::{Linear, linear, modulate, project, project_f32, silu};

pub use block::{Block, FeedForward, SelfAttention};
pub use config::{AttentionKind, Modulation, VarConfig};
pub use plan::VarPlan;

use block::Scene;

/// Deviation factors of a fresh head, and of AdaLN's scales and shifts (the reference's training defaults).
const INIT_HEAD: f64 = 0.02;
const INIT_ADA: f64 = 0.5;

/// The class-conditional transformer.
#[derive(Module, Debug)]
pub struct Var {
    /// Added to the first scale, `[1, n_1, C]`.
    pub pos_start: Param<Tensor<3>>,
    /// One embedding a token, `[1, l, C]`.
    pub pos: Param<Tensor<3>>,
    /// One embedding a scale, `[K, C]`.
    pub lvl_embed: Param<Tensor<2>>,
    /// One embedding a class and, last, that of no class, `[classes + 1, C]`.
    pub class_emb: Param<Tensor<2>>,
    /// Latent cells to tokens.
    pub word_embed: Linear,
    /// Class to the blocks' shared modulation, behind a SiLU; none where each block has its own.
    pub shared_ada: Option<Linear>,
    /// The blocks, or none if they stay in their file.
    pub blocks: Vec<Block>,
    /// Where the blocks are read from in every pass, if they are not loaded.
    #[module(skip)]
    pub stream: Option<StreamedBlocks<Block>>,
    /// Class to the scale and shift of the last norm, behind a SiLU.
    pub head_ada: Linear,
    /// Tokens to logits over the codebook.
    pub head: Linear,
}

/// What generation carries from scale to scale.
#[derive(Debug, Clone)]
pub struct VarState {
    cond: Tensor<2>,
    modulations: Vec<Tensor<4>>,
    cache: KvCache,
}

impl VarConfig {
    /// A fresh model, initialised as the reference's training recipe does it.
    ///
    /// # Panics
    /// If the sizes contradict each other.
    pub fn init(&self, device: &Device) -> Var {
        self.check();
        let (c, std) = (self.width, self.init_std());
        let normal = Initializer::Normal { mean: 0.0, std };
        let shared = self.modulation == Modulation::Shared;
        let (l, first) = (self.schedule.tokens(), self.schedule.scales()[0].tokens());
        Var {
            pos_start: normal.init([1, first, c], device),
            pos: normal.init([1, l, c], device),
            lvl_embed: normal.init([self.schedule.len(), c], device),
            class_emb: normal.init([self.classes + 1, c], device),
            word_embed: linear(self.channels, c, true, std, device),
            shared_ada: shared.then(|| linear(c, 6 * c, true, std, device)),
            blocks: (0..self.depth).map(|_| Block::init(self, device)).collect(),
            stream: None,
            head_ada: linear(c, 2 * c, true, std * INIT_ADA, device),
            head: linear(c, self.vocabulary, true, std * INIT_HEAD, device),
        }
    }
}

impl Transformer for Var {
    type Block = Block;

    fn shelf(&mut self) -> Shelf<'_, Block> {
        (&mut self.blocks, &mut self.stream)
    }
}

impl Var {
    /// Number of classes; the class of that number is "none".
    pub fn classes(&self) -> usize {
        self.class_emb.dims()[0] - 1
    }

    /// Logits of all scales at once, from the true earlier scales: `[b, l, V]`, f32.
    ///
    /// `inputs` is `[b, l - n_1, c]`: the running feature map brought to each scale but the first. `labels` are
    /// classes, one a picture, where [`Var::classes`] is no class. `plan` must be one for teacher forcing.
    ///
    /// # Panics
    /// If the shapes do not fit the plan, or a label is no class.
    pub fn forward(&self, inputs: Tensor<3>, labels: &[usize], plan: &VarPlan) -> Tensor<3> {
        let [b, rest, _] = inputs.dims();
        let first = plan.schedule().scales()[0].tokens();
        let l = plan.schedule().tokens();
        assert_eq!((b, rest + first), (labels.len(), l), "pictures and tokens");
        assert!(
            plan.schedule().len() == 1 || plan.hidden.is_some(),
            "a stepwise plan has no mask for teacher forcing"
        );
        let cond = self.embed_classes(labels);
        let x = self.first_scale(&cond);
        let x = match rest {
            0 => x,
            _ => Tensor::cat(vec![x, project(f32(inputs), &self.word_embed)], 1),
        };
        let mut x = x + self.places(plan, 0, l);
        let scene = Scene {
            hidden: plan.hidden.as_ref(),
            precision: plan.precision,
        };
        for (i, modulation) in self.modulations(&cond).into_iter().enumerate() {
            x = self.block(i).forward(x, modulation, scene, |k, v| (k, v));
        }
        self.logits(x, cond)
    }

    /// Starts a run for classes, one a row; [`Var::classes`] stands for no class.
    ///
    /// # Panics
    /// If a label is no class.
    pub fn start(&self, labels: &[usize], plan: &VarPlan) -> VarState {
        let cond = self.embed_classes(labels);
        VarState {
            modulations: self.modulations(&cond),
            cond,
            cache: KvCache::new(self.depth(), plan.schedule().kept_tokens()),
        }
    }

    /// Logits of scale `k` (from 0) for every row of the state, `[rows, n, V]` in f32.
    ///
    /// `input` is the running feature map brought to this scale, `[b, n, c]`, absent at scale 0; where the state has
    /// twice as many rows, both halves see it. Scales must come in order.
    ///
    /// # Panics
    /// If the input does not fit the scale.
    pub fn forward_scale(
        &self,
        k: usize,
        input: Option<Tensor<3>>,
        state: &mut VarState,
        plan: &VarPlan,
    ) -> Tensor<3> {
        let scale = plan.schedule().scales()[k];
        let [rows, _] = state.cond.dims();
        let x = match input {
            Some(input) => {
                let [b, n, _] = input.dims();
                assert_eq!(n, scale.tokens(), "tokens of scale {k} ({scale})");
                project(f32(input), &self.word_embed).repeat_dim(0, rows / b)
            }
            None => self.first_scale(&state.cond),
        };
        let mut x = x + self.places(plan, plan.offset(k), scale.tokens());
        let scene = Scene {
            hidden: None,
            precision: plan.precision,
        };
        let last = k + 1 == plan.schedule().len();
        let VarState {
            modulations, cache, ..
        } = state;
        for (i, modulation) in modulations.iter().enumerate() {
            let remember = |key, value| match last {
                true => cache.with_last(i, key, value),
                false => cache.append(i, key, value),
            };
            let block = self.block(i);
            x = block.forward(x, modulation.clone(), scene, remember);
        }
        self.logits(x, state.cond.clone())
    }

    /// Number of blocks, loaded or not.
    pub fn depth(&self) -> usize {
        match &self.stream {
            Some(stream) => stream.depth(),
            None => self.blocks.len(),
        }
    }

    /// Block `i`, loaded or not.
    fn block(&self, i: usize) -> Cow<'_, Block> {
        StreamedBlocks::take(&self.blocks, self.stream.as_ref(), i)
    }

    /// Embeddings of classes, `[b, C]`.
    fn embed_classes(&self, labels: &[usize]) -> Tensor<2> {
        let most = self.classes();
        for &label in labels {
            assert!(label <= most, "class {label} of {most}");
        }
        let rows: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
        let count = rows.len();
        let device = self.class_emb.device();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &device);
        value(&self.class_emb).select(0, rows)
    }

    /// The tokens of the first scale, `[b, n_1, C]`.
    fn first_scale(&self, cond: &Tensor<2>) -> Tensor<3> {
        cond.clone().unsqueeze_dim::<3>(1) + value(&self.pos_start)
    }

    /// Position and scale embeddings of `count` tokens from `start` on, `[1, count, C]`.
    fn places(&self, plan: &VarPlan, start: usize, count: usize) -> Tensor<3> {
        let levels = plan.levels.clone().slice_dim(0, start..start + count);
        let levels = value(&self.lvl_embed).select(0, levels);
        value(&self.pos).slice_dim(1, start..start + count) + levels.unsqueeze::<3>()
    }

    /// Gains, scales and shifts of every block, `[b, 1, 6, C]` each.
    fn modulations(&self, cond: &Tensor<2>) -> Vec<Tensor<4>> {
        let [b, c] = cond.dims();
        let active = silu(cond.clone());
        let of = |layer: &Linear| project_f32(active.clone(), layer).reshape([b, 1, 6, c]);
        let shared = self.shared_ada.as_ref().map(of);
        let own = |block: &Block| match (&block.ada, &block.modulation, &shared) {
            (Some(ada), ..) => of(ada),
            (None, Some(own), Some(shared)) => shared.clone() + value(own),
            _ => unreachable!("a block without modulation"),
        };
        (0..self.depth()).map(|i| own(&self.block(i))).collect()
    }

    fn logits(&self, x: Tensor<3>, cond: Tensor<2>) -> Tensor<3> {
        let [b, c] = cond.dims();
        let ada = project_f32(silu(cond), &self.head_ada).reshape([b, 1, 2 * c]);
        let scale = ada.clone().slice_dim(2, 0..c);
        let shift = ada.slice_dim(2, c..2 * c);
        project_f32(modulate(x, scale, shift), &self.head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;
    use nextscale_tokenizer::ScaleSchedule;

    fn config(modulation: Modulation, attention: AttentionKind) -> VarConfig {
        VarConfig {
            width: 32,
            depth: 2,
            heads: 2,
            classes: 5,
            vocabulary: 7,
            channels: 4,
            schedule: ScaleSchedule::square(&[1, 2, 3]).unwrap(),
            mlp_ratio: 4.0,
            modulation,
            attention,
        }
    }

    /// The first invariant of the house: stepwise logits with the cache equal teacher-forced ones.
    #[test]
    fn stepwise_equals_teacher_forced() {
        let device = Device::flex();
        for (modulation, attention) in [
            (Modulation::Own, AttentionKind::Cosine),
            (Modulation::Shared, AttentionKind::Scaled),
        ] {
            let config = config(modulation, attention);
            let model = config.init(&device);
            let inputs = Tensor::<3>::random([2, 13, 4], Distribution::Default, &device);
            let plan = VarPlan::teacher_forcing(&config, &device);
            let taught = model.forward(inputs.clone(), &[3, 5], &plan);
            let plan = VarPlan::stepwise(&config, &device);
            let mut state = model.start(&[3, 5], &plan);
            let mut steps = vec![model.forward_scale(0, None, &mut state, &plan)];
            for (k, range) in [(1, 0..4), (2, 4..13)] {
                let input = inputs.clone().slice_dim(1, range);
                steps.push(model.forward_scale(k, Some(input), &mut state, &plan));
            }
            let off = (Tensor::cat(steps, 1) - taught).abs().max();
            let off: f32 = off.into_scalar();
            assert!(off < 1e-5, "{attention:?}: off by {off}");
        }
    }

    #[test]
    #[should_panic(expected = "class 6 of 5")]
    fn an_unknown_class_is_refused() {
        let config = config(Modulation::Own, AttentionKind::Cosine);
        let device = Device::flex();
        let plan = VarPlan::stepwise(&config, &device);
        config.init(&device).start(&[6], &plan);
    }
}
