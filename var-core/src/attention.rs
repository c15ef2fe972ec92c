//! Attention: the softmax itself, and the self attention that VAR and Infinity share.

use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{
        Bool, DType, Device, Tensor, activation::softmax, module, ops::AttentionModuleOptions,
    },
};
use serde::{Deserialize, Serialize};

use crate::dtype::{cast, f32, value};
use crate::layers::{
    Linear, inverse_norm, linear, merge_heads, out_std, project_in, project_raw_in, working_dtype,
};
use crate::matmul::Precision;
use crate::rope::RopeTable;

/// Largest factor on the cosine between a query and a key.
const MAX_COSINE_SCALE: f64 = 100.0;

/// How queries and keys are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionKind {
    /// By their cosine, times a learned factor per head (all released models).
    Cosine,
    /// By their product, times a quarter of the usual `1 / sqrt(d)`.
    Scaled,
}

/// What fixes the shapes and the initial values of a [`SelfAttention`].
#[derive(Debug, Clone, Copy)]
pub struct SelfAttentionConfig {
    /// Channels of a token, C.
    pub width: usize,
    /// Attention heads, h.
    pub heads: usize,
    /// How queries and keys are compared.
    pub kind: AttentionKind,
    /// Blocks of the model.
    pub depth: usize,
    /// Standard deviation of fresh weights.
    pub init_std: f64,
}

/// Attention among the image tokens.
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// Queries.
    pub q: Linear,
    /// Keys, without a bias.
    pub k: Linear,
    /// Values.
    pub v: Linear,
    /// Logarithm of the factor on the cosine, `[1, h, 1, 1]`, at most `ln 100`; none where products are compared.
    pub log_scale: Option<Param<Tensor<4>>>,
    /// Output projection.
    pub proj: Linear,
    /// Attention heads, h.
    pub heads: usize,
}

/// What all tokens of one pass share.
#[derive(Debug, Clone, Copy)]
pub struct PassContext<'a> {
    /// Rotary positions of the tokens, if the model has them.
    pub rope: Option<&'a RopeTable>,
    /// Mask among the image tokens, true where a query must not attend; none if every token attends to all.
    pub hidden: Option<&'a Tensor<4, Bool>>,
    /// Of the matrix products.
    pub precision: Precision,
}

impl SelfAttention {
    /// A fresh layer.
    pub fn init(config: &SelfAttentionConfig, device: &Device) -> Self {
        let (c, std) = (config.width, config.init_std);
        let start = Initializer::Constant { value: 4f64.ln() };
        let cosine = config.kind == AttentionKind::Cosine;
        Self {
            q: linear(c, c, true, std, device),
            k: linear(c, c, false, std, device),
            v: linear(c, c, true, std, device),
            log_scale: cosine.then(|| start.init([1, config.heads, 1, 1], device)),
            proj: linear(c, c, true, out_std(std, config.depth), device),
            heads: config.heads,
        }
    }

    /// Queries, keys and values of `x`, `[b, l, c]`: each `[b, h, l, d]` in the weights' dtype, with rotary positions.
    fn split(&self, x: Tensor<3>, pass: PassContext) -> [Tensor<4>; 3] {
        let [b, l, c] = x.dims();
        let (h, dtype) = (self.heads, working_dtype(&self.q));
        let rows = cast(x.reshape([b * l, c]), dtype);
        let shape = [b, l, h, c / h];
        let heads = |layer| project_raw_in(rows.clone(), layer, pass.precision).reshape(shape);
        let (q, k, v) = (f32(heads(&self.q)), f32(heads(&self.k)), heads(&self.v));
        let (q, k) = match &self.log_scale {
            Some(log_scale) => {
                let factor = value(log_scale).clamp_max(MAX_COSINE_SCALE.ln()).exp();
                let factor = factor.reshape([1, 1, h, 1]);
                let scaled = q.clone() * (inverse_norm(q) * factor);
                (scaled, k.clone() * inverse_norm(k))
            }
            None => (q * (0.25 / ((c / h) as f64).sqrt()), k),
        };
        let (q, k) = match pass.rope {
            Some(rope) => (rope.apply(q), rope.apply(k)),
            None => (q, k),
        };
        [cast(q, dtype), cast(k, dtype), v].map(|heads| heads.swap_dims(1, 2)) // [b, h, l, d]
    }

