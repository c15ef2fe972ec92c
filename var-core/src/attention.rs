//! Attention: the softmax itself, and the self attention that VAR and Infinity share.

use std::ops::Range;

use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{
        Bool, DType, Device, Tensor, activation::softmax, module, ops::AttentionModuleOptions,
    },
};
use nextscale_tokenizer::cpu::{is_cpu, is_wgpu};
use serde::{Deserialize, Serialize};

use crate::dtype::{cast, f32, value};
use crate::fused::{self, Scaling};
use crate::layers::{
    Linear, inverse_norm, linear, merge_heads, out_std, project_in, project_raw_in, working_dtype,
};
use crate::mask::BlockCausal;
use crate::matmul::Precision;
use crate::rope::RopeTable;
use crate::spread::TokenShare;

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
    /// Which image tokens see which; none if every token attends to all.
    pub causal: Option<&'a BlockCausal>,
    /// Of the matrix products.
    pub precision: Precision,
    /// What this process has of the tokens, if there are others; `rope` is that of its tokens.
    pub share: Option<TokenShare<'a>>,
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
        let factor = self.log_scale.as_ref().map(|log_scale| {
            let factor = value(log_scale).clamp_max(MAX_COSINE_SCALE.ln()).exp();
            factor.reshape([1, 1, h, 1])
        });
        let plain = 0.25 / ((c / h) as f64).sqrt();
        if let Some(all) = at_once([&q, &k, &v], factor.as_ref(), plain, pass.rope) {
            return all;
        }
        let (q, k) = match factor {
            Some(factor) => {
                let scaled = q.clone() * (inverse_norm(q) * factor);
                (scaled, k.clone() * inverse_norm(k))
            }
            None => (q * plain, k),
        };
        let (q, k) = match pass.rope {
            Some(rope) => (rope.apply(q), rope.apply(k)),
            None => (q, k),
        };
        [cast(q, dtype), cast(k, dtype), v].map(|heads| heads.swap_dims(1, 2)) // [b, h, l, d]
    }

    /// How the products of queries, keys and values become heads on a card: of images and tokens of each, `c` channels, and weights
    /// of a type.
    #[cfg(feature = "cuda")]
    pub(crate) fn heads_on_card<'a>(
        &'a self,
        [images, tokens]: [usize; 2],
        c: usize,
        pass: PassContext<'a>,
        weights: DType,
    ) -> [crate::card::Heads<'a>; 3] {
        use crate::card::{HeadNorm, Heads};
        let d = c / self.heads;
        let plain = Heads {
            shape: [images, self.heads, tokens, d],
            bias: None,
            norm: HeadNorm::Nothing,
            log_scale: None,
            weight: None,
            scale: 1.0,
            rope: None,
            dtype: operands(weights),
        };
        let keys = Heads {
            bias: self.k.bias.as_ref(),
            norm: match self.log_scale {
                Some(_) => HeadNorm::Length,
                None => HeadNorm::Nothing,
            },
            rope: pass.rope,
            ..plain
        };
        let queries = Heads {
            bias: self.q.bias.as_ref(),
            log_scale: self.log_scale.as_ref(),
            scale: match self.log_scale {
                Some(_) => 1.0,
                None => 0.25 / (d as f64).sqrt(),
            },
            ..keys
        };
        let values = Heads {
            bias: self.v.bias.as_ref(),
            ..plain
        };
        [queries, keys, values]
    }

    /// As [`SelfAttention::forward_cached`] on a card: of `rows`, `[b l, c]` in the weights' dtype, without the output's bias.
    #[cfg(feature = "cuda")]
    pub fn on_card(
        &self,
        rows: Tensor<2>,
        images: usize,
        pass: PassContext,
        cache: impl FnOnce(&Tensor<4>, Tensor<4>, Tensor<4>) -> (Tensor<4>, Tensor<4>),
    ) -> Tensor<2> {
        use crate::card::{heads, product};
        let ([n, c], dtype) = (rows.dims(), rows.dtype());
        if !crate::card::takes_heads(c / self.heads) {
            let x = rows.reshape([images, n / images, c]);
            let own = self.split(x, pass);
            return product(attended_rows(own, pass, cache, dtype), &self.proj);
        }
        let [queries, keys, values] = self.heads_on_card([images, n / images], c, pass, dtype);
        let q = heads(product(rows.clone(), &self.q), queries);
        let k = heads(product(rows.clone(), &self.k), keys);
        let v = heads(product(rows, &self.v), values);
        product(attended_rows([q, k, v], pass, cache, dtype), &self.proj)
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
        self.forward_cached(x, pass, |_, k, v| cache(k, v))
    }

    /// As [`SelfAttention::forward`], where `cache` gets the queries too, `[b, h, l, d]`, before the new keys and values.
    pub fn forward_cached(
        &self,
        x: Tensor<3>,
        pass: PassContext,
        cache: impl FnOnce(&Tensor<4>, Tensor<4>, Tensor<4>) -> (Tensor<4>, Tensor<4>),
    ) -> Tensor<3> {
        let own = self.split(x, pass);
        let [q, k, v] = match pass.share {
            Some(share) => share.to_heads(own),
            None => own,
        };
        let (k, v) = cache(&q, k, v);
        let attended = attend_causal(q, k, v, pass.causal);
        let attended = match pass.share {
            Some(share) => share.to_tokens(attended),
            None => attended,
        };
        let attended = f32(merge_heads(attended));
        project_in(attended, &self.proj, pass.precision)
    }
}

