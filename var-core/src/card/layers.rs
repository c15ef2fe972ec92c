//! Whole layers of a block as one operation each. Between its kernels nothing is recorded, which costs more than a small kernel takes.

use burn::backend::tensor::{BoolTensor, FloatTensor};
use burn::backend::{Backend, ExtensionType, TensorMetadata, backend_extension};
use burn::tensor::Shape;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use crate::card::attention::{self, Keys};
use crate::card::heads::{self, Rule, Target, With};
use crate::card::rows;
use nextscale_tokenizer::card::memory::empty;
use nextscale_tokenizer::card::product::{self, Finish};

/// A linear layer; if it has no bias, that is any tensor.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub(super) struct Dense<B: Backend> {
    /// `[input, output]`.
    pub weight: FloatTensor<B>,
    /// `[output]`.
    pub bias: FloatTensor<B>,
}

/// The residual stream `x`, `[n, c]` in f32, to which a layer adds its output times a gain, and the norm that follows.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub(super) struct Residual<B: Backend> {
    /// `[n, c]` in f32.
    pub x: FloatTensor<B>,
    /// `[r, c]` in f32.
    pub gain: FloatTensor<B>,
    /// `[r, c]` in f32.
    pub scale: FloatTensor<B>,
    /// `[r, c]` in f32.
    pub shift: FloatTensor<B>,
}

/// The weights of self attention, and the cosines and sines of its positions, which may be any tensor.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub(super) struct SelfAttention<B: Backend> {
    /// Queries.
    #[extension_type]
    pub q: Dense<B>,
    /// Keys.
    #[extension_type]
    pub k: Dense<B>,
    /// Values.
    #[extension_type]
    pub v: Dense<B>,
    /// Output projection.
    #[extension_type]
    pub out: Dense<B>,
    /// Logarithms of the heads' factors.
    pub log_scale: FloatTensor<B>,
    /// `[l, d]`.
    pub cos: FloatTensor<B>,
    /// `[l, d]`.
    pub sin: FloatTensor<B>,
}

/// The weights of cross attention, and keys and values of the text, `[b, h, m, d]`.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub(super) struct CrossAttention<B: Backend> {
    /// Queries.
    #[extension_type]
    pub q: Dense<B>,
    /// Output projection.
    #[extension_type]
    pub out: Dense<B>,
    /// Keys.
    pub keys: FloatTensor<B>,
    /// Values.
    pub values: FloatTensor<B>,
    /// What is hidden.
    #[extension_type]
    pub mask: Mask<B>,
}

/// A mask, if there is one.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub(super) enum Mask<B: Backend> {
    /// There is none.
    Nothing,
    /// True where a query must not attend.
    Hidden(BoolTensor<B>),
}

/// Keys and values of earlier scales, `[b, h, capacity, d]`.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub(super) struct Cache<B: Backend> {
    /// Keys.
    pub k: FloatTensor<B>,
    /// Values.
    pub v: FloatTensor<B>,
}

/// How self attention makes its heads and keeps them.
#[derive(Debug, Clone, Copy)]
pub(super) struct SelfRule {
    /// Of queries, keys and values.
    pub heads: [Rule; 3],
    /// Tokens in the cache.
    pub start: usize,
    /// Whether the new ones are added to it.
    pub keep: bool,
    /// Of the norm that follows.
    pub plus: f32,
}

