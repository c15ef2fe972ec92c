//! The residual stream of a block in half precision: each of its layers is one operation.

use burn::backend::Dispatch;
use burn::tensor::{Bool, DType, Tensor};

use crate::attention::{PassContext, SelfAttention};
use crate::cache::KvCache;
use crate::card::layers::{self, Cache, Dense, LayerOps, Mask, Residual, SelfRule};
use crate::card::{Affine, cross_heads, norm, takes_heads};
use crate::layers::{FeedForward, Linear};
use nextscale_tokenizer::card::product;

/// The residual stream, `[n, c]` in f32, and its norm in the type of the weights.
pub struct Stream {
    /// The sum of all layers so far.
    pub x: Tensor<2>,
    /// Its norm.
    pub rows: Tensor<2>,
}

/// What a layer adds: its output times a gain; and the norm of the sum.
#[derive(Clone, Copy)]
pub struct Added<'a> {
    /// `[r, c]` in f32.
    pub gain: &'a Tensor<2>,
    /// The norm before the next layer.
    pub next: &'a Affine,
}

/// Where self attention keeps its keys and values.
pub struct Kept<'a> {
    /// The cache.
    pub cache: &'a mut KvCache,
    /// The layer's index in it.
    pub layer: usize,
    /// Whether this is the last scale, which is not kept.
    pub last: bool,
}

/// Cross attention to a text.
#[derive(Clone, Copy)]
pub struct Cross<'a> {
    /// Queries.
    pub q: &'a Linear,
    /// Output projection.
    pub out: &'a Linear,
    /// Keys of the text, `[b, h, m, d]` in f16.
    pub keys: &'a Tensor<4>,
    /// Values of the text.
    pub values: &'a Tensor<4>,
    /// True where a query must not attend.
    pub hidden: Option<&'a Tensor<4, Bool>>,
}

/// Whether layers with these weights, and heads of `d` numbers, can run as one operation each.
pub fn takes(linears: &[&Linear], d: usize) -> bool {
    let plain = |linear: &&Linear| {
        let [input, output] = linear.weight.dims();
        linear.int8.is_none() && product::takes(input, output, linear.weight.dtype())
    };
    takes_heads(d) && linears.iter().all(plain)
}

impl Stream {
    /// Of `x`, `[n, c]` in f32, before a layer with this norm and weights of a type.
    pub fn new(x: Tensor<2>, before: &Affine, dtype: DType) -> Self {
        Self {
            rows: norm(x.clone(), before, dtype),
            x,
        }
    }

    /// After self attention among the tokens of `images`.
    pub fn self_attention(
        self,
        attention: &SelfAttention,
        images: usize,
        pass: PassContext,
        kept: Kept,
        added: Added,
    ) -> Self {
        let [n, c] = self.rows.dims();
        let tokens = n / images;
        let made = attention.heads_on_card([images, tokens], c, pass, self.rows.dtype());
        let [_, h, _, d] = made[0].shape;
        let dtype = made[0].dtype;
        let Kept { cache, layer, last } = kept;
        let (k, v, start) = cache.take(layer, [images, h, d], dtype, &self.rows.device());
        let any = || attention.proj.weight.val().into_dispatch();
        let [cos, sin] = match pass.rope {
            Some(rope) => rope.tables().map(Tensor::into_dispatch),
            None => [any(), any()],
        };
        let log_scale = attention.log_scale.as_ref();
        let weights = layers::SelfAttention {
            q: dense(&attention.q),
            k: dense(&attention.k),
            v: dense(&attention.v),
            out: dense(&attention.proj),
            log_scale: log_scale.map_or_else(any, |log| log.val().into_dispatch()),
            cos,
            sin,
        };
        let rule = SelfRule {
            heads: made.map(|heads| heads.rule()),
            start,
            keep: !last,
            plus: added.next.plus,
        };
        let (x, rows, k, v) = Dispatch::card_self_attention(
            self.rows.into_dispatch(),
            weights,
            Cache {
                k: k.into_dispatch(),
                v: v.into_dispatch(),
            },
            residual(self.x, added),
            rule,
        );
        let [k, v] = [k, v].map(Tensor::from_dispatch);
        cache.put(layer, k, v, if last { start } else { start + tokens });
        Self::of(x, rows)
    }

    /// After cross attention of `images` to their texts.
    pub fn cross_attention(self, cross: Cross, images: usize, added: Added) -> Self {
        let ([n, _], [_, h, _, d]) = (self.rows.dims(), cross.keys.dims());
        let heads = cross_heads(cross.q, [images, h, n / images, d], self.rows.dtype()).rule();
        let weights = layers::CrossAttention {
            q: dense(cross.q),
            out: dense(cross.out),
            keys: cross.keys.clone().into_dispatch(),
            values: cross.values.clone().into_dispatch(),
            mask: match cross.hidden {
                None => Mask::Nothing,
                Some(hidden) => Mask::Hidden(hidden.clone().into_dispatch()),
            },
        };
        let (x, rows) = Dispatch::card_cross_attention(
            self.rows.into_dispatch(),
            weights,
            residual(self.x, added),
            heads,
            added.next.plus,
        );
        Self::of(x, rows)
    }

    /// After feed-forward layers.
    pub fn feed_forward(self, ffn: &FeedForward, added: Added) -> Self {
        let (x, rows) = Dispatch::card_feed_forward(
            self.rows.into_dispatch(),
            dense(&ffn.fc1),
            dense(&ffn.fc2),
            residual(self.x, added),
            added.next.plus,
        );
        Self::of(x, rows)
    }

    fn of(x: burn::backend::DispatchTensor, rows: burn::backend::DispatchTensor) -> Self {
        let [x, rows] = [x, rows].map(Tensor::from_dispatch);
        Self { x, rows }
    }
}

fn dense(layer: &Linear) -> Dense<Dispatch> {
    let weight = layer.weight.val().into_dispatch();
    Dense {
        bias: match &layer.bias {
            Some(bias) => bias.val().into_dispatch(),
            None => weight.clone(),
        },
        weight,
    }
}

fn residual(x: Tensor<2>, added: Added) -> Residual<Dispatch> {
    let [x, gain, scale, shift] = [
        x,
        added.gain.clone(),
        added.next.scale.clone(),
        added.next.shift.clone(),
    ]
    .map(Tensor::into_dispatch);
    Residual {
        x,
        gain,
        scale,
        shift,
    }
}