/// How a product of queries, keys and values is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionPath {
    /// By our kernel for the CPU, in f32, which holds the scores of some queries at a time.
    Cpu,
    /// By our kernel for tensor cores, of f16, which writes no scores to memory.
    Tiled,
    /// By two matrix products and a softmax in f32.
    WrittenOut,
}

impl AttentionPath {
    /// The path on a device for heads of `d` numbers.
    pub fn of(d: usize, dtype: DType, device: &Device) -> Self {
        if is_cpu(device) {
            Self::Cpu
        } else if is_wgpu(device) {
            Self::WrittenOut
        } else {
            Self::on_card(d, dtype)
        }
    }

    /// The path on a card.
    fn on_card(d: usize, dtype: DType) -> Self {
        let half = matches!(dtype, DType::F16 | DType::BF16);
        if half && matches!(d, 32 | 64 | 96 | 128) {
            Self::Tiled
        } else {
            Self::WrittenOut
        }
    }
}

/// The type in which queries, keys and values of weights of a type are kept on a card.
#[cfg(feature = "cuda")]
pub fn operands(weights: DType) -> DType {
    match weights {
        DType::BF16 => DType::F16,
        other => other,
    }
}

/// What tokens with these queries, keys and values attend to on a card, as [`attend_rows`] returns it.
#[cfg(feature = "cuda")]
fn attended_rows(
    own: [Tensor<4>; 3],
    pass: PassContext,
    cache: impl FnOnce(&Tensor<4>, Tensor<4>, Tensor<4>) -> (Tensor<4>, Tensor<4>),
    dtype: DType,
) -> Tensor<2> {
    let hidden = pass.causal.map(BlockCausal::mask);
    let Some(share) = pass.share else {
        let [q, k, v] = own;
        let (k, v) = cache(&q, k, v);
        return attend_rows(q, k, v, hidden, dtype);
    };
    let [q, k, v] = share.to_heads(own);
    let (k, v) = cache(&q, k, v);
    let attended = share.to_tokens(attend(q, k, v, hidden));
    let [b, h, n, d] = attended.dims();
    cast(attended.swap_dims(1, 2), dtype).reshape([b * n, h * d])
}

/// [`attend`] on a card, as rows `[b n, h d]` of a type: the input of the output projection.
#[cfg(feature = "cuda")]
pub fn attend_rows(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    hidden: Option<&Tensor<4, Bool>>,
    dtype: DType,
) -> Tensor<2> {
    let [b, h, n, d] = q.dims();
    let attended = match AttentionPath::of(d, q.dtype(), &q.device()) {
        AttentionPath::Tiled => crate::card::attention(q, k, v, hidden, dtype),
        _ => cast(attend(q, k, v, hidden).swap_dims(1, 2), dtype),
    };
    attended.reshape([b * n, h * d])
}

/// Attention scores that are in memory at a time where they are written out on a card.
const SCORES: usize = 1 << 27;

/// The same on a GPU through wgpu: all that a shader is sure to be given at a time is 128 MiB.
const WGPU_SCORES: usize = 1 << 25;

/// `softmax(q k^T) v`, without a scale: callers fold theirs into `q`.
///
/// With autodiff the two products are written out, which the backward pass needs anyway; otherwise as [`AttentionPath`] says.
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
    let [_, _, _, d] = q.dims();
    if q.is_autodiff() {
        return written_out(q, k, v, hidden);
    }
    match AttentionPath::of(d, q.dtype(), &q.device()) {
        AttentionPath::Cpu => on_cpu(q, k, v, hidden),
        AttentionPath::Tiled => tiled(q, k, v, hidden),
        AttentionPath::WrittenOut => written_out_in_parts(q, k, v, hidden),
    }
}

