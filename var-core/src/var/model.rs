//! The VAR transformer: forward passes for teacher forcing and scale by scale.

use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Int, Tensor, TensorData},
};

use super::block::{Block, modulation_of};
use super::config::{Modulation, VarConfig};
use super::plan::Plan;
use crate::blocks::{StreamedBlocks, Transformer};
use crate::dtype::{f32, value};
use crate::layers::{AdaLn, Linear, linear, modulate, project, project_f32, silu};

/// Factors on the deviation of a fresh head, and of AdaLN's scales and shifts (the reference's training defaults).
const INIT_HEAD: f64 = 0.02;
const INIT_ADA: f64 = 0.5;

/// The class-conditional transformer.
#[derive(Module, Debug)]
pub struct Var {
    /// Added to the first scale, `[1, n_1, C]`.
    pub pos_start: Param<Tensor<3>>,
    /// One embedding per token, `[1, l, C]`.
    pub pos: Param<Tensor<3>>,
    /// One embedding per scale, `[K, C]`.
    pub lvl_embed: Param<Tensor<2>>,
    /// One embedding per class and, last, the unconditional one, `[classes + 1, C]`.
    pub class_emb: Param<Tensor<2>>,
    /// Latent cells to tokens.
    pub word_embed: Linear,
    /// Class to the blocks' shared modulation, after a SiLU; none where each block has its own.
    pub shared_ada: Option<Linear>,
    /// The blocks; empty if they are streamed.
    pub blocks: Vec<Block>,
    /// What reads the blocks in every pass, if they are streamed.
    #[module(skip)]
    pub stream: Option<StreamedBlocks<Block>>,
    /// Class to the scale and shift of the last norm, after a SiLU.
    pub head_ada: Linear,
    /// Tokens to logits over the codebook.
    pub head: Linear,
}

impl VarConfig {
    /// A fresh model, initialised as in the reference's training recipe.
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

    fn blocks(&self) -> (&[Block], Option<&StreamedBlocks<Block>>) {
        (&self.blocks, self.stream.as_ref())
    }

    fn blocks_mut(&mut self) -> (&mut Vec<Block>, &mut Option<StreamedBlocks<Block>>) {
        (&mut self.blocks, &mut self.stream)
    }
}

impl Var {
    /// Number of classes, which is also the label of the unconditional class.
    pub fn classes(&self) -> usize {
        self.class_emb.dims()[0] - 1
    }

    /// Logits of all scales at once, given the true earlier scales. `plan` must be one for teacher forcing.
    ///
    /// # Shapes
    /// `inputs` is `[b, l - n_1, c]`: the running feature map resized to each scale but the first. `labels` has one class
    /// per image, where [`Var::classes`] is the unconditional one. The result is `[b, l, V]` in f32.
    ///
    /// # Panics
    /// If the shapes do not fit the plan, or a label is not a class.
    pub fn forward(&self, inputs: Tensor<3>, labels: &[usize], plan: &Plan) -> Tensor<3> {
        let [b, rest, _] = inputs.dims();
        let first = plan.schedule().scales()[0].tokens();
        let l = plan.schedule().tokens();
        assert_eq!((b, rest + first), (labels.len(), l), "images and tokens");
        assert!(
            plan.schedule().len() == 1 || plan.causal.is_some(),
            "a stepwise plan has no mask for teacher forcing"
        );
        let cond = self.embed_classes(labels);
        let mut x = self.teacher_start(inputs, &cond, plan);
        let pass = plan.pass();
        for (i, modulation) in self.modulations(&cond).into_iter().enumerate() {
            x = self
                .block(i)
                .forward(x, &modulation, pass, |_, k, v| (k, v));
        }
        self.logits(x, cond)
    }

    /// The tokens of all scales before the first block, `[b, l, C]`.
    pub(super) fn teacher_start(
        &self,
        inputs: Tensor<3>,
        cond: &Tensor<2>,
        plan: &Plan,
    ) -> Tensor<3> {
        let [_, rest, _] = inputs.dims();
        let x = self.first_scale(cond);
        let x = match rest {
            0 => x,
            _ => Tensor::cat(vec![x, project(f32(inputs), &self.word_embed)], 1),
        };
        x + self.position_embeddings(plan, 0, plan.schedule().tokens())
    }

    /// Embeddings of classes, `[b, C]`.
    pub(super) fn embed_classes(&self, labels: &[usize]) -> Tensor<2> {
        let classes = self.classes();
        for &label in labels {
            assert!(label <= classes, "class {label} of {classes}");
        }
        let rows: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
        let count = rows.len();
        let device = self.class_emb.device();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &device);
        value(&self.class_emb).select(0, rows)
    }

    /// The tokens of the first scale, `[b, n_1, C]`.
    pub(super) fn first_scale(&self, cond: &Tensor<2>) -> Tensor<3> {
        cond.clone().unsqueeze_dim::<3>(1) + value(&self.pos_start)
    }

    /// Position and scale embeddings of `count` tokens from `start` on, `[1, count, C]`.
    pub(super) fn position_embeddings(&self, plan: &Plan, start: usize, count: usize) -> Tensor<3> {
        let levels = plan.levels.clone().slice_dim(0, start..start + count);
        let levels = value(&self.lvl_embed).select(0, levels);
        value(&self.pos).slice_dim(1, start..start + count) + levels.unsqueeze::<3>()
    }

    /// Gains, scales and shifts of every block.
    pub(super) fn modulations(&self, cond: &Tensor<2>) -> Vec<AdaLn> {
        let shared = self.shared_modulation(cond);
        let own = |i: usize| self.block(i).modulate(cond, shared.as_ref());
        (0..self.depth()).map(own).collect()
    }

    /// The part of the modulation that all blocks share, `[b, 1, 6, C]`.
    pub(super) fn shared_modulation(&self, cond: &Tensor<2>) -> Option<Tensor<4>> {
        let layer = self.shared_ada.as_ref();
        layer.map(|layer| modulation_of(cond, layer))
    }

    pub(super) fn logits(&self, x: Tensor<3>, cond: Tensor<2>) -> Tensor<3> {
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
    use crate::attention::AttentionKind;
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

    /// The first invariant: stepwise logits with the cache equal teacher-forced ones.
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
            let plan = Plan::teacher_forcing(&config, &device);
            let forced = model.forward(inputs.clone(), &[3, 5], &plan);
            let plan = Plan::stepwise(&config, &device);
            let mut state = model.start(&[3, 5], &plan);
            let mut steps = vec![model.forward_scale(0, None, &mut state, &plan)];
            for (k, range) in [(1, 0..4), (2, 4..13)] {
                let input = inputs.clone().slice_dim(1, range);
                steps.push(model.forward_scale(k, Some(input), &mut state, &plan));
            }
            let off = (Tensor::cat(steps, 1) - forced).abs().max();
            let off: f32 = off.into_scalar();
            assert!(off < 1e-5, "{attention:?}: off by {off}");
        }
    }

    #[test]
    #[should_panic(expected = "class 6 of 5")]
    fn an_unknown_class_is_refused() {
        let config = config(Modulation::Own, AttentionKind::Cosine);
        let device = Device::flex();
        let plan = Plan::stepwise(&config, &device);
        config.init(&device).start(&[6], &plan);
    }
}
