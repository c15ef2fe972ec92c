//! One block: attention with grouped heads, then a gated feed-forward layer (as in Qwen3, arXiv:2505.09388).

use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Tensor},
};
use nextscale_var_core::{
    blocks,
    dtype::{cast, f32, value},
    layers::{EPS, Linear, linear, project_raw_in, silu, working_dtype},
    matmul::Precision,
    rope::RopeTable,
};

use super::{InfinityStarConfig, attention::attend_grouped};

/// How much may be in the making at a time: numbers of intermediate results that grow with the tokens of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tokens of a pass, those of all rows of the batch: beyond, rows go one after the other.
    pub tokens: usize,
    /// Comparisons of queries and keys.
    pub scores: usize,
    /// Units of the feed-forward layers.
    pub hidden: usize,
}

impl Default for Limits {
    /// 32768 tokens, and a quarter of a billion of the others: half a gigabyte in 16 bits.
    fn default() -> Self {
        Self {
            tokens: 1 << 15,
            scores: 1 << 28,
            hidden: 1 << 28,
        }
    }
}

/// A root-mean-square norm's weights, and the norm: over the last axis, in f32, eps 1e-6.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[c]`.
    pub weight: Param<Tensor<1>>,
}

impl RmsNorm {
    pub(super) fn init(channels: usize, device: &Device) -> Self {
        let weight = Initializer::Ones.init([channels], device);
        Self { weight }
    }

    pub(super) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let square = (x.clone() * x.clone()).mean_dim(D - 1);
        x * (square + EPS).sqrt().recip() * value(&self.weight).unsqueeze()
    }
}

/// Attention of the tokens of a pass among themselves and to the state.
#[derive(Module, Debug)]
pub struct Attention {
    /// Queries.
    pub q: Linear,
    /// Keys, of fewer heads.
    pub k: Linear,
    /// Values, of fewer heads.
    pub v: Linear,
    /// Output projection.
    pub o: Linear,
    /// On every query head.
    pub q_norm: RmsNorm,
    /// On every key head.
    pub k_norm: RmsNorm,
}

impl Attention {
    fn init(config: &InfinityStarConfig, device: &Device) -> Self {
        let (c, d, bias) = (config.width, config.head_dim(), config.attention_bias);
        let (kv, std) = (config.kv_heads * d, config.init_std());
        Self {
            q: linear(c, c, bias, std, device),
            k: linear(c, kv, bias, std, device),
            v: linear(c, kv, bias, std, device),
            o: linear(c, c, bias, std, device),
            q_norm: RmsNorm::init(d, device),
            k_norm: RmsNorm::init(d, device),
        }
    }

    /// Queries `[b, l, h, d]`, scaled, and keys and values `[b, g, l, d]` of `x`, `[b, l, c]`; queries and keys turned.
    fn heads(&self, x: Tensor<3>, rope: &RopeTable, precision: Precision) -> [Tensor<4>; 3] {
        let [b, l, c] = x.dims();
        let [d] = self.q_norm.weight.dims();
        let dtype = working_dtype(&self.q);
        let rows = cast(x.reshape([b * l, c]), dtype);
        let project = |layer: &Linear| {
            let y = project_raw_in(rows.clone(), layer, precision);
            let heads = y.dims()[1] / d;
            y.reshape([b, l, heads, d])
        };
        let turn = |x: Tensor<4>, norm: &RmsNorm| rope.apply(norm.forward(f32(x)));
        let q = turn(project(&self.q), &self.q_norm) * (d as f64).powf(-0.5);
        let k = turn(project(&self.k), &self.k_norm).swap_dims(1, 2);
        let v = project(&self.v).swap_dims(1, 2);
        [q, k, v].map(|x| cast(x, dtype))
    }

    /// `[b, l, c]`, the shape stays; `see` gets queries, and the new keys and values, and returns what the queries found,
    /// `[b, l, c]`.
    fn forward(
        &self,
        x: Tensor<3>,
        rope: &RopeTable,
        precision: Precision,
        see: impl FnOnce([Tensor<4>; 3]) -> Tensor<3>,
    ) -> Tensor<3> {
        let [b, l, c] = x.dims();
        let seen = see(self.heads(x, rope, precision));
        f32(project_raw_in(seen.reshape([b * l, c]), &self.o, precision)).reshape([b, l, c])
    }
}

