use burn::{
    module::{Module, Param, ParamId},
    nn::Initializer,
    tensor::{Device, Shape, Tensor, TensorData, module::linear as linear_op},
};
use nextscale_var_core::blocks::{StreamedBlocks, Transformer};
use nextscale_var_core::dtype::{f32, value};
use nextscale_var_core::guidance::replace_rows;
use nextscale_var_core::layers::{Linear, linear, modulate, project_f32, silu};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;

use super::block::Block;
use super::config::InfinityConfig;
use super::text::{self, AttentivePool, TextCondition, TextProjection, TextState};

/// Factors on the standard deviation of the initial head, and of the modulation of its norm.
const INIT_HEAD: f64 = 0.02;
const INIT_HEAD_NORM: f64 = 1e-3;

/// The text-conditioned bitwise transformer.
#[derive(Module, Debug)]
pub struct Infinity {
    /// The unconditional prompt, `[text_max_len, T]`.
    pub cfg_uncond: Param<Tensor<2>>,
    /// Added to the first token, `[1, 1, C]`.
    pub pos_start: Param<Tensor<3>>,
    /// RMS norm of the text features, `[T]`.
    pub text_norm: Param<Tensor<1>>,
    /// Text to the first token.
    pub text_pool: AttentivePool,
    /// Text to keys and values of cross attention.
    pub text_proj: TextProjection,
    /// Scale embeddings, `[levels, C]`.
    pub lvl_embed: Param<Tensor<2>>,
    /// Codes to tokens.
    pub word_embed: Linear,
    /// Pooled prompt to the blocks' shared modulation, after a SiLU.
    pub shared_ada: Linear,
    /// The blocks; empty if they are streamed.
    pub blocks: Vec<Block>,
    /// The source of streamed blocks, which are read from their file in every pass.
    #[module(skip)]
    pub stream: Option<StreamedBlocks<Block>>,
    /// Pooled prompt to scale and shift of the last norm, after a SiLU.
    pub head_ada: Linear,
    /// Tokens to two logits per bit.
    pub head: Linear,
}

impl InfinityConfig {
    /// A model with random weights, initialised as in the reference's training recipe. Weights are drawn from the
    /// device's generator (`Device::seed`) when they are first used, so loading a checkpoint draws nothing.
    ///
    /// # Panics
    /// If the sizes contradict each other.
    pub fn init(&self, device: &Device) -> Infinity {
        self.check();
        let (c, t, std) = (self.width, self.text_channels, self.init_std());
        let normal = Initializer::Normal { mean: 0.0, std };
        Infinity {
            cfg_uncond: unconditional_prompt(self, device),
            pos_start: normal.init([1, 1, c], device),
            text_norm: Initializer::Ones.init([t], device),
            text_pool: AttentivePool::init(self, device),
            text_proj: TextProjection::init(self, device),
            lvl_embed: normal.init([self.levels, c], device),
            word_embed: linear(self.code_dim, c, true, std, device),
            shared_ada: linear(c, 6 * c, true, std, device),
            blocks: (0..self.depth).map(|_| Block::init(self, device)).collect(),
            stream: None,
            head_ada: linear(c, 2 * c, true, std * INIT_HEAD_NORM, device),
            head: linear(c, 2 * self.code_dim, true, std * INIT_HEAD, device),
        }
    }
}

/// A normal distribution with standard deviation 1.2, truncated at 2, over `sqrt(T)`; the same values in every new model.
fn unconditional_prompt(config: &InfinityConfig, device: &Device) -> Param<Tensor<2>> {
    let (rows, t) = (config.text_max_len, config.text_channels);
    let fresh = move |device: &Device, require_grad: bool| {
        let values = unconditional_values(rows, t);
        let rows = Tensor::from_data(TensorData::new(values, [rows, t]), device);
        rows.set_require_grad(require_grad)
    };
    let shape = Shape::new([rows, t]);
    Param::uninitialized(ParamId::new(), fresh, device.clone(), true, shape)
}

/// Initial values of the unconditional prompt, row by row: a longer prompt starts with the values of a shorter one.
pub(crate) fn unconditional_values(rows: usize, channels: usize) -> Vec<f32> {
    let mut rng = ChaCha12Rng::seed_from_u64(0);
    let scale = (channels as f64).sqrt();
    let mut draw = || loop {
        let (u, v): (f64, f64) = (rng.random(), rng.random());
        let radius = (-2.0 * (1.0 - u).ln()).sqrt();
        let x = 1.2 * radius * (std::f64::consts::TAU * v).cos();
        if x.abs() <= 2.0 {
            return (x / scale) as f32;
        }
    };
    (0..rows * channels).map(|_| draw()).collect()
}

