use nextscale_var_core::blocks::Transformer;
use std::ops::Range;

use burn::tensor::{Bool, Device, Tensor};
use nextscale_var_core::{matmul::Precision, rope::RopeTable};

use super::attention::attend_grouped;
use super::block::{Block, Limits};
use super::model::InfinityStar;

/// A span of tokens that attend to each other, and the earlier tokens to which they attend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttentionSpan {
    /// The tokens.
    pub own: Range<usize>,
    /// Tokens of an earlier span to which they attend.
    pub before: Option<Range<usize>>,
    /// Whether they attend to the first span, the text.
    pub text: bool,
}

impl InfinityStar {
    /// The blocks over text and all passes at once. Matrix products with f32 weights run in `precision`.
    ///
    /// # Shapes
    /// - `x`: `[b, l, C]`, span after span, the text first; the result has the same shape
    /// - `hidden`: `[b, 1, 1, L]` over the text, true after the end of a prompt
    ///
    /// # Panics
    /// If the spans do not cover the tokens in order.
    pub fn forward_teacher_forced(
        &self,
        x: Tensor<3>,
        rope: &RopeTable,
        spans: &[AttentionSpan],
        hidden: Option<&Tensor<4, Bool>>,
        precision: Precision,
    ) -> Tensor<3> {
        let [_, l, _] = x.dims();
        check(spans, l);
        let pass = TeacherPass {
            rope,
            spans,
            hidden,
            precision,
        };
        (0..self.depth()).fold(x, |x, i| pass.block(&Transformer::block(self, i), x))
    }
}

/// What all blocks share under teacher forcing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TeacherPass<'a> {
    pub rope: &'a RopeTable,
    pub spans: &'a [AttentionSpan],
    pub hidden: Option<&'a Tensor<4, Bool>>,
    pub precision: Precision,
}

impl TeacherPass<'_> {
    /// One block of all tokens, `[b, l, C]`, to the same shape.
    pub fn block(&self, block: &Block, x: Tensor<3>) -> Tensor<3> {
        let limits = Limits::default();
        let text = self.spans[0].own.len();
        let attend = |[q, k, v]: [Tensor<4>; 3]| {
            let parts = self.spans.iter().map(|span| {
                let pick = |x: &Tensor<4>| {
                    let mut all = Vec::new();
                    if span.text {
                        all.push(x.clone().slice_dim(2, 0..text));
                    }
                    let others = span.before.iter().chain([&span.own]);
                    all.extend(others.map(|range| x.clone().slice_dim(2, range.clone())));
                    Tensor::cat(all, 2)
                };
                let (k, v) = (pick(&k), pick(&v));
                let hidden = self.hidden.map(|mask| widen(mask, k.dims()[2]));
                let q = q.clone().slice_dim(1, span.own.clone());
                attend_grouped(q, k, v, hidden.as_ref(), limits.scores)
            });
            Tensor::cat(parts.collect(), 1)
        };
        block.forward_with(x, self.rope, limits, self.precision, attend)
    }
}

/// Refuses spans that do not cover `l` tokens in order.
pub(crate) fn check(spans: &[AttentionSpan], l: usize) {
    let mut at = 0;
    for span in spans {
        assert_eq!(span.own.start, at, "a gap between spans");
        at = span.own.end;
    }
    assert_eq!(at, l, "the spans do not cover all tokens");
}

/// Extends a mask of the text's tokens to `tokens` tokens, the text first.
fn widen(mask: &Tensor<4, Bool>, tokens: usize) -> Tensor<4, Bool> {
    let [b, _, _, text] = mask.dims();
    if text == tokens {
        return mask.clone();
    }
    let rest = visible(b, tokens - text, &mask.device());
    Tensor::cat(vec![mask.clone(), rest], 3)
}

fn visible(b: usize, tokens: usize, device: &Device) -> Tensor<4, Bool> {
    Tensor::<4>::zeros([b, 1, 1, tokens], device).greater_elem(0.5)
}
