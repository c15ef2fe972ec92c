//! Whole layers of a block as one operation each: what they do.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn::tensor::Shape;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use crate::card::attention::{self, Keys};
use crate::card::heads::{self, Rule, Target, With};
use crate::card::layers::{
    Bias, Cache, CrossAttention, Dense, Keep, LayerOps, Mask, Residual, SelfAttention, SelfRule,
};
use crate::card::{gate, rows};
use nextscale_tokenizer::card::memory::empty;
use nextscale_tokenizer::card::product::{self, Finish};

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
            q_weight,
            k_weight,
            cos,
            sin,
        } = weights;
        let made = product::products(rows.clone(), [q.weight, k.weight, v.weight]);
        let with = |bias, weight: &CubeTensor| With {
            bias: bias_or(bias, &made),
            logarithm: log_scale.clone(),
            weight: weight.clone(),
        };
        let with = [
            with(q.bias, &q_weight),
            with(k.bias, &k_weight),
            with(v.bias, &k_weight),
        ];
        let rotary = Some([cos, sin]).filter(|_| rule.heads[0].steps.rotated);
        let fresh = |of: usize| {
            empty(
                &rows,
                Shape::from(rule.heads[of].shape),
                rule.heads[of].dtype,
            )
        };
        let queries = fresh(0);
        let Places {
            first,
            second,
            new,
            from,
            kept,
        } = Places::new(cache, rule, || [fresh(1), fresh(2)]);
        let to = |out, start| Target { out, start };
        let targets = [to(&queries, 0), to(&new[0], from), to(&new[1], from)];
        heads::write_heads(made, with, rotary, rule.heads, targets);
        let attended = attention::attention(queries, first, second, None, rows.dtype);
        let (x, rows) = finish(attended, out, residual, rule.norm);
        let [kept_k, kept_v] = kept;
        (x, rows, kept_k, kept_v)
    }

    fn card_cross_attention(
        rows: FloatTensor<Self>,
        weights: CrossAttention<Self>,
        residual: Residual<Self>,
        heads: Rule,
        norm: rows::Rule,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let CrossAttention {
            q,
            out,
            keys,
            values,
            mask,
        } = weights;
        let bias = bias_or(q.bias, &rows);
        let with = With {
            weight: bias.clone(),
            logarithm: bias.clone(),
            bias,
        };
        let queries = heads::heads(plain(&rows, q.weight), with, None, heads);
        let hidden = match mask {
            Mask::Nothing => None,
            Mask::Hidden(hidden) => Some(hidden),
        };
        let keys = Keys::all(keys, values);
        let attended = attention::attention(queries, keys, None, hidden, rows.dtype);
        finish(attended, out, residual, norm)
    }

    fn card_feed_forward(
        rows: FloatTensor<Self>,
        fc1: Dense<Self>,
        fc2: Dense<Self>,
        residual: Residual<Self>,
        norm: rows::Rule,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let dtype = rows.dtype;
        let bias = bias_or(fc1.bias, &rows);
        let hidden = product::product(rows, fc1.weight, bias, Finish::Gelu, dtype);
        finish(hidden, fc2, residual, norm)
    }

    fn card_gated_feed_forward(
        rows: FloatTensor<Self>,
        gate: Dense<Self>,
        up: Dense<Self>,
        down: Dense<Self>,
        residual: Residual<Self>,
        norm: rows::Rule,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let both = product::products(rows, [gate.weight, up.weight]);
        finish(gate::gated(both), down, residual, norm)
    }
}

/// Where self attention finds its keys and values.
struct Places {
    first: Keys,
    second: Option<Keys>,
    /// Where the new ones are written, from a token on.
    new: [CubeTensor; 2],
    from: usize,
    /// The operation's result.
    kept: [CubeTensor; 2],
}

impl Places {
    fn new(
        cache: Cache<CubeBackend>,
        rule: SelfRule,
        fresh: impl FnOnce() -> [CubeTensor; 2],
    ) -> Self {
        let (start, tokens) = (rule.start, rule.heads[1].shape[2]);
        let keys = |[k, v]: &[CubeTensor; 2], len| Keys {
            k: k.clone(),
            v: v.clone(),
            len,
        };
        if matches!(rule.keep, Keep::InCache | Keep::InPlace) {
            let kept = match rule.keep {
                Keep::InPlace => [cache.k, cache.v],
                _ => [cache.k, cache.v].map(owned),
            };
            return Self {
                first: keys(&kept, start + tokens),
                second: None,
                new: kept.clone(),
                from: start,
                kept,
            };
        }
        let (kept, new) = ([cache.k, cache.v], fresh());
        let own = keys(&new, tokens);
        let (first, second) = match start {
            0 => (own, None),
            _ => (keys(&kept, start), Some(own)),
        };
        let result = match rule.keep {
            Keep::New => new.clone(),
            Keep::InCache | Keep::InPlace | Keep::Nothing => kept,
        };
        Self {
            first,
            second,
            new,
            from: 0,
            kept: result,
        }
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

/// The bias, or another tensor in its place.
fn bias_or(bias: Bias<CubeBackend>, any: &CubeTensor) -> CubeTensor {
    match bias {
        Bias::Of(bias) => bias,
        Bias::Nothing => any.clone(),
    }
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
    rule: rows::Rule,
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
        bias: match bias {
            Bias::Of(bias) => Some(bias),
            Bias::Nothing => None,
        },
        gain,
    };
    rows::add_norm(x, branch, rows::Affine { scale, shift, rule })
}
