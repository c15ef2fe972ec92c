use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Tensor},
};
use nextscale_bitwise::tokens::Patching;
use nextscale_tokenizer::Scale;
use nextscale_var_core::{
    blocks::{StreamedBlocks, Transformer},
    chosen::Chosen,
    dtype::{f32, value},
    layers::{Linear, linear, project, project_f32},
    rope::{RopeTable, THETA},
};

use super::block::{Block, Limits, RmsNorm};
use super::config::InfinityStarConfig;
use super::state::{BlockPass, Segment, State};
use crate::codes::CodeKind;

/// The spacetime transformer.
#[derive(Module, Debug)]
pub struct InfinityStar {
    /// The unconditional prompt, `[text_max_len, T]`.
    pub cfg_uncond: Param<Tensor<2>>,
    /// Text to tokens.
    pub text_proj: Linear,
    /// Cells of the latent to tokens.
    pub word_embed: Linear,
    /// The blocks; empty if they are streamed.
    pub blocks: Vec<Block>,
    /// The source of streamed blocks, which are read from their file in every pass.
    #[module(skip)]
    pub stream: Option<StreamedBlocks<Block>>,
    /// The last norm.
    pub norm: RmsNorm,
    /// Tokens to two logits per bit of a detail code.
    pub detail_head: Linear,
    /// Tokens to two logits per bit of a semantic code.
    pub semantic_head: Linear,
}

impl InfinityStarConfig {
    /// A model with random weights. They are drawn when they are first used, so loading a checkpoint draws nothing.
    ///
    /// # Panics
    /// If the sizes contradict each other.
    pub fn init(&self, device: &Device) -> InfinityStar {
        self.check();
        let (c, t, std) = (self.width, self.text_channels, self.init_std());
        let normal = Initializer::Normal {
            mean: 0.0,
            std: (t as f64).powf(-0.5),
        };
        InfinityStar {
            cfg_uncond: normal.init([self.text_max_len, t], device),
            text_proj: linear(t, c, true, std, device),
            word_embed: linear(self.bits.detail, c, true, std, device),
            blocks: (0..self.depth).map(|_| Block::init(self, device)).collect(),
            stream: None,
            norm: RmsNorm::init(c, device),
            detail_head: linear(c, 2 * self.bits.detail, true, std, device),
            semantic_head: linear(c, 2 * self.bits.semantic, true, std, device),
        }
    }
}

impl Transformer for InfinityStar {
    type Block = Block;

    fn blocks(&self) -> (&[Block], Option<&StreamedBlocks<Block>>) {
        (&self.blocks, self.stream.as_ref())
    }

    fn blocks_mut(&mut self) -> (&mut Vec<Block>, &mut Option<StreamedBlocks<Block>>) {
        (&mut self.blocks, &mut self.stream)
    }
}

impl InfinityStar {
    /// The rotary table of tokens at `positions`: scale, frame, row, column.
    pub fn rope(&self, positions: &[[f32; 4]], device: &Device) -> RopeTable {
        RopeTable::new(positions, self.head_dim(), THETA, device)
    }

    /// Dimension of an attention head.
    fn head_dim(&self) -> usize {
        let dim = |block: &Block| block.attention.q_norm.weight.dims()[0];
        match &self.stream {
            Some(stream) => dim(&stream.shape()),
            None => dim(&self.blocks[0]),
        }
    }

    /// Channels of the latent.
    pub fn channels(&self) -> usize {
        self.word_embed.weight.dims()[0]
    }

    /// Text features `[b, l, T]` to tokens `[b, l, C]`.
    pub fn text_tokens(&self, text: Tensor<3>) -> Tensor<3> {
        project(f32(text), &self.text_proj)
    }

    /// The unconditional prompt of `len` tokens, `[1, len, T]`.
    ///
    /// # Panics
    /// If `len` exceeds the model's longest prompt.
    pub fn unconditional(&self, len: usize) -> Tensor<3> {
        let [rows, _] = self.cfg_uncond.dims();
        assert!(
            len <= rows,
            "a prompt of {len} tokens exceeds the model's {rows}"
        );
        value(&self.cfg_uncond).slice_dim(0, 0..len).unsqueeze()
    }

    /// Cells of the latent `[b, c, t, h, w]` to tokens `[b, t h w, C]`.
    pub fn embed(&self, cells: Tensor<5>) -> Tensor<3> {
        let tokens = Patching::Single.to_tokens(cells);
        project(f32(tokens), &self.word_embed)
    }

