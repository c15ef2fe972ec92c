//! The residual pyramids of a video: one per clip, over all passes of the clip.

use std::cell::RefCell;

use burn::tensor::{Int, Tensor};
use nextscale_bitwise::bsq::{StraightThrough, entropy_shortfall};
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

/// Quantises the latent `z` of whole clips, `[b, c, t, h, w]`, with the first `scales` scales of image and clips: the
/// training form of a tokenizer's forward pass.
///
/// # Panics
/// If the latent does not end with a clip of `plan`, or `scales` is 0.
pub fn quantize_straight_through(
    plan: &Plan,
    bits: CodeBits,
    z: Tensor<5>,
    scales: usize,
) -> StraightThrough {
    let full = bits.quantizer(CodeKind::Detail);
    let mut shortfalls = Vec::new();
    let sum = descend(plan, bits, z.clone(), |pass, cells, _| {
        if pass.index >= scales {
            return cells.zeros_like();
        }
        let quantizer = bits.quantizer(pass.kind);
        let magnitude = (bits.of(pass.kind) as f64).powf(-0.5);
        shortfalls.push(entropy_shortfall(
            quantizer.cells(cells.clone()) / magnitude,
        ));
        full.embed(&quantizer.quantize(cells.detach()))
    });
    StraightThrough::new(z, sum, shortfalls)
}
