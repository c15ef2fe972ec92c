//! The blocks on a card, in half precision: few kernels between their matrix products.

use std::ops::Range;

use burn::tensor::Tensor;
use nextscale_var_core::card::runs;
use nextscale_var_core::card::stream::{self, Added, Grouped, Stream};
use nextscale_var_core::layers::working_dtype;
use nextscale_var_core::pruning::Pruner;
use nextscale_var_core::rope::RopeTable;

use super::block::{Block, Limits};
use super::norms::Norms;
use super::state::{BlockPass, State};

/// Whether [`forward`] takes tokens and blocks.
pub(super) fn takes(x: &Tensor<3>, blocks: &[Block]) -> bool {
    let Some(block) = blocks.first().filter(|_| runs(x)) else {
        return false;
    };
    let (attention, mlp) = (&block.attention, &block.mlp);
    let linears = [
        &attention.q,
        &attention.k,
        &attention.v,
        &attention.o,
        &mlp.gate,
        &mlp.up,
        &mlp.down,
    ];
    stream::takes(&linears, attention.q_norm.weight.dims()[0])
}

/// Tokens `[b, l, C]` of a pass through all blocks, as many rows of the batch at a time as the limit allows.
pub(super) fn forward(
    blocks: &[Block],
    x: Tensor<3>,
    state: &mut State,
    pass: BlockPass,
) -> Tensor<3> {
    let [b, l, c] = x.dims();
    let norms = state.norms(|| Norms::new(blocks, c));
    let at_once = (pass.limits.tokens / l).clamp(1, b);
    let mut kept = vec![(vec![], vec![]); pass.keep.map_or(0, |_| blocks.len())];
    let mut pruner = state.pruner.take();
    let parts = (0..b).step_by(at_once).map(|from| {
        let rows = from..(from + at_once).min(b);
        let part = x.clone().slice_dim(0, rows.clone());
        let rows = Rows {
            rows,
            pass,
            norms: &norms,
        };
        rows.forward(blocks, part, state, pruner.as_mut(), &mut kept)
    });
    let parts: Vec<_> = parts.collect();
    state.pruner = pruner;
    if let Some(segment) = pass.keep {
        for (i, (keys, values)) in kept.into_iter().enumerate() {
            state.put(i, segment, Tensor::cat(keys, 0), Tensor::cat(values, 0));
        }
    }
    Tensor::cat(parts, 0)
}

/// Keys and values of each block, of one part of the batch after the other.
type KeptParts = Vec<(Vec<Tensor<4>>, Vec<Tensor<4>>)>;

/// Some rows of the batch on their way through the blocks.
struct Rows<'a> {
    rows: Range<usize>,
    pass: BlockPass<'a>,
    norms: &'a Norms,
}

impl Rows<'_> {
    fn forward(
        self,
        blocks: &[Block],
        x: Tensor<3>,
        state: &State,
        pruner: Option<&mut Pruner>,
        kept: &mut KeptParts,
    ) -> Tensor<3> {
        let ([images, l, c], Self { rows, pass, norms }) = (x.dims(), self);
        let dtype = working_dtype(&blocks[0].attention.q);
        let before = &norms.before_attention;
        let mut pruner = pruner
            .zip(pass.scale)
            .filter(|(pruner, (k, _))| pruner.acts(*k));
        let mut stream = Stream::new(x.reshape([images * l, c]), &before[0], dtype);
        for (i, block) in blocks.iter().enumerate() {
            // The norm after the last block is not used.
            let next = &before[(i + 1).min(blocks.len() - 1)];
            let mut run = |stream: Stream, rope: &RopeTable| {
                let past = state.past(i, rows.clone(), pass.keep);
                let added = |next| Added {
                    gain: &norms.one,
                    next,
                };
                let after = added(&norms.before_mlp[i]);
                let (attended, k, v) =
                    stream.grouped_attention(block.grouped(rope), images, past, after);
                if let Some((keys, values)) = kept.get_mut(i) {
                    keys.push(k);
                    values.push(v);
                }
                feed_forward(attended, block, added(next), pass.limits)
            };
            stream = match &mut pruner {
                None => run(stream, pass.rope),
                Some((pruner, (k, scale))) => {
                    let x = stream.x.reshape([images, l, c]);
                    let x = pruner.block_of_rows(*k, *scale, i, (rows.clone(), x), |x, chosen| {
                        let [_, n, _] = x.dims();
                        let own = chosen.map(|chosen| chosen.rope(pass.rope));
                        let rope = own.as_ref().unwrap_or(pass.rope);
                        let stream = Stream::new(x.reshape([images * n, c]), &before[i], dtype);
                        run(stream, rope).x.reshape([images, n, c])
                    });
                    Stream::new(x.reshape([images * l, c]), next, dtype)
                }
            };
        }
        stream.x.reshape([images, l, c])
    }
}

impl Block {
    fn grouped<'a>(&'a self, rope: &'a RopeTable) -> Grouped<'a> {
        let attention = &self.attention;
        Grouped {
            q: &attention.q,
            k: &attention.k,
            v: &attention.v,
            out: &attention.o,
            q_norm: &attention.q_norm.weight,
            k_norm: &attention.k_norm.weight,
            rope,
        }
    }
}

/// The feed-forward layers, in parts of tokens within the limit on hidden units.
fn feed_forward(stream: Stream, block: &Block, added: Added, limits: Limits) -> Stream {
    let mlp = &block.mlp;
    let linears = [&mlp.gate, &mlp.up, &mlp.down];
    let ([n, _], [_, hidden]) = (stream.x.dims(), mlp.gate.weight.dims());
    let each = (limits.hidden / hidden).max(1);
    if each >= n {
        return stream.gated_feed_forward(linears, added);
    }
    let Stream { x, rows } = stream;
    let parts = (0..n).step_by(each).map(|from| {
        let range = from..(from + each).min(n);
        let part = Stream {
            x: x.clone().slice_dim(0, range.clone()),
            rows: rows.clone().slice_dim(0, range),
        };
        let Stream { x, rows } = part.gated_feed_forward(linears, added);
        (x, rows)
    });
    let (x, rows): (Vec<_>, Vec<_>) = parts.unzip();
    Stream {
        x: Tensor::cat(x, 0),
        rows: Tensor::cat(rows, 0),
    }
}
