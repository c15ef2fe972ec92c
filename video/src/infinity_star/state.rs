use std::ops::Range;

#[cfg(feature = "cuda")]
use std::sync::Arc;

use burn::tensor::Tensor;
use nextscale_tokenizer::Scale;
use nextscale_var_core::pruning::Pruner;
use nextscale_var_core::rope::RopeTable;
use nextscale_var_core::sample_ranks::SampleRanks;
use nextscale_var_core::spread::TokenShare;

use super::block::Limits;
#[cfg(feature = "cuda")]
use super::norms::Norms;

/// The origin of a segment of kept keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    /// The prompt.
    Text,
    /// The finest grid of the previous clip.
    Clip,
    /// The last seconds of an interactive video, downsampled.
    Semantic,
    /// Single frames of an interactive video at full size.
    Detail,
}

impl Segment {
    /// Whether its tokens attend to the kept segments. Prompts and conditions attend only to themselves.
    fn looks_back(self) -> bool {
        self == Self::Clip
    }
}

/// One pass of some tokens through all blocks.
#[derive(Clone, Copy)]
pub(super) struct BlockPass<'a> {
    /// The positions of the tokens.
    pub rope: &'a RopeTable,
    /// As what their keys and values are kept for later passes, if at all.
    pub keep: Option<Segment>,
    /// The index and the grid of their scale, of whose tokens some may be left out; none of text and conditions.
    pub scale: Option<(usize, Scale)>,
    pub limits: Limits,
    /// What this rank has of the tokens; none if it has them all.
    pub share: Option<TokenShare<'a>>,
}

#[derive(Debug, Clone)]
struct Kept {
    segment: Segment,
    k: Tensor<4>,
    v: Tensor<4>,
}

/// Rotated keys and values to which later passes attend: of the prompt and of the previous clip. The caller owns them.
///
/// There is at most one segment of each kind; a new one replaces it. Scales of the current clip are not kept, since no
/// later pass attends to them: their codes are in the running sum.
#[derive(Debug, Clone)]
pub struct State {
    layers: Vec<Vec<Kept>>,
    /// What stands in for tokens that scales leave out, if any do.
    pub(super) pruner: Option<Pruner>,
    /// What other processes do of it.
    pub(super) ranks: SampleRanks,
    #[cfg(feature = "cuda")]
    norms: Option<Arc<Norms>>,
}

impl State {
    /// An empty state for `depth` blocks.
    pub fn new(depth: usize) -> Self {
        Self {
            layers: vec![Vec::new(); depth],
            pruner: None,
            ranks: SampleRanks::default(),
            #[cfg(feature = "cuda")]
            norms: None,
        }
    }

    /// An empty state for a run in which scales leave tokens out.
    pub fn with_pruner(depth: usize, pruner: Option<Pruner>) -> Self {
        Self {
            pruner,
            ..Self::new(depth)
        }
    }

    /// The state holds only what these ranks leave to this process: some rows, and some heads.
    pub(crate) fn share(&mut self, ranks: SampleRanks) {
        self.ranks = ranks;
    }

    /// Whether what blocks add at scale `index` stands in for tokens that later scales leave out.
    pub(crate) fn stands_in(&self, index: usize) -> bool {
        let pruner = self.pruner.as_ref();
        pruner.is_some_and(|pruner| pruner.stands_in(index))
    }

    /// Tokens kept in the first block. Others keep fewer during a pass, and where they leave tokens out.
    pub fn tokens(&self) -> usize {
        self.layers.first().map_or(0, |kept| tokens(kept))
    }

    /// The number of kept values in the keys and values of all blocks.
    pub fn numbers(&self) -> usize {
        let layers = self.layers.iter().flatten();
        let count = |x: &Tensor<4>| x.dims().iter().product::<usize>();
        layers.map(|kept| count(&kept.k) + count(&kept.v)).sum()
    }