/// Second minus first along the last axis of two, `[n, d, 2]` to `[n, d, 1]`.
fn difference(pairs: Tensor<3>) -> Tensor<3> {
    pairs.clone().slice_dim(2, 1..2) - pairs.slice_dim(2, 0..1)
}

impl Transformer for Infinity {
    type Block = Block;

    fn blocks(&self) -> (&[Block], Option<&StreamedBlocks<Block>>) {
        (&self.blocks, self.stream.as_ref())
    }

    fn blocks_mut(&mut self) -> (&mut Vec<Block>, &mut Option<StreamedBlocks<Block>>) {
        (&mut self.blocks, &mut self.stream)
    }
}

impl Infinity {
    /// The first token: the pooled prompt and the start embedding, `[b, 1, C]`.
    pub(super) fn first_token(&self, text: &TextState) -> Tensor<3> {
        text.cond.clone().unsqueeze_dim::<3>(1) + value(&self.pos_start)
    }

    /// Logits `[b, l, 2 D]` from the last block's output `[b, l, C]` and the pooled prompts `[b, C]`.
    pub fn logits(&self, x: Tensor<3>, cond: Tensor<2>) -> Tensor<3> {
        project_f32(self.last_norm(x, cond), &self.head)
    }

    /// The logit of a one minus the logit of a zero for each bit, `[b, l, D]`: enough for the loss, at half the cost of
    /// [`Infinity::logits`].
    pub fn margins(&self, x: Tensor<3>, cond: Tensor<2>) -> Tensor<3> {
        let [b, l, c] = x.dims();
        let pairs = value(&self.head.weight); // [c, 2 D]
        let d = pairs.dims()[1] / 2;
        let weight = difference(pairs.reshape([c, d, 2])).reshape([c, d]);
        let x = self.last_norm(x, cond).reshape([b * l, c]);
        let bias = self.head.bias.as_ref().map(|bias| {
            let pairs = value(bias).reshape([1, d, 2]);
            difference(pairs).reshape([d])
        });
        linear_op(x, weight, bias).reshape([b, l, d])
    }

    /// The modulated norm before the head, `[b, l, C]`.
    fn last_norm(&self, x: Tensor<3>, cond: Tensor<2>) -> Tensor<3> {
        let [b, _, c] = x.dims();
        let ada = project_f32(silu(cond), &self.head_ada).reshape([b, 1, 2 * c]);
        let scale = ada.clone().slice([0..b, 0..1, 0..c]);
        let shift = ada.slice([0..b, 0..1, c..2 * c]);
        modulate(x, scale, shift)
    }

    /// Encodes prompts for the blocks; differentiable.
    pub fn encode_text(&self, text: &TextCondition) -> TextState {
        let normed = self.normed_text(text);
        let hidden = text::hidden(text);
        let cond = self.text_pool.forward(normed.clone(), hidden.as_ref());
        let [b, c] = cond.dims();
        let modulation = project_f32(silu(cond.clone()), &self.shared_ada).reshape([b, 1, 6, c]);
        TextState {
            cond,
            kv: self.text_proj.forward(normed),
            modulation,
            hidden,
        }
    }

    /// The normalised text features, `[b, l, T]`.
    pub fn normed_text(&self, text: &TextCondition) -> Tensor<3> {
        text::rms_norm(f32(text.features.clone()), &self.text_norm)
    }

    /// Unconditional prompts of `lens` tokens.
    ///
    /// # Panics
    /// If a length exceeds the model's longest prompt.
    pub fn unconditional(&self, lens: &[usize]) -> TextCondition {
        let width = lens.iter().copied().max().unwrap_or(1);
        let rows = self.unconditional_rows(width);
        let [_, _, t] = rows.dims();
        TextCondition::new(rows.expand([lens.len(), width, t]), lens.to_vec())
    }

    fn unconditional_rows(&self, width: usize) -> Tensor<3> {
        let [rows, t] = self.cfg_uncond.dims();
        assert!(
            width <= rows,
            "a prompt of {width} tokens exceeds the model's {rows}"
        );
        let prompt = value(&self.cfg_uncond).slice([0..width, 0..t]);
        prompt.reshape([1, width, t])
    }

    /// Replaces the prompts marked in `drop` by unconditional ones of the same length: condition dropout for training
    /// (Infinity drops one prompt in ten). Differentiable in `cfg_uncond`.
    ///
    /// # Panics
    /// If there is not one mark per prompt, or a prompt is too long.
    pub fn drop_condition(&self, text: &TextCondition, drop: &[bool]) -> TextCondition {
        let [_, l, _] = text.features.dims();
        let features = f32(text.features.clone());
        let features = replace_rows(features, self.unconditional_rows(l), drop);
        TextCondition::new(features, text.lens.clone())
    }
}