    /// The blocks: tokens `[b, l, C]` of a pass to hidden states of the same shape. The tokens attend to each other and to
    /// `state`; with `keep`, the state keeps them for later passes. Text and conditions attend only to themselves.
    ///
    /// Where ranks share tokens, each gets all of them and returns its own.
    pub fn forward(
        &self,
        x: Tensor<3>,
        rope: &RopeTable,
        state: &mut State,
        keep: Option<Segment>,
        limits: Limits,
    ) -> Tensor<3> {
        let pass = BlockPass {
            rope,
            keep,
            scale: None,
            limits,
            share: None,
        };
        self.run(x, state, pass)
    }

    /// The same for all tokens of the scale with this index within its clip and this grid. Where the state was made with a
    /// [`Pruner`](nextscale_var_core::pruning::Pruner), blocks may leave some of them out.
    ///
    /// # Panics
    /// If a scale that leaves tokens out has more rows of the batch than the last one that was computed in full.
    pub fn forward_scale(
        &self,
        x: Tensor<3>,
        rope: &RopeTable,
        state: &mut State,
        keep: Option<Segment>,
        limits: Limits,
        scale: (usize, Scale),
    ) -> Tensor<3> {
        let pass = BlockPass {
            rope,
            keep,
            scale: Some(scale),
            limits,
            share: None,
        };
        self.run(x, state, pass)
    }

    fn run(&self, x: Tensor<3>, state: &mut State, pass: BlockPass) -> Tensor<3> {
        let ranks = state.ranks.clone();
        if let Some(share) = ranks.share(x.dims()[1]) {
            let rope = pass.rope.slice(share.start(), share.len());
            let own = BlockPass {
                rope: &rope,
                share: Some(share),
                ..pass
            };
            let x = share.own(x, 1);
            return (0..self.depth()).fold(x, |x, i| self.block(i, x, state, own));
        }
        #[cfg(feature = "cuda")]
        if super::card::takes(&x, &self.blocks) {
            return super::card::forward(&self.blocks, x, state, pass);
        }
        (0..self.depth()).fold(x, |x, i| self.block(i, x, state, pass))
    }

    /// Block `i`, with as many rows of the batch at a time as the limit allows; rows are independent.
    fn block(&self, i: usize, x: Tensor<3>, state: &mut State, pass: BlockPass) -> Tensor<3> {
        let [b, l, _] = x.dims();
        let block = Transformer::block(self, i);
        let at_once = (pass.limits.tokens / l).clamp(1, b);
        let mut pruner = state.pruner.take();
        let (mut parts, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for from in (0..b).step_by(at_once) {
            let rows = from..(from + at_once).min(b);
            let part = x.clone().slice_dim(0, rows.clone());
            let visible = |k: Tensor<4>, v: Tensor<4>| {
                if pass.keep.is_some() {
                    keys.push(k.clone());
                    values.push(v.clone());
                }
                state.visible(i, rows.clone(), k, v, pass.keep)
            };
            let run = |part, chosen: Option<&Chosen>| {
                let own = chosen.map(|chosen| chosen.rope(pass.rope));
                let rope = own.as_ref().unwrap_or(pass.rope);
                let pass = BlockPass { rope, ..pass };
                block.forward(part, pass, visible)
            };
            parts.push(match (&mut pruner, pass.scale) {
                (Some(pruner), Some((k, scale))) => {
                    pruner.block_of_rows(k, scale, i, (rows.clone(), part), run)
                }
                _ => run(part, None),
            });
        }
        state.pruner = pruner;
        if let Some(segment) = pass.keep {
            state.put(i, segment, Tensor::cat(keys, 0), Tensor::cat(values, 0));
        }
        Tensor::cat(parts, 0)
    }

    /// Logits `[b, l, 2 d]` of hidden states `[b, l, C]`, in f32. The logits of bit `i` have indices `2i` (it is 0) and
    /// `2i + 1` (it is 1).
    pub fn logits(&self, x: Tensor<3>, kind: CodeKind) -> Tensor<3> {
        let head = match kind {
            CodeKind::Semantic => &self.semantic_head,
            CodeKind::Detail => &self.detail_head,
        };
        project_f32(self.norm.forward(x), head)
    }
}
