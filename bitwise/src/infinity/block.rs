//! One block: self attention, cross attention, feed-forward.

use burn::{
    module::{Module, Param, ParamId},
    nn::{LayerNorm, LayerNormConfig},
    tensor::{Bool, Device, Distribution, Shape, Tensor},
};
use nextscale_var_core::attention::{
    AttentionKind, PassContext, SelfAttention, SelfAttentionConfig, attend,
};
use nextscale_var_core::blocks;
use nextscale_var_core::dtype::{cast, f32, value};
use nextscale_var_core::layers::{
    AdaLn, FeedForward, Linear, add_scaled, layer_norm, linear, merge_heads, out_std, project_in,
    project_raw_in, split_heads, working_dtype,
};
use nextscale_var_core::matmul::Precision;

use super::config::InfinityConfig;

/// Factors on the standard deviation of initial AdaLN gains, and of scales and shifts (`train.sh` of the reference).
const INIT_GAIN: f64 = 5e-6;
const INIT_SHIFT: f64 = 1e-3;

/// Cross attention of the image tokens to the text.
#[derive(Module, Debug)]
pub struct CrossAttention {
    /// Queries, from the image.
    pub q: Linear,
    /// Keys, from the text, without bias.
    pub k: Linear,
    /// Values, from the text.
    pub v: Linear,
    /// Output projection.
    pub proj: Linear,
}

impl CrossAttention {
    fn init(config: &InfinityConfig, device: &Device) -> Self {
        let (c, std) = (config.width, config.init_std());
        Self {
            q: linear(c, c, true, std, device),
            k: linear(c, c, false, std, device),
            v: linear(c, c, true, std, device),
            proj: linear(c, c, true, out_std(std, config.depth), device),
        }
    }

    /// Keys and values of text tokens `[b, l, c]`: each `[b, h, l, d]`.
    pub(super) fn keys(
        &self,
        text: Tensor<3>,
        heads: usize,
        precision: Precision,
    ) -> (Tensor<4>, Tensor<4>) {
        let [b, l, c] = text.dims();
        let rows = cast(text.reshape([b * l, c]), working_dtype(&self.k));
        let project = |rows, layer| project_raw_in(rows, layer, precision).reshape([b, l, c]);
        let k = project(rows.clone(), &self.k);
        let v = project(rows, &self.v);
        (split_heads(k, heads), split_heads(v, heads))
    }

    fn forward(&self, x: Tensor<3>, text: TextContext, context: PassContext) -> Tensor<3> {
        let TextKeys { k, v } = text.keys;
        let [_, h, _, d] = k.dims();
        let q = project_in(x, &self.q, context.precision) * (d as f64).powf(-0.5);
        let q = cast(split_heads(q, h), k.dtype());
        let attended = attend(q, k.clone(), v.clone(), text.hidden);
        project_in(f32(merge_heads(attended)), &self.proj, context.precision)
    }
}

/// What cross attention attends to.
#[derive(Clone, Copy)]
pub(crate) struct TextContext<'a> {
    /// The block's keys and values.
    pub keys: &'a TextKeys,
    /// Mask of the text; true hides.
    pub hidden: Option<&'a Tensor<4, Bool>>,
}

/// Keys and values of the text for one block.
#[derive(Debug, Clone)]
pub(crate) struct TextKeys {
    pub k: Tensor<4>,
    pub v: Tensor<4>,
}

/// What one block keeps of the prompts.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    /// Keys and values of the text.
    pub keys: TextKeys,
    /// Its modulation.
    pub ada: AdaLn,
}

impl TextKeys {
    /// Those of the first `rows` prompts.
    pub(super) fn rows(&self, rows: usize) -> Self {
        let [k, v] = [&self.k, &self.v].map(|x| x.clone().slice_dim(0, 0..rows));
        Self { k, v }
    }
}

impl Condition {
    /// That of the first `rows` prompts.
    pub(super) fn rows(&self, rows: usize) -> Self {
        Self {
            keys: self.keys.rows(rows),
            ada: self.ada.rows(rows),
        }
    }
}

/// One block of the transformer.
#[derive(Module, Debug)]
pub struct Block {
    /// This block's part of the AdaLN gains, scales and shifts, `[1, 1, 6, C]`: gains of attention and feed-forward,
    /// scales of both, shifts of both.
    pub modulation: Param<Tensor<4>>,
    /// Self attention.
    pub sa: SelfAttention,
    /// Norm before cross attention, with learned weights.
    pub ca_norm: LayerNorm,
    /// Cross attention.
    pub ca: CrossAttention,
    /// Feed-forward.
    pub ffn: FeedForward,
}