    /// Attends from every token of `x` to the tokens that `cache` returns.
    ///
    /// # Shapes
    /// `x` and the result are `[b, l, c]`. `cache` gets the new keys and values, `[b, h, l, d]`, and returns all that the
    /// queries attend to, `[b, h, m, d]`.
    pub fn forward(
        &self,
        x: Tensor<3>,
        pass: PassContext,
        cache: impl FnOnce(Tensor<4>, Tensor<4>) -> (Tensor<4>, Tensor<4>),
    ) -> Tensor<3> {
        let [q, k, v] = self.split(x, pass);
        let (k, v) = cache(k, v);
        let attended = f32(merge_heads(attend(q, k, v, pass.hidden)));
        project_in(attended, &self.proj, pass.precision)
    }
}

/// How a product of queries, keys and values is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionPath {
    /// By the backend's own kernel, in the number type of the operands.
    Backend,
    /// By the backend's kernel for tensor cores, in f16, with so many rows of queries: it takes multiples of 32.
    TensorCores {
        /// Rows of queries, at least as many as there are.
        rows: usize,
    },
    /// By two matrix products and a softmax in f32.
    WrittenOut,
}

impl AttentionPath {
    /// The path on a device for `n` rows of queries and `m` keys of `d` numbers.
    pub fn of(n: usize, m: usize, d: usize, dtype: DType, device: &Device) -> Self {
        if *device == Device::flex() {
            Self::Backend
        } else {
            Self::on_card(n, m, d, dtype)
        }
    }

    /// The path on a card. The backend's kernel (cubek-attention 0.3) takes f16 alone. Where there are four times as many rows as keys, or
    /// the other way round, none of its tiles fits, which ends the process if a smaller shape was tuned before.
    fn on_card(n: usize, m: usize, d: usize, dtype: DType) -> Self {
        let step = if n < 512 { 32 } else { 128 };
        let rows = n.next_multiple_of(step);
        let half = matches!(dtype, DType::F16 | DType::BF16);
        let fits = n >= 32 && rows < 4 * m && m < 4 * rows && d.is_multiple_of(16);
        if half && fits {
            Self::TensorCores { rows }
        } else {
            Self::WrittenOut
        }
    }
}

/// Attention scores that are in memory at a time where they are written out on a card.
const SCORES: usize = 1 << 27;

/// `softmax(q k^T) v`, without a scale: callers fold theirs into `q`.
///
/// With autodiff the two products are written out, which the backward pass needs anyway; otherwise as [`AttentionPath`] says.
/// The backend's kernels divide by `sqrt(d)`, so `q` is multiplied by it first: another scale as an option would leave the
/// fused path on CUDA.
///
/// # Shapes
/// `q` is `[b, h, n, d]`, `k` and `v` are `[b, h, m, d]`, all of one dtype; the result is `[b, h, n, d]`. `hidden`
/// broadcasts to `[b, h, n, m]` and is true where a query must not attend. Every query must attend to at least one key.
pub fn attend(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    hidden: Option<&Tensor<4, Bool>>,
) -> Tensor<4> {
    let ([_, _, n, d], m) = (q.dims(), k.dims()[2]);
    if q.is_autodiff() {
        return written_out(q, k, v, hidden);
    }
    let by_row = hidden.is_some_and(|mask| mask.dims()[2] > 1);
    match AttentionPath::of(n, m, d, q.dtype(), &q.device()) {
        AttentionPath::Backend => by_backend(q, k, v, hidden),
        AttentionPath::TensorCores { rows } if rows == n || !by_row => {
            on_tensor_cores(q, k, v, hidden, rows)
        }
        AttentionPath::TensorCores { .. } | AttentionPath::WrittenOut => {
            written_out_in_parts(q, k, v, hidden)
        }
    }
}

/// The backend's attention in f16, with queries of zero up to `rows` rows.
fn on_tensor_cores(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    hidden: Option<&Tensor<4, Bool>>,
    rows: usize,
) -> Tensor<4> {
    let ([b, h, n, d], dtype) = (q.dims(), q.dtype());
    let [q, k, v] = [q, k, v].map(|x| cast(x, DType::F16));
    let q = if rows == n {
        q
    } else {
        let rest = Tensor::zeros([b, h, rows - n, d], (&q.device(), DType::F16));
        Tensor::cat(vec![q, rest], 2)
    };
    cast(by_backend(q, k, v, hidden).slice_dim(2, 0..n), dtype)
}

