//! A block on a card: few kernels between its matrix products.

use burn::tensor::{Bool, Tensor};
use nextscale_var_core::attention::{PassContext, attend_rows, operands};
use nextscale_var_core::card::stream::{self, Added, Cross, Kept, Stream};
use nextscale_var_core::card::{
    Adapted, Affine, Branch, add, add_norm, cross_heads, heads, place, product, takes_heads,
};
use nextscale_var_core::dtype::{cast, value};
use nextscale_var_core::layers::{AdaLn, project_raw, working_dtype};
use nextscale_var_core::matmul::Precision;

use super::block::{Block, CrossAttention, TextKeys};
use super::text::TextState;

/// What one block keeps of the prompts.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    keys: TextKeys,
    adapted: Adapted,
    /// The norm before cross attention.
    cross: Affine,
    /// The gain of cross attention, `[1, c]`.
    one: Tensor<2>,
}

impl Condition {
    pub(super) fn new(block: &Block, text: &TextState) -> Self {
        let ada = AdaLn::new(&(text.modulation.clone() + value(&block.modulation)));
        let gamma = value(&block.ca_norm.gamma).unsqueeze::<2>();
        let beta = block.ca_norm.beta.as_ref();
        let cross = Affine {
            shift: beta.map_or_else(|| gamma.zeros_like(), |beta| value(beta).unsqueeze()),
            plus: 0.0,
            centred: true,
            scale: gamma.clone(),
        };
        Self {
            keys: block.ca.keys_on_card(text.kv.clone(), block.sa.heads),
            adapted: Adapted::new(&ada),
            cross,
            one: gamma.ones_like(),
        }
    }

    /// That of the first `rows` prompts.
    pub(super) fn rows(&self, rows: usize) -> Self {
        Self {
            keys: self.keys.rows(rows),
            adapted: self.adapted.rows(rows),
            ..self.clone()
        }
    }

    /// The same in memory of its own, with room for so many tokens of text.
    pub(super) fn with_room(&self, tokens: usize) -> Self {
        let mut kept = self.clone();
        for all in [&mut kept.keys.k, &mut kept.keys.v] {
            let [b, h, _, d] = all.dims();
            *all = Tensor::empty([b, h, tokens, d], (&all.device(), all.dtype()));
        }
        let empty = |like: &Tensor<2>| Tensor::empty(like.dims(), (&like.device(), like.dtype()));
        for all in kept.of_prompts() {
            *all = empty(all);
        }
        for all in kept.of_weights() {
            *all = place(empty(all), all.clone(), 1);
        }
        kept.fill(self);
        kept
    }

    /// Takes the numbers of other prompts into the same memory; their text may be shorter.
    pub(super) fn fill(&mut self, other: &Self) {
        let TextKeys { k, v } = &other.keys;
        for (all, from) in [(&mut self.keys.k, k), (&mut self.keys.v, v)] {
            let [b, h, ..] = all.dims();
            *all = place(all.clone(), from.clone(), b * h);
        }
        let mut other = other.clone();
        for (all, from) in self.of_prompts().into_iter().zip(other.of_prompts()) {
            *all = place(all.clone(), from.clone(), 1);
        }
    }

    /// What depends on the pooled prompts, `[b, c]` each.
    fn of_prompts(&mut self) -> [&mut Tensor<2>; 6] {
        let [first, second] = &mut self.adapted.norms;
        let [gain, other] = &mut self.adapted.gains;
        let [a, b, c, d] = [
            &mut first.scale,
            &mut first.shift,
            &mut second.scale,
            &mut second.shift,
        ];
        [a, b, c, d, gain, other]
    }

    /// What depends on weights alone, `[1, c]` each.
    fn of_weights(&mut self) -> [&mut Tensor<2>; 3] {
        [&mut self.cross.scale, &mut self.cross.shift, &mut self.one]
    }

    /// The norm before the block.
    pub(super) fn before(&self) -> &Affine {
        &self.adapted.norms[0]
    }
}

impl CrossAttention {
    /// Keys and values of text tokens `[b, l, c]`, each `[b, h, l, d]` in the type that attention takes.
    fn keys_on_card(&self, text: Tensor<3>, h: usize) -> TextKeys {
        let made = operands(working_dtype(&self.k));
        let (k, v) = self.keys(text, h, Precision::F32);
        let [k, v] = [k, v].map(|x| cast(x, made));
        TextKeys { k, v }
    }

    /// Attention of `rows`, `[images l, c]`, to the text, without the output's bias.
    fn on_card(
        &self,
        rows: Tensor<2>,
        images: usize,
        keys: &TextKeys,
        hidden: Option<&Tensor<4, Bool>>,
    ) -> Tensor<2> {
        let ([n, c], [_, h, _, d]) = (rows.dims(), keys.k.dims());
        let (l, dtype) = (n / images, rows.dtype());
        let q = if takes_heads(d) {
            let queries = cross_heads(&self.q, [images, h, l, d], dtype);
            heads(product(rows, &self.q), queries)
        } else {
            let q = project_raw(rows, &self.q) * (d as f64).powf(-0.5);
            let q = q.reshape([images, l, h, c / h]).swap_dims(1, 2);
            cast(q, operands(dtype))
        };
        let attended = attend_rows(q, keys.k.clone(), keys.v.clone(), hidden, dtype);
        product(attended, &self.proj)
    }
}

impl Block {
    /// Whether [`Block::pass`] takes the block.
    pub(super) fn passes(&self) -> bool {
        let Self { sa, ca, ffn, .. } = self;
        let linears = [
            &sa.q, &sa.k, &sa.v, &sa.proj, &ca.q, &ca.proj, &ffn.fc1, &ffn.fc2,
        ];
        stream::takes(&linears, sa.q.weight.dims()[1] / sa.heads)
    }

    /// The residual stream after the block, with the norm of the block after it.
    pub(super) fn pass(
        &self,
        stream: Stream,
        images: usize,
        [own, next]: [&Condition; 2],
        text: Option<&Tensor<4, Bool>>,
        pass: PassContext,
        kept: Kept,
    ) -> Stream {
        let [first, second] = &own.adapted.gains;
        let added = |gain, next| Added { gain, next };
        let cross = Cross {
            q: &self.ca.q,
            out: &self.ca.proj,
            keys: &own.keys.k,
            values: &own.keys.v,
            hidden: text,
        };
        stream
            .self_attention(&self.sa, images, pass, kept, added(first, &own.cross))
            .cross_attention(cross, images, added(&own.one, &own.adapted.norms[1]))
            .feed_forward(&self.ffn, added(second, next.before()))
    }

    /// The residual stream after a block that [`Block::pass`] does not take.
    pub(super) fn on_card(
        &self,
        stream: Stream,
        images: usize,
        condition: &Condition,
        pass: PassContext,
        hidden: Option<&Tensor<4, Bool>>,
        cache: impl FnOnce(&Tensor<4>, Tensor<4>, Tensor<4>) -> (Tensor<4>, Tensor<4>),
    ) -> Tensor<2> {
        let [_, between] = &condition.adapted.norms;
        let [first, second] = &condition.adapted.gains;
        let Stream { x, rows } = stream;
        let y = self.sa.on_card(rows, images, pass, cache);
        let (x, rows) = add_norm(x, Branch::of(y, &self.sa.proj, first), &condition.cross);
        let y = self.ca.on_card(rows, images, &condition.keys, hidden);
        let (x, rows) = add_norm(x, Branch::of(y, &self.ca.proj, &condition.one), between);
        let y = self.ffn.on_card(rows);
        add(x, Branch::of(y, &self.ffn.fc2, second))
    }
}
