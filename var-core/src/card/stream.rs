//! The residual stream of a block in half precision: each of its layers is one operation.

use burn::backend::Dispatch;
use burn::module::Param;
use burn::tensor::{Bool, DType, Tensor};

use crate::attention::{PassContext, SelfAttention, operands};
use crate::cache::KvCache;
use crate::card::layers::{self, Bias, Cache, Dense, Keep, LayerOps, Mask, Residual, SelfRule};
use crate::card::{Affine, HeadNorm, Heads, cross_heads, norm, takes_heads};
use crate::layers::{FeedForward, Linear};
use crate::rope::RopeTable;
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

/// Attention in which several query heads share a key head, with norms of the heads.
#[derive(Clone, Copy)]
pub struct Grouped<'a> {
    /// Queries.
    pub q: &'a Linear,
    /// Keys, of fewer heads.
    pub k: &'a Linear,
    /// Values, of fewer heads.
    pub v: &'a Linear,
    /// Output projection.
    pub out: &'a Linear,
    /// Weights of the RMS norm of query heads, `[d]`.
    pub q_norm: &'a Param<Tensor<1>>,
    /// Weights of the RMS norm of key heads, `[d]`.
    pub k_norm: &'a Param<Tensor<1>>,
    /// Positions of the tokens.
    pub rope: &'a RopeTable,
}

impl<'a> Grouped<'a> {
    /// How queries, keys and values become heads, of images and tokens of each and weights of a type.
    fn heads(&self, [images, tokens]: [usize; 2], weights: DType) -> [Heads<'a>; 3] {
        let [d] = self.q_norm.dims();
        let of = |layer: &'a Linear| Heads {
            shape: [images, layer.weight.dims()[1] / d, tokens, d],
            bias: layer.bias.as_ref(),
            norm: HeadNorm::Nothing,
            log_scale: None,
            weight: None,
            scale: 1.0,
            rope: None,
            dtype: operands(weights),
        };
        let normed = |layer, weight| Heads {
            norm: HeadNorm::MeanSquare,
            weight: Some(weight),
            rope: Some(self.rope),
            ..of(layer)
        };
        let queries = Heads {
            scale: (d as f64).powf(-0.5),
            ..normed(self.q, self.q_norm)
        };
        [queries, normed(self.k, self.k_norm), of(self.v)]
    }
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
            Some(rope) => rope.tables().map(|x| x.clone().into_dispatch()),
            None => [any(), any()],
        };
        let log_scale = attention.log_scale.as_ref();
        let weights = layers::SelfAttention {
            q: dense(&attention.q),
            k: dense(&attention.k),
            v: dense(&attention.v),
            out: dense(&attention.proj),
            log_scale: log_scale.map_or_else(any, |log| log.val().into_dispatch()),
            q_weight: any(),
            k_weight: any(),
            cos,
            sin,
        };
        let rule = SelfRule {
            heads: made.map(|heads| heads.rule()),
            start,
            keep: match (last, cache.is_fixed()) {
                (true, _) => Keep::Nothing,
                (false, true) => Keep::InPlace,
                (false, false) => Keep::InCache,
            },
            norm: added.next.rule(),
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

    /// After grouped attention among the tokens of `images` and to `kept` keys and values, `[b, g, m, d]` each. Returns the new
    /// keys and values too, `[b, g, l, d]`, in the type of attention.
    pub fn grouped_attention(
        self,
        attention: Grouped,
        images: usize,
        kept: Option<(Tensor<4>, Tensor<4>)>,
        added: Added,
    ) -> (Self, Tensor<4>, Tensor<4>) {
        let Grouped { q, k, v, out, .. } = attention;
        let [n, _] = self.rows.dims();
        let heads = attention.heads([images, n / images], self.rows.dtype());
        let any = || out.weight.val().into_dispatch();
        let [cos, sin] = attention.rope.tables().map(|x| x.clone().into_dispatch());
        let weights = layers::SelfAttention {
            q: dense(q),
            k: dense(k),
            v: dense(v),
            out: dense(out),
            log_scale: any(),
            q_weight: attention.q_norm.val().into_dispatch(),
            k_weight: attention.k_norm.val().into_dispatch(),
            cos,
            sin,
        };
        let start = kept.as_ref().map_or(0, |(k, _)| k.dims()[2]);
        let nothing = || Tensor::empty([1, 1, 1, 1], (&self.rows.device(), heads[1].dtype));
        let (k, v) = kept.unwrap_or_else(|| (nothing(), nothing()));
        let rule = SelfRule {
            heads: heads.map(|heads| heads.rule()),
            start,
            keep: Keep::New,
            norm: added.next.rule(),
        };
        let cache = Cache {
            k: k.into_dispatch(),
            v: v.into_dispatch(),
        };
        let (x, rows, k, v) = Dispatch::card_self_attention(
            self.rows.into_dispatch(),
            weights,
            cache,
            residual(self.x, added),
            rule,
        );
        let [k, v] = [k, v].map(Tensor::from_dispatch);
        (Self::of(x, rows), k, v)
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
            added.next.rule(),
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
            added.next.rule(),
        );
        Self::of(x, rows)
    }

    /// After gated feed-forward layers without biases.
    pub fn gated_feed_forward(self, [gate, up, down]: [&Linear; 3], added: Added) -> Self {
        let (x, rows) = Dispatch::card_gated_feed_forward(
            self.rows.into_dispatch(),
            dense(gate),
            dense(up),
            dense(down),
            residual(self.x, added),
            added.next.rule(),
        );
        Self::of(x, rows)
    }

    fn of(x: burn::backend::DispatchTensor, rows: burn::backend::DispatchTensor) -> Self {
        let [x, rows] = [x, rows].map(Tensor::from_dispatch);
        Self { x, rows }
    }
}

fn dense(layer: &Linear) -> Dense<Dispatch> {
    Dense {
        weight: layer.weight.val().into_dispatch(),
        bias: match &layer.bias {
            Some(bias) => Bias::Of(bias.val().into_dispatch()),
            None => Bias::Nothing,
        },
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