#[backend_extension(Cube, Fusion)]
pub(super) trait LayerOps: Backend {
    /// Self attention of normed rows: the sum, its norm, and the cache.
    #[fusion(meta = |rows, _weights, cache, residual, _rule| {
        (residual.x.clone(), rows.clone(), cache.k.clone(), cache.v.clone())
    })]
    fn card_self_attention(
        rows: FloatTensor<Self>,
        #[extension_type] weights: SelfAttention<Self>,
        #[extension_type] cache: Cache<Self>,
        #[extension_type] residual: Residual<Self>,
        rule: SelfRule,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    );

    /// Cross attention of normed rows: the sum and its norm.
    #[fusion(meta = |rows, _weights, residual, _heads, _plus| (residual.x.clone(), rows.clone()))]
    fn card_cross_attention(
        rows: FloatTensor<Self>,
        #[extension_type] weights: CrossAttention<Self>,
        #[extension_type] residual: Residual<Self>,
        heads: Rule,
        plus: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The feed-forward layers of normed rows: the sum and its norm.
    #[fusion(meta = |rows, _fc1, _fc2, residual, _plus| (residual.x.clone(), rows.clone()))]
    fn card_feed_forward(
        rows: FloatTensor<Self>,
        #[extension_type] fc1: Dense<Self>,
        #[extension_type] fc2: Dense<Self>,
        #[extension_type] residual: Residual<Self>,
        plus: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

impl LayerOps for CubeBackend {
    fn card_self_attention(
        rows: FloatTensor<Self>,
        weights: SelfAttention<Self>,
        cache: Cache<Self>,
        residual: Residual<Self>,
        rule: SelfRule,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    ) {
        let SelfAttention {
            q,
            k,
            v,
            out,
            log_scale,
            cos,
            sin,
        } = weights;
        let made = product::products(rows.clone(), [q.weight, k.weight, v.weight]);
        let with = [q.bias, k.bias, v.bias].map(|bias| With {
            weight: bias.clone(),
            logarithm: log_scale.clone(),
            bias,
        });
        let rotary = Some([cos, sin]).filter(|_| rule.heads[0].steps.rotated);
        let [b, h, tokens, d] = rule.heads[0].shape;
        let start = rule.start;
        let fresh = |tokens| empty(&rows, Shape::new([b, h, tokens, d]), rule.heads[0].dtype);
        let queries = fresh(tokens);
        let Cache {
            k: kept_k,
            v: kept_v,
        } = cache;
        let (kept_k, kept_v, first, second) = if rule.keep {
            let [kept_k, kept_v] = [kept_k, kept_v].map(owned);
            let all = Keys {
                k: kept_k.clone(),
                v: kept_v.clone(),
                len: start + tokens,
            };
            (kept_k, kept_v, all, None)
        } else {
            let kept = Keys {
                k: kept_k.clone(),
                v: kept_v.clone(),
                len: start,
            };
            (
                kept_k,
                kept_v,
                kept,
                Some(Keys::all(fresh(tokens), fresh(tokens))),
            )
        };
        let (new, from) = match &second {
            Some(new) => (new, 0),
            None => (&first, start),
        };
        let to = |out, start| Target { out, start };
        let targets = [to(&queries, 0), to(&new.k, from), to(&new.v, from)];
        heads::write_heads(made, with, rotary, rule.heads, targets);
        let attended = attention::attention(queries, first, second, None, rows.dtype);
        let (x, rows) = finish(attended, out, residual, rule.plus);
        (x, rows, kept_k, kept_v)
    }

    fn card_cross_attention(
        rows: FloatTensor<Self>,
        weights: CrossAttention<Self>,
        residual: Residual<Self>,
        heads: Rule,
        plus: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let CrossAttention {
            q,
            out,
            keys,
            values,
            mask,
        } = weights;
        let with = With {
            weight: q.bias.clone(),
            logarithm: q.bias.clone(),
            bias: q.bias,
        };
        let queries = heads::heads(plain(&rows, q.weight), with, None, heads);
        let hidden = match mask {
            Mask::Nothing => None,
            Mask::Hidden(hidden) => Some(hidden),
        };
        let keys = Keys::all(keys, values);
        let attended = attention::attention(queries, keys, None, hidden, rows.dtype);
        finish(attended, out, residual, plus)
    }

    fn card_feed_forward(
        rows: FloatTensor<Self>,
        fc1: Dense<Self>,
        fc2: Dense<Self>,
        residual: Residual<Self>,
        plus: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let dtype = rows.dtype;
        let hidden = product::product(rows, fc1.weight, fc1.bias, Finish::Gelu, dtype);
        finish(hidden, fc2, residual, plus)
    }
}

/// The product with a layer's weights.
fn plain(rows: &CubeTensor, weight: CubeTensor) -> CubeTensor {
    product::product(
        rows.clone(),
        weight,
        rows.clone(),
        Finish::Plain,
        rows.dtype,
    )
}

/// The tensor, in a buffer that nothing else reads.
fn owned(x: CubeTensor) -> CubeTensor {
    if x.can_mut() { x } else { x.copy() }
}

/// The output projection of `y`, added to the residual stream, and the norm that follows.
fn finish(
    y: CubeTensor,
    out: Dense<CubeBackend>,
    residual: Residual<CubeBackend>,
    plus: f32,
) -> (CubeTensor, CubeTensor) {
    let (rows, width) = (residual.x.shape()[0], out.weight.shape()[0]);
    let y = burn_cubecl::ops::reshape(y, Shape::new([rows, width]));
    let Dense { weight, bias } = out;
    let Residual {
        x,
        gain,
        scale,
        shift,
    } = residual;
    let branch = rows::Branch {
        y: plain(&y, weight),
        bias,
        gain,
    };
    rows::add_norm(x, branch, rows::Affine { scale, shift, plus })
}
