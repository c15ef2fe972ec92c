//! The blocks on a card, in half precision: few kernels between their matrix products.

use burn::tensor::Tensor;
use nextscale_var_core::card::runs;
use nextscale_var_core::card::stream::{self, Added, Grouped, Stream};
use nextscale_var_core::layers::working_dtype;
use nextscale_var_core::rope::RopeTable;

use super::block::{Block, Limits};
use super::norms::Norms;
use super::state::{Segment, State};

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

/// Tokens `[b, l, C]` of a pass through all blocks; with `keep`, the state keeps their keys and values. As many rows of the batch
/// run at a time as the limit allows.
pub(super) fn forward(
    blocks: &[Block],
    x: Tensor<3>,
    rope: &RopeTable,
    state: &mut State,
    keep: Option<Segment>,
    limits: Limits,
) -> Tensor<3> {
    let [b, l, c] = x.dims();
    let norms = state.norms(|| Norms::new(blocks, c));
    let at_once = (limits.tokens / l).clamp(1, b);
    let mut kept = vec![(vec![], vec![]); if keep.is_some() { blocks.len() } else { 0 }];
    let parts = (0..b).step_by(at_once).map(|from| {
        let rows = from..(from + at_once).min(b);
        let images = rows.len();
        let part = x.clone().slice_dim(0, rows.clone());
        let part = part.reshape([images * l, c]);
        let dtype = working_dtype(&blocks[0].attention.q);
        let mut stream = Stream::new(part, &norms.before_attention[0], dtype);
        for (i, block) in blocks.iter().enumerate() {
            let past = state.past(i, rows.clone(), keep);
            let added = |next| Added {
                gain: &norms.one,
                next,
            };
            let after = added(&norms.before_mlp[i]);
            let (attended, k, v) =
                stream.grouped_attention(block.grouped(rope), images, past, after);
            if keep.is_some() {
                kept[i].0.push(k);
                kept[i].1.push(v);
            }
            // The norm after the last block is not used.
            let next = &norms.before_attention[(i + 1).min(blocks.len() - 1)];
            stream = feed_forward(attended, block, added(next), limits);
        }
        stream.x.reshape([images, l, c])
    });
    let parts: Vec<_> = parts.collect();
    if let Some(segment) = keep {
        for (i, (keys, values)) in kept.into_iter().enumerate() {
            state.put(i, segment, Tensor::cat(keys, 0), Tensor::cat(values, 0));
        }
    }
    Tensor::cat(parts, 0)
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
