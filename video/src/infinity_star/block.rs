//! One block: grouped-query attention, then a gated feed-forward layer (as in Qwen3, arXiv:2505.09388).

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

use super::{attention::attend_grouped, config::InfinityStarConfig, state::BlockPass};

/// Limits on intermediate results that grow with the tokens of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tokens of a pass over all rows of the batch; beyond this, rows run one after the other.
    pub tokens: usize,
    /// Attention scores.
    pub scores: usize,
    /// Hidden units of the feed-forward layers.
    pub hidden: usize,
}

impl Default for Limits {
    /// 2^15 tokens, and 2^28 of each of the others: half a gigabyte in 16 bits.
    fn default() -> Self {
        Self {
            tokens: 1 << 15,
            scores: 1 << 28,
            hidden: 1 << 28,
        }
    }
}

/// RMS norm over the last axis in f32, eps 1e-6.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// Scales, `[c]`.
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

/// Attention of the tokens of a pass to each other and to the kept state.
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
    /// Norm of each query head.
    pub q_norm: RmsNorm,
    /// Norm of each key head.
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

    /// Scaled queries `[b, l, h, d]`, keys and values `[b, g, l, d]` of `x`, `[b, l, c]`; queries and keys are rotated.
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
        let rotate = |x: Tensor<4>, norm: &RmsNorm| rope.apply(norm.forward(f32(x)));
        let q = rotate(project(&self.q), &self.q_norm) * (d as f64).powf(-0.5);
        let k = rotate(project(&self.k), &self.k_norm).swap_dims(1, 2);
        let v = project(&self.v).swap_dims(1, 2);
        [q, k, v].map(|x| cast(x, dtype))
    }

    /// `[b, l, c]` to the same shape. `attend` takes the queries and the new keys and values, and returns the attended
    /// values, `[b, l, c]`.
    fn forward(
        &self,
        x: Tensor<3>,
        rope: &RopeTable,
        precision: Precision,
        attend: impl FnOnce([Tensor<4>; 3]) -> Tensor<3>,
    ) -> Tensor<3> {
        let [b, l, c] = x.dims();
        let attended = attend(self.heads(x, rope, precision)).reshape([b * l, c]);
        f32(project_raw_in(attended, &self.o, precision)).reshape([b, l, c])
    }
}

/// The gated feed-forward layer, `down(silu(gate x) * up x)`.
#[derive(Module, Debug)]
pub struct Mlp {
    /// Width to hidden units, before a SiLU.
    pub gate: Linear,
    /// Width to hidden units.
    pub up: Linear,
    /// Hidden units to width.
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

    /// `[b, l, c]` to the same shape, in blocks of tokens within the limit on hidden units.
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
    /// Norm before the attention.
    pub input_norm: RmsNorm,
    /// Attention.
    pub attention: Attention,
    /// Norm before the feed-forward layer.
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

    /// `[b, l, c]` to the same shape. `visible` takes the new keys and values and returns all visible ones: of this rank's heads
    /// where ranks share tokens.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        pass: BlockPass,
        visible: impl FnOnce(Tensor<4>, Tensor<4>) -> (Tensor<4>, Tensor<4>),
    ) -> Tensor<3> {
        let limits = pass.limits;
        let attend = |[q, k, v]: [Tensor<4>; 3]| {
            let Some(share) = pass.share else {
                let (k, v) = visible(k, v);
                return attend_grouped(q, k, v, None, limits.scores);
            };
            let [b, m, h, d] = q.dims();
            let [q, k, v] = share.to_heads([q.swap_dims(1, 2), k, v]);
            let (k, v) = visible(k, v);
            let [_, own, l, _] = q.dims();
            let attended = attend_grouped(q.swap_dims(1, 2), k, v, None, limits.scores);
            let attended = attended.reshape([b, l, own, d]).swap_dims(1, 2);
            let attended = share.to_tokens(attended).swap_dims(1, 2);
            attended.reshape([b, m, h * d])
        };
        self.forward_with(x, pass.rope, limits, Precision::F32, attend)
    }

    /// [`Block::forward`] with the caller's attention: `attend` takes queries `[b, l, h, d]`, keys and values
    /// `[b, g, l, d]`, and returns `[b, l, c]`. Matrix products with f32 weights run in `precision`.
    pub(super) fn forward_with(
        &self,
        x: Tensor<3>,
        rope: &RopeTable,
        limits: Limits,
        precision: Precision,
        attend: impl FnOnce([Tensor<4>; 3]) -> Tensor<3>,
    ) -> Tensor<3> {
        let normed = self.input_norm.forward(x.clone());
        let x = x + self.attention.forward(normed, rope, precision, attend);
        let normed = self.post_norm.forward(x.clone());
        x + self.mlp.forward(normed, limits, precision)
    }
}

impl blocks::Block for Block {
    /// The linear layers of the attention and of the feed-forward layer.
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

    fn adaptable(&mut self) -> Vec<(&'static str, Vec<&mut Linear>)> {
        let Self { attention, mlp, .. } = self;
        vec![
            ("attn.q_proj", vec![&mut attention.q]),
            ("attn.k_proj", vec![&mut attention.k]),
            ("attn.v_proj", vec![&mut attention.v]),
            ("attn.o_proj", vec![&mut attention.o]),
            ("mlp.gate_proj", vec![&mut mlp.gate]),
            ("mlp.up_proj", vec![&mut mlp.up]),
            ("mlp.down_proj", vec![&mut mlp.down]),
        ]
    }
}
