//! The residual pyramids of a video: one per clip, over all passes of the clip.

use std::cell::RefCell;

use burn::tensor::{Int, Tensor};
use nextscale_tokenizer::{Pyramid, Quantizer as _, Resize};

use crate::{
    clips::{Pass, Plan},
    codes::{CodeBits, CodeKind, InfinityStarQuantizer},
};

/// The recurrence of a clip: area down, linear up, and area down for the transformer's input.
pub(crate) fn pyramid(quantizer: &InfinityStarQuantizer) -> Pyramid<'_, InfinityStarQuantizer> {
    Pyramid {
        input_down: Resize::Area,
        ..Pyramid::plain(quantizer)
    }
}

/// Encodes the latent of a given image or video, `[b, c, t, h, w]`, as the bits of the first clips of `plan`, for
/// [`GenerateOptions::forced`](crate::generate::GenerateOptions::forced).
///
/// # Panics
/// See [`descend`].
pub fn given_bits(plan: &Plan, bits: CodeBits, latent: Tensor<5>) -> Vec<Tensor<5, Int>> {
    let mut all = Vec::new();
    let full = bits.quantizer(CodeKind::Detail);
    descend(plan, bits, latent, |pass, cells, _| {
        let codes = bits.quantizer(pass.kind).quantize(cells);
        let vectors = full.embed(&codes);
        all.push(codes.bits().expect("bits"));
        vectors
    });
    all
}

/// Runs the recurrence of the first clips of `plan` over a latent, `[b, c, t, h, w]`, for as many clips as the latent has.
///
/// For each pass `quantize` gets the residual's cells and the running sum of the clip before the pass, and returns vectors
/// of the cells' shape. Returns the sums of all clips, concatenated along t.
///
/// # Panics
/// If the latent's grid is not the plan's finest, or the latent does not end with a clip.
pub fn descend(
    plan: &Plan,
    bits: CodeBits,
    latent: Tensor<5>,
    mut quantize: impl FnMut(&Pass, Tensor<5>, Option<&Tensor<5>>) -> Tensor<5>,
) -> Tensor<5> {
    let [_, _, frames, _, _] = latent.dims();
    let full = bits.quantizer(CodeKind::Detail);
    let (mut sums, mut from) = (Vec::new(), 0);
    for clip in plan.clips() {
        if from == frames {
            break;
        }
        let to = from + clip.schedule.last().t;
        assert!(to <= frames, "{frames} latent frames end within a clip");
        let target = latent.clone().slice_dim(2, from..to);
        let sum = RefCell::new(None);
        let clip_sum = pyramid(&full).descend_observed(
            target,
            &clip.schedule,
            |i, cells| quantize(&clip.passes[i], cells, sum.borrow().as_ref()),
            |now| *sum.borrow_mut() = Some(now.clone()),
        );
        sums.push(clip_sum);
        from = to;
    }
    assert_eq!(from, frames, "the latent has more frames than the plan");
    Tensor::cat(sums, 2)
}