/// [`attend`] of all tokens of an image. A card attends scale by scale to the keys that the scale sees, unless gradients are
/// recorded: what is hidden costs nothing.
fn attend_causal(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    causal: Option<&BlockCausal>,
) -> Tensor<4> {
    match causal.and_then(BlockCausal::scales) {
        Some(scales) if !(q.is_autodiff() || is_cpu(&q.device())) => by_scale(q, k, v, scales),
        _ => attend(q, k, v, causal.map(BlockCausal::mask)),
    }
}

fn by_scale(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    scales: impl Iterator<Item = Range<usize>>,
) -> Tensor<4> {
    let parts = scales.map(|own| {
        let [k, v] = [&k, &v].map(|x| x.clone().slice_dim(2, 0..own.end));
        attend(q.clone().slice_dim(2, own), k, v, None)
    });
    Tensor::cat(parts.collect(), 2)
}

/// Attention by the card's kernel, in f16.
#[cfg(feature = "cuda")]
fn tiled(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, hidden: Option<&Tensor<4, Bool>>) -> Tensor<4> {
    let dtype = q.dtype();
    let [q, k, v] = [q, k, v].map(|x| cast(x, DType::F16));
    crate::card::attention(q, k, v, hidden, dtype).swap_dims(1, 2)
}

/// Without CUDA there is no card.
#[cfg(not(feature = "cuda"))]
fn tiled(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, hidden: Option<&Tensor<4, Bool>>) -> Tensor<4> {
    written_out_in_parts(q, k, v, hidden)
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
    let most = if is_wgpu(&q.device()) {
        WGPU_SCORES
    } else {
        SCORES
    };
    let at_once = (most / (b * h * k.dims()[2])).max(1);
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

/// Queries, keys and values, `[b, l, h, d]`, as [`SelfAttention::split`] returns them, by one pass over each; none if they are not in
/// f32 on the CPU. `factor` and `plain` scale the queries.
fn at_once(
    [q, k, v]: [&Tensor<4>; 3],
    factor: Option<&Tensor<4>>,
    plain: f64,
    rope: Option<&RopeTable>,
) -> Option<[Tensor<4>; 3]> {
    let (of_q, of_k) = match factor {
        Some(_) => (Scaling::ToLength(factor), Scaling::ToLength(None)),
        None => (Scaling::By(plain as f32), Scaling::None),
    };
    let rotation = rope.map(RopeTable::tables);
    Some([
        fused::heads(q, of_q, rotation)?,
        fused::heads(k, of_k, rotation)?,
        fused::heads(v, Scaling::None, None)?,
    ])
}

/// The CPU's attention; that of the tensor library, which divides by `sqrt(d)`, in other types than f32: `q` is multiplied by it
/// first.
fn on_cpu(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, hidden: Option<&Tensor<4, Bool>>) -> Tensor<4> {
    if let Some(attended) = fused::attention(&q, &k, &v, hidden) {
        return attended;
    }
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
    use nextscale_tokenizer::ScaleSchedule;

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

    #[test]
    fn scale_by_scale_is_as_with_a_mask() {
        let device = Device::flex();
        let schedule = ScaleSchedule::square(&[1, 2, 3]).unwrap();
        let causal = BlockCausal::new(&schedule, &device);
        let random = || Tensor::<4>::random([2, 3, 14, 8], Distribution::Normal(0.0, 1.0), &device);
        let (q, k, v) = (random(), random(), random());
        let masked = attend(q.clone(), k.clone(), v.clone(), Some(causal.mask()));
        by_scale(q, k, v, causal.scales().unwrap())
            .into_data()
            .assert_approx_eq::<f32>(&masked.into_data(), Tolerance::absolute(1e-5));
    }

    /// Which path a card takes does not depend on how many queries and keys there are.
    #[test]
    fn a_card_takes_the_kernel_in_half_precision() {
        for d in [32, 64, 96, 128] {
            for dtype in [DType::F16, DType::BF16] {
                assert_eq!(AttentionPath::on_card(d, dtype), AttentionPath::Tiled);
            }
            assert_eq!(
                AttentionPath::on_card(d, DType::F32),
                AttentionPath::WrittenOut
            );
        }
        for d in [16, 48, 80, 256] {
            assert_eq!(
                AttentionPath::on_card(d, DType::F16),
                AttentionPath::WrittenOut
            );
        }
    }
}