/// [`written_out`] in f32, for as many rows of queries at a time as [`SCORES`] allows.
fn written_out_in_parts(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    hidden: Option<&Tensor<4, Bool>>,
) -> Tensor<4> {
    let ([b, h, n, _], dtype) = (q.dims(), q.dtype());
    let [q, k, v] = [q, k, v].map(f32);
    let at_once = (SCORES / (b * h * k.dims()[2])).max(1);
    let parts = (0..n).step_by(at_once).map(|from| {
        let rows = from..n.min(from + at_once);
        let hidden = hidden.map(|mask| match mask.dims()[2] {
            1 => mask.clone(),
            _ => mask.clone().slice_dim(2, rows.clone()),
        });
        let q = q.clone().slice_dim(2, rows);
        written_out(q, k.clone(), v.clone(), hidden.as_ref())
    });
    cast(Tensor::cat(parts.collect(), 2), dtype)
}

/// The backend's attention.
fn by_backend(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    hidden: Option<&Tensor<4, Bool>>,
) -> Tensor<4> {
    let [b, h, n, d] = q.dims();
    let hidden = hidden.map(|mask| mask.clone().expand([b, h, n, k.dims()[2]]));
    let q = q * (d as f64).sqrt();
    module::attention(q, k, v, hidden, None, AttentionModuleOptions::default())
}

/// Attention as two products and a softmax.
fn written_out(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    hidden: Option<&Tensor<4, Bool>>,
) -> Tensor<4> {
    let ([b, h, n, _], m) = (q.dims(), k.dims()[2]);
    let scores = q.matmul(k.transpose());
    let scores = match hidden {
        Some(mask) => scores.mask_fill(mask.clone().expand([b, h, n, m]), f32::NEG_INFINITY),
        None => scores,
    };
    softmax(scores, 3).matmul(v)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution, Tolerance};

    #[test]
    fn fused_and_written_out_agree() {
        let device = Device::flex();
        let random =
            |n: usize| Tensor::<4>::random([2, 3, n, 8], Distribution::Normal(0.0, 1.0), &device);
        let (q, k, v) = (random(5), random(7), random(7));
        let mask = crate::mask::padding(&[4, 7], 7, &device);
        let fused = attend(q.clone(), k.clone(), v.clone(), mask.as_ref());
        let tape = |t: Tensor<4>| Tensor::from_inner(t);
        let mask = mask.map(Tensor::from_inner);
        let plain = attend(tape(q), tape(k), tape(v), mask.as_ref()).inner();
        fused
            .into_data()
            .assert_approx_eq::<f32>(&plain.into_data(), Tolerance::absolute(1e-5));
    }

    /// Every scale of a square and of wide and tall schedules, with every length of prompt.
    #[test]
    fn a_card_gets_no_lopsided_shape() {
        let path = |n, m, dtype| AttentionPath::on_card(n, m, 128, dtype);
        let sides = [1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64, 96];
        for h in sides {
            for w in sides {
                let n = h * w;
                for m in (1..=512).chain([n, 2 * n, 3 * n, 5 * n]) {
                    for dtype in [DType::F16, DType::BF16] {
                        let AttentionPath::TensorCores { rows } = path(n, m, dtype) else {
                            continue;
                        };
                        assert!(rows >= n && rows % 32 == 0 && rows - n < 128);
                        assert!(rows < 4 * m && m < 4 * rows, "{n} {m}");
                    }
                    assert_eq!(path(n, m, DType::F32), AttentionPath::WrittenOut);
                }
            }
        }
        let cores = |rows| AttentionPath::TensorCores { rows };
        assert_eq!(path(4096, 10521, DType::BF16), cores(4096));
        assert_eq!(path(400, 921, DType::BF16), cores(416));
        assert_eq!(path(72_000, 75_664, DType::F16), cores(72_064));
        assert_eq!(path(1024, 200, DType::BF16), AttentionPath::WrittenOut);
        assert_eq!(path(16, 30, DType::BF16), AttentionPath::WrittenOut);
    }
}