    /// The kept segments to which a pass attends in a block; `segment` is the one as which the pass will be kept, if at all.
    fn seen(&self, layer: usize, segment: Option<Segment>) -> &[Kept] {
        if segment.is_none_or(Segment::looks_back) {
            &self.layers[layer]
        } else {
            &[]
        }
    }

    /// The keys and values `[rows, g, m, d]` to which some rows of a pass attend in a block: their own, `k` and `v`, after
    /// the kept ones where the pass looks back. `segment` is the one as which the pass will be kept, if at all.
    pub(super) fn visible(
        &self,
        layer: usize,
        rows: Range<usize>,
        k: Tensor<4>,
        v: Tensor<4>,
        segment: Option<Segment>,
    ) -> (Tensor<4>, Tensor<4>) {
        let kept = self.seen(layer, segment);
        if kept.is_empty() {
            return (k, v);
        }
        let all = |own: Tensor<4>, pick: fn(&Kept) -> &Tensor<4>| {
            let past = kept
                .iter()
                .map(|kept| pick(kept).clone().slice_dim(0, rows.clone()));
            Tensor::cat(past.chain([own]).collect(), 2)
        };
        (all(k, |kept| &kept.k), all(v, |kept| &kept.v))
    }

    /// The norms of the model's blocks, made for the first pass.
    #[cfg(feature = "cuda")]
    pub(super) fn norms(&mut self, make: impl FnOnce() -> Arc<Norms>) -> Arc<Norms> {
        self.norms.get_or_insert_with(make).clone()
    }

    /// The kept keys and values, `[rows, g, m, d]`, to which some rows of a pass attend in a block, if any.
    #[cfg(feature = "cuda")]
    pub(super) fn past(
        &self,
        layer: usize,
        rows: Range<usize>,
        segment: Option<Segment>,
    ) -> Option<(Tensor<4>, Tensor<4>)> {
        let kept = self.seen(layer, segment);
        if kept.is_empty() {
            return None;
        }
        let all = |pick: fn(&Kept) -> &Tensor<4>| {
            let of = |kept| {
                let all = pick(kept).clone();
                if rows.len() == all.dims()[0] {
                    return all;
                }
                all.slice_dim(0, rows.clone())
            };
            match kept {
                [one] => of(one),
                _ => Tensor::cat(kept.iter().map(of).collect(), 2),
            }
        };
        Some((all(|kept| &kept.k), all(|kept| &kept.v)))
    }

    /// Replaces a segment of a block by the keys and values `[b, g, n, d]` of all rows.
    pub(super) fn put(&mut self, layer: usize, segment: Segment, k: Tensor<4>, v: Tensor<4>) {
        let kept = &mut self.layers[layer];
        kept.retain(|kept| kept.segment != segment);
        kept.push(Kept { segment, k, v });
    }
}

fn tokens(kept: &[Kept]) -> usize {
    kept.iter().map(|kept| kept.k.dims()[2]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn segments_replace_their_kind() {
        let x = |n: usize| Tensor::<4>::ones([1, 2, n, 4], &Device::flex()) * n as f64;
        let mut state = State::new(1);
        let mut see = |n, segment: Option<Segment>| {
            let (k, v) = state.visible(0, 0..1, x(n), x(n), segment);
            assert_eq!(k.dims(), v.dims());
            if let Some(segment) = segment {
                state.put(0, segment, x(n), x(n));
            }
            (k.dims()[2], state.tokens())
        };
        assert_eq!(see(3, Some(Segment::Text)), (3, 3));
        assert_eq!(see(5, None), (8, 3));
        assert_eq!(see(6, Some(Segment::Clip)), (9, 9));
        assert_eq!(see(7, Some(Segment::Clip)), (16, 10)); // sees the old one
        assert_eq!(see(2, Some(Segment::Detail)), (2, 12)); // sees only itself
        assert_eq!(state.numbers(), 2 * 12 * 2 * 4);
    }
}
