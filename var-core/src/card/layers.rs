//! Whole layers of a block as one operation each: what they take. Between its kernels nothing is recorded, which costs more than a
//! small kernel takes.

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{BoolTensor, FloatTensor};
use burn::backend::{Backend, ExtensionType, backend_extension};
use burn::tensor::Shape;

use crate::card::heads::Rule;
use crate::card::rows;

/// A linear layer.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub(super) struct Dense<B: Backend> {
    /// `[input, output]`.
    pub weight: FloatTensor<B>,
    /// The bias.
    #[extension_type]
    pub bias: Bias<B>,
}

/// The bias of a linear layer, if it has one.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub(super) enum Bias<B: Backend> {
    /// It has none.
    Nothing,
    /// `[output]`.
    Of(FloatTensor<B>),
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
    /// Logarithms of the heads' factors, which may be any tensor.
    pub log_scale: FloatTensor<B>,
    /// Weights of the numbers of query heads, which may be any tensor.
    pub q_weight: FloatTensor<B>,
    /// Weights of the numbers of key heads, which may be any tensor.
    pub k_weight: FloatTensor<B>,
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

/// Keys and values of earlier tokens, `[b, g, capacity, d]`.
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
    /// What becomes of new keys and values.
    pub keep: Keep,
    /// The norm that follows.
    pub norm: rows::Rule,
}

/// What becomes of new keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// They are added to the cache, which is the result.
    InCache,
    /// As [`Keep::InCache`], in the cache's own buffers whoever else holds them.
    InPlace,
    /// They are dropped; the cache is the result.
    Nothing,
    /// They are the result.
    New,
}

#[backend_extension(Cube, Fusion)]
pub(super) trait LayerOps: Backend {
    /// Self attention of normed rows: the sum, its norm, and keys and values as the rule has it.
    #[fusion(meta = |rows, _weights, cache, residual, rule| {
        let [k, v] = [&cache.k, &cache.v].map(|kept| match rule.keep {
            Keep::New => TensorSpec::new(Shape::from(rule.heads[1].shape), rule.heads[1].dtype),
            Keep::InCache | Keep::InPlace | Keep::Nothing => kept.clone(),
        });
        (residual.x.clone(), rows.clone(), k, v)
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
    #[fusion(meta = |rows, _weights, residual, _heads, _norm| (residual.x.clone(), rows.clone()))]
    fn card_cross_attention(
        rows: FloatTensor<Self>,
        #[extension_type] weights: CrossAttention<Self>,
        #[extension_type] residual: Residual<Self>,
        heads: Rule,
        norm: rows::Rule,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The feed-forward layers of normed rows: the sum and its norm.
    #[fusion(meta = |rows, _fc1, _fc2, residual, _norm| (residual.x.clone(), rows.clone()))]
    fn card_feed_forward(
        rows: FloatTensor<Self>,
        #[extension_type] fc1: Dense<Self>,
        #[extension_type] fc2: Dense<Self>,
        #[extension_type] residual: Residual<Self>,
        norm: rows::Rule,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The gated feed-forward layers of normed rows, which have no biases: the sum and its norm.
    #[fusion(meta = |rows, _gate, _up, _down, residual, _norm| (residual.x.clone(), rows.clone()))]
    fn card_gated_feed_forward(
        rows: FloatTensor<Self>,
        #[extension_type] gate: Dense<Self>,
        #[extension_type] up: Dense<Self>,
        #[extension_type] down: Dense<Self>,
        #[extension_type] residual: Residual<Self>,
        norm: rows::Rule,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}
