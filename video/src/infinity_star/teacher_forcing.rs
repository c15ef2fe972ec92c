use std::ops::Range;

use burn::tensor::{Bool, Device, Tensor};
use nextscale_var_core::{matmul::Precision, rope::RopeTable};

use super::{InfinityStar, Limits, attend_grouped};

/// A stretch of tokens that see each other, and what else they see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttentionSpan {
    /// The tokens.
    pub own: Range<usize>,
    /// Tokens of an earlier stretch that they see.
    pub before: Option<Range<usize>>,
    /// Whether they see the first stretch, which is the text.
    pub text: bool,
}

impl InfinityStar {
    /// The blocks over text and all passes at once: tokens `[b, l, C]`, stretch after stretch, the text first, to their
    /// hidden states, same shape. `hidden`, `[b, 1, 1, L]`, is true where a prompt has ended; f32 weights are multiplied in
    /// `precision`.
    ///
    /// # Panics
    /// If the stretches do not cover the tokens in order.
    pub fn forward_teacher_forced(
        &self,
        x: Tensor<3>,
        rope: &RopeTable,
        stretches: &[AttentionSpan],
        hidden: Option<&Tensor<4, Bool>>,
        precision: Precision,
    ) -> Tensor<3> {
        let [_, l, _] = x.dims();
        let limits = Limits::default();
        let mut at = 0;
        for stretch in stretches {
            assert_eq!(stretch.own.start, at, "a gap between stretches");
            at = stretch.own.end;
        }
        assert_eq!(at, l, "tokens behind the last stretch");
        let text = stretches[0].own.len();
        let see = |[q, k, v]: [Tensor<4>; 3]| {
            let parts = stretches.iter().map(|stretch| {
                let pick = |x: &Tensor<4>| {
                    let mut all = Vec::new();
                    if stretch.text {
                        all.push(x.clone().slice_dim(2, 0..text));
                    }
                    let others = stretch.before.iter().chain([&stretch.own]);
                    all.extend(others.map(|range| x.clone().slice_dim(2, range.clone())));
                    Tensor::cat(all, 2)
                };
                let (k, v) = (pick(&k), pick(&v));
                let hidden = hidden.map(|mask| widen(mask, k.dims()[2]));
                let q = q.clone().slice_dim(1, stretch.own.clone());
                attend_grouped(q, k, v, hidden.as_ref(), limits.scores)
            });
            Tensor::cat(parts.collect(), 1)
        };
        let block = |x, i: usize| self.at(i).forward_seeing(x, rope, limits, precision, see);
        (0..self.depth()).fold(x, block)
    }
}

/// A mask of the text's tokens for so many tokens, text in front.
fn widen(mask: &Tensor<4, Bool>, tokens: usize) -> Tensor<4, Bool> {
    let [b, _, _, text] = mask.dims();
    if text == tokens {
        return mask.clone();
    }
    let seen = visible(b, tokens - text, &mask.device());
    Tensor::cat(vec![mask.clone(), seen], 3)
}

fn visible(b: usize, tokens: usize, device: &Device) -> Tensor<4, Bool> {
    Tensor::<4>::zeros([b, 1, 1, tokens], device).greater_elem(0.5)
}