/// The gated feed-forward layer, `down(silu(gate x) * up x)`.
#[derive(Module, Debug)]
pub struct Mlp {
    /// Width to units, behind a SiLU.
    pub gate: Linear,
    /// Width to units.
    pub up: Linear,
    /// Units to width.
    pub down: Linear,
}

impl Mlp {
    fn init(config: &InfinityStarConfig, device: &Device) -> Self {
        let (c, hidden, std) = (config.width, config.mlp_hidden, config.init_std());
        Self {
            gate: linear(c, hidden, false, std, device),
            up: linear(c, hidden, false, std, device),
            down: linear(hidden, c, false, std, device),
        }
    }

    /// `[b, l, c]`, the shape stays; in runs of tokens that keep the units within the limit.
    fn forward(&self, x: Tensor<3>, limits: Limits, precision: Precision) -> Tensor<3> {
        let [b, l, c] = x.dims();
        let rows = cast(x.reshape([b * l, c]), working_dtype(&self.gate));
        let units = self.gate.weight.dims()[1];
        let block = (limits.hidden / units).max(1);
        let parts = (0..b * l).step_by(block).map(|from| {
            let rows = rows.clone().slice_dim(0, from..(from + block).min(b * l));
            let project = |x, layer| project_raw_in(x, layer, precision);
            let gate = silu(project(rows.clone(), &self.gate));
            f32(project(gate * project(rows, &self.up), &self.down))
        });
        Tensor::cat(parts.collect(), 0).reshape([b, l, c])
    }
}

/// A block of the transformer.
#[derive(Module, Debug)]
pub struct Block {
    /// In front of the attention.
    pub input_norm: RmsNorm,
    /// Attention.
    pub attention: Attention,
    /// In front of the feed-forward layer.
    pub post_norm: RmsNorm,
    /// Feed-forward layer.
    pub mlp: Mlp,
}

impl Block {
    pub(super) fn init(config: &InfinityStarConfig, device: &Device) -> Self {
        Self {
            input_norm: RmsNorm::init(config.width, device),
            attention: Attention::init(config, device),
            post_norm: RmsNorm::init(config.width, device),
            mlp: Mlp::init(config, device),
        }
    }

    /// `[b, l, c]`, the shape stays; `see` gets the new keys and values and returns all visible ones.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        rope: &RopeTable,
        limits: Limits,
        see: impl FnOnce(Tensor<4>, Tensor<4>) -> (Tensor<4>, Tensor<4>),
    ) -> Tensor<3> {
        self.forward_seeing(x, rope, limits, Precision::F32, |[q, k, v]| {
            let (k, v) = see(k, v);
            attend_grouped(q, k, v, None, limits.scores)
        })
    }

    /// As [`Block::forward`] with the whole attention in the caller's hands: `see` gets queries `[b, l, h, d]`, keys and
    /// values `[b, g, l, d]`, and returns `[b, l, c]`; f32 weights are multiplied in `precision`.
    pub(super) fn forward_seeing(
        &self,
        x: Tensor<3>,
        rope: &RopeTable,
        limits: Limits,
        precision: Precision,
        see: impl FnOnce([Tensor<4>; 3]) -> Tensor<3>,
    ) -> Tensor<3> {
        let normed = self.input_norm.forward(x.clone());
        let x = x + self.attention.forward(normed, rope, precision, see);
        let normed = self.post_norm.forward(x.clone());
        x + self.mlp.forward(normed, limits, precision)
    }
}

impl blocks::Block for Block {
    /// Those of the attention and of the feed-forward layer.
    fn linears(&mut self) -> Vec<&mut Linear> {
        let Self { attention, mlp, .. } = self;
        vec![
            &mut attention.q,
            &mut attention.k,
            &mut attention.v,
            &mut attention.o,
            &mut mlp.gate,
            &mut mlp.up,
            &mut mlp.down,
        ]
    }
}