impl Block {
    pub(crate) fn init(config: &InfinityConfig, device: &Device) -> Self {
        let c = config.width;
        let fresh = move |device: &Device, require_grad: bool| {
            let part = |rows: usize, factor: f64| {
                let normal = Distribution::Normal(0.0, factor / (c as f64).sqrt());
                Tensor::<4>::random([1, 1, rows, c], normal, device)
            };
            let both = vec![part(2, INIT_GAIN), part(4, INIT_SHIFT)];
            Tensor::cat(both, 2).set_require_grad(require_grad)
        };
        let shape = Shape::new([1, 1, 6, c]);
        let (std, depth) = (config.init_std(), config.depth);
        let attention = SelfAttentionConfig {
            width: c,
            heads: config.heads,
            kind: AttentionKind::Cosine,
            depth,
            init_std: std,
        };
        Self {
            modulation: Param::uninitialized(ParamId::new(), fresh, device.clone(), true, shape),
            sa: SelfAttention::init(&attention, device),
            ca_norm: LayerNormConfig::new(c).with_epsilon(1e-6).init(device),
            ca: CrossAttention::init(config, device),
            ffn: FeedForward::init(c, config.ffn_hidden(), std, depth, device),
        }
    }

    /// What the block keeps of the prompts: `text`, `[b, l, c]`, and the shared part of the modulation, `[b, 1, 6, c]`.
    pub(crate) fn condition(
        &self,
        text: Tensor<3>,
        shared: Tensor<4>,
        precision: Precision,
    ) -> Condition {
        let (k, v) = self.ca.keys(text, self.sa.heads, precision);
        Condition {
            keys: TextKeys { k, v },
            ada: AdaLn::new(&(shared + value(&self.modulation))),
        }
    }

    /// `x`, `[b, l, c]` in f32, to the same shape.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        ada: &AdaLn,
        text: TextContext,
        context: PassContext,
        cache: impl FnOnce(Tensor<4>, Tensor<4>) -> (Tensor<4>, Tensor<4>),
    ) -> Tensor<3> {
        self.forward_cached(x, ada, text, context, |_, k, v| cache(k, v))
    }

    /// As [`Block::forward`], where `cache` gets the queries too, before the keys and values.
    pub(crate) fn forward_cached(
        &self,
        x: Tensor<3>,
        ada: &AdaLn,
        text: TextContext,
        context: PassContext,
        cache: impl FnOnce(&Tensor<4>, Tensor<4>, Tensor<4>) -> (Tensor<4>, Tensor<4>),
    ) -> Tensor<3> {
        let normed = ada.norm(x.clone(), 0);
        let attended = self.sa.forward_cached(normed, context, cache);
        let x = add_scaled(x, attended, ada.gain(0));
        let beta = self.ca_norm.beta.as_ref().map(value);
        let normed = layer_norm(x.clone(), value(&self.ca_norm.gamma), beta);
        let x = x + self.ca.forward(normed, text, context);
        let normed = ada.norm(x.clone(), 1);
        add_scaled(x, self.ffn.forward(normed, context.precision), ada.gain(1))
    }
}

impl blocks::Block for Block {
    /// The linear layers of both attentions and of the feed-forward layers.
    fn linears(&mut self) -> Vec<&mut Linear> {
        let Self { sa, ca, ffn, .. } = self;
        vec![
            &mut sa.q,
            &mut sa.k,
            &mut sa.v,
            &mut sa.proj,
            &mut ca.q,
            &mut ca.k,
            &mut ca.v,
            &mut ca.proj,
            &mut ffn.fc1,
            &mut ffn.fc2,
        ]
    }

    fn adaptable(&mut self) -> Vec<(&'static str, Vec<&mut Linear>)> {
        let Self { sa, ca, ffn, .. } = self;
        vec![
            ("sa.mat_qkv", vec![&mut sa.q, &mut sa.k, &mut sa.v]),
            ("sa.proj", vec![&mut sa.proj]),
            ("ca.mat_q", vec![&mut ca.q]),
            ("ca.mat_kv", vec![&mut ca.k, &mut ca.v]),
            ("ca.proj", vec![&mut ca.proj]),
            ("ffn.fc1", vec![&mut ffn.fc1]),
            ("ffn.fc2", vec![&mut ffn.fc2]),
        ]
    }
}
