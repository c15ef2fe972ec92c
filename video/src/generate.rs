//! The loop in the open: one pass at a time, clip after clip.
//!
//! ```text
//! bits_k = sample(star(down(f_{k-1})))    f_k = f_{k-1} + up(codes(bits_k))    f = 0 where a clip starts
//! ```
//!
//! `ar_infer_infinity_elegant` and `ar_infer_infinity_star_interact` of `infinity/models/infinity.py`.

use std::cell::RefCell;

use burn::tensor::{Device, Int, Tensor};
use nextscale_bitwise::tokens::Patching;
use nextscale_tokenizer::{Codes, Pyramid, Quantizer as _, Resize, Scale};
use nextscale_var_core::sampler::Sampler;

use crate::{
    clips::{Pass, SpacetimePlan},
    codes::{CodeBits, CodeKind, StarQuantizer},
    guidance::StarGuidance,
    star::{Context, Limits, Segment, Star, grid_positions, text_positions},
};

/// Settings of a run.
#[derive(Debug, Clone)]
pub struct GenerateOptions {
    /// Guidance on the logits.
    pub guidance: StarGuidance,
    /// Divides the logits of the first clip, which is the image where there is one; above 0.
    pub image_temperature: f64,
    /// Divides the logits of all other clips; above 0.
    pub clip_temperature: f64,
    /// Bits of the first passes, `[b, d, t, h, w]`, that are taken instead of drawing: those of a given image
    /// ([`given_bits`]), or of the beginning of a given video.
    pub forced: Vec<Tensor<5, Int>>,
    /// Whether passes with forced bits that nobody looks back at are computed nevertheless, for their logits.
    pub forced_logits: bool,
    /// How much may be in the making at a time.
    pub limits: Limits,
}

impl GenerateOptions {
    /// Guidance and temperatures, nothing forced.
    pub fn new(guidance: StarGuidance, image_temperature: f64, clip_temperature: f64) -> Self {
        Self {
            guidance,
            image_temperature,
            clip_temperature,
            forced: Vec::new(),
            forced_logits: false,
            limits: Limits::default(),
        }
    }

    fn temperature(&self, clip: usize) -> f64 {
        match clip {
            0 => self.image_temperature,
            _ => self.clip_temperature,
        }
    }
}

/// Latent frames that the transformer sees besides the video itself: what came before an interactive one.
#[derive(Debug, Clone)]
pub struct Condition {
    /// How long it is kept, and what it replaces.
    pub segment: Segment,
    /// `[b, c, t, h, w]`.
    pub cells: Tensor<5>,
    /// The frame coordinate of each of its frames.
    pub frames: Vec<usize>,
    /// Its scale coordinate, counted as that of passes.
    pub position: usize,
}

/// One finished pass.
#[derive(Debug, Clone)]
pub struct GeneratedPass {
    /// Its number, from 0.
    pub k: usize,
    /// What was passed over.
    pub pass: Pass,
    /// What went in: the running sum on the grid of the pass, `[b, c, t, h, w]`.
    pub input: Tensor<5>,
    /// The heads' logits before temperature and guidance, `[2b or b, l, 2 d]`, conditional ones first; none where a pass
    /// with forced bits did not need them.
    pub raw: Option<Tensor<3>>,
    /// Logits behind temperature and guidance, `[b, l, 2 d]`.
    pub logits: Option<Tensor<3>>,
    /// The bits drawn (or forced).
    pub codes: Codes,
    /// The running sum of this clip with this pass, at full size, `[b, c, t, h, w]`: decode it for a preview.
    pub features: Tensor<5>,
    /// Whether the clip is finished: then `features` are its latent frames.
    pub ends_clip: bool,
    /// Tokens whose keys and values are kept for the passes behind.
    pub kept_tokens: usize,
}

/// A run: an iterator of passes. Dropping it early stops the work.
pub struct Generation<'a> {
    model: &'a Star,
    plan: &'a SpacetimePlan,
    bits: CodeBits,
    options: GenerateOptions,
    sampler: Sampler,
    context: Context,
    /// Rows of the transformer's batch for each video: 2 under guidance.
    halves: usize,
    batch: usize,
    text_max_len: usize,
    reference: Scale,
    device: Device,
    sum: Option<Tensor<5>>,
    k: usize,
}

/// Starts a run for the prompts in `text`, `[b, l, T]`, all of one length: the prompt goes through the transformer, and
/// then the conditions.
///
/// `negative`, `[b, l', T]`, are prompts to steer away from; without them guidance uses the model's unconditional
/// prompt, as long as the prompt. Where the lengths differ the shorter tokens are filled up with zeros, which are seen, as
/// in the released code. The sampler needs one seed a prompt, unless it is greedy; its top-k and top-p should be off,
/// since the released models are sampled without.
///
/// # Panics
/// If shapes do not fit the model, or there are more forced passes than passes.
pub fn generate<'a>(
    model: &'a Star,
    plan: &'a SpacetimePlan,
    text: Tensor<3>,
    negative: Option<Tensor<3>>,
    conditions: &[Condition],
    options: GenerateOptions,
    sampler: Sampler,
) -> Generation<'a> {
    let [b, l, _] = text.dims();
    let passes = plan.passes().count();
    let forced = options.forced.len();
    assert!(forced <= passes, "{forced} forced passes of {passes}");
    let guided = options.guidance.is_active();
    let device = text.device();
    let mut tokens = model.text_tokens(text);
    if guided {
        let negative = match negative {
            Some(negative) => model.text_tokens(negative),
            None => model.text_tokens(model.unconditional(l)).repeat_dim(0, b),
        };
        tokens = stack(tokens, negative);
    }
    let bits = CodeBits {
        semantic: model.semantic_head.weight.dims()[1] / 2,
        detail: model.channels(),
    };
    let mut run = Generation {
        model,
        plan,
        bits,
        sampler,
        context: Context::new(model.depth()),
        halves: if guided { 2 } else { 1 },
        batch: b,
        text_max_len: model.cfg_uncond.dims()[0],
        reference: plan.reference(),
        device,
        options,
        sum: None,
        k: 0,
    };
    let positions = text_positions(tokens.dims()[1]);
    run.forward(tokens, &positions, Some(Segment::Text));
    for condition in conditions {
        run.see(condition);
    }
    run
}

/// Rows of `a`, then those of `b`, the shorter tokens filled up with zeros.
fn stack(a: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    let width = a.dims()[1].max(b.dims()[1]);
    let fill = |x: Tensor<3>| {
        let [rows, l, c] = x.dims();
        match l == width {
            true => x,
            false => {
                let zeros = Tensor::zeros([rows, width - l, c], &x.device());
                Tensor::cat(vec![x, zeros], 1)
            }
        }
    };
    Tensor::cat(vec![fill(a), fill(b)], 0)
}

impl Generation<'_> {
    /// The pass that comes next, from 0.
    pub fn position(&self) -> usize {
        self.k
    }

    /// What is kept of the prompt and of earlier clips.
    pub fn context(&self) -> &Context {
        &self.context
    }

    fn see(&mut self, condition: &Condition) {
        let [_, _, t, h, w] = condition.cells.dims();
        let at = self.text_max_len + condition.position;
        let scale = Scale::new(t, h, w);
        let positions = grid_positions(scale, self.reference, &condition.frames, at);
        let x = self.embed(condition.cells.clone());
        self.forward(x, &positions, Some(condition.segment));
    }

    fn embed(&self, cells: Tensor<5>) -> Tensor<3> {
        self.model.embed(cells).repeat_dim(0, self.halves)
    }

    fn forward(&mut self, x: Tensor<3>, at: &[[f32; 4]], keep: Option<Segment>) -> Tensor<3> {
        let rope = self.model.rope(at, &self.device);
        let limits = self.options.limits;
        self.model
            .forward(x, &rope, &mut self.context, keep, limits)
    }

    /// The heads' logits of a pass; none if nobody needs them.
    fn raw_logits(&mut self, pass: Pass, input: &Tensor<5>, forced: bool) -> Option<Tensor<3>> {
        let wanted = !forced || self.options.forced_logits;
        if !wanted && !pass.keep {
            return None;
        }
        let frames: Vec<usize> = (pass.first_frame..pass.first_frame + pass.scale.t).collect();
        let at = self.text_max_len + pass.position;
        let positions = grid_positions(pass.scale, self.reference, &frames, at);
        let x = self.embed(input.clone());
        let x = self.forward(x, &positions, pass.keep.then_some(Segment::Clip));
        wanted.then(|| self.model.logits(x, pass.kind))
    }

    fn input(&self, pass: Pass) -> Tensor<5> {
        match &self.sum {
            Some(sum) => pyramid(&self.full()).input(sum.clone(), pass.scale),
            None => {
                let Scale { t, h, w } = pass.scale;
                Tensor::zeros([self.batch, self.bits.detail, t, h, w], &self.device)
            }
        }
    }

    fn full(&self) -> StarQuantizer {
        self.bits.quantizer(CodeKind::Detail)
    }

    fn step(&mut self, k: usize, pass: Pass) -> GeneratedPass {
        if pass.in_clip == 0 {
            self.sum = None;
        }
        let input = self.input(pass);
        let forced = self.options.forced.get(k).cloned();
        let raw = self.raw_logits(pass, &input, forced.is_some());
        let temperature = self.options.temperature(pass.clip);
        let tempered = raw.clone().map(|raw| raw * temperature.recip());
        let logits = tempered.map(|logits| self.options.guidance.apply(logits));
        let bits = match (forced, &logits) {
            (Some(forced), _) => forced,
            (None, Some(logits)) => {
                let drawn = self.sampler.sample_bits(logits.clone());
                Patching::Single.to_cells(drawn, pass.scale)
            }
            (None, None) => unreachable!("a pass without forced bits has logits"),
        };
        let codes = Codes::Bits(bits);
        let clip = &self.plan.clips()[pass.clip];
        let full = self.full();
        let sum = pyramid(&full).accumulate(self.sum.take(), &codes, pass.in_clip, &clip.schedule);
        self.sum = Some(sum.clone());
        GeneratedPass {
            k,
            pass,
            input,
            raw,
            logits,
            codes,
            features: sum,
            ends_clip: pass.in_clip + 1 == clip.passes.len(),
            kept_tokens: self.context.tokens(),
        }
    }
}

/// The recurrence of a clip: area down, linear up, also for the transformer's input.
pub(crate) fn pyramid(quantizer: &StarQuantizer) -> Pyramid<'_, StarQuantizer> {
    Pyramid {
        input_down: Resize::Area,
        ..Pyramid::plain(quantizer)
    }
}

impl Iterator for Generation<'_> {
    type Item = GeneratedPass;

    fn next(&mut self) -> Option<GeneratedPass> {
        let k = self.k;
        let pass = *self.plan.passes().nth(k)?;
        self.k += 1;
        Some(self.step(k, pass))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.plan.passes().count() - self.k;
        (left, Some(left))
    }
}

/// The bits of the first clips of a plan that write the latent of a given image or video, `[b, c, t, h, w]`: what to put
/// into [`GenerateOptions::forced`]. As many clips are written as the latent has whole ones.
///
/// # Panics
/// If the latent's grid is not the plan's finest, or it does not end with a clip.
pub fn given_bits(plan: &SpacetimePlan, bits: CodeBits, latent: Tensor<5>) -> Vec<Tensor<5, Int>> {
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

/// The recurrence of the first clips of a plan over a latent, `[b, c, t, h, w]`: for every pass `quantize` gets the
/// residual's cells and the sum of the clip's passes before, and returns vectors of the cells' shape. Returns the sums
/// of all clips, one behind the other. As many clips are written as the latent has whole ones.
///
/// # Panics
/// If the latent's grid is not the plan's finest, or it does not end with a clip.
pub fn descend(
    plan: &SpacetimePlan,
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
        let of_clip = pyramid(&full).descend_observed(
            target,
            &clip.schedule,
            |i, cells| quantize(&clip.passes[i], cells, sum.borrow().as_ref()),
            |now| *sum.borrow_mut() = Some(now.clone()),
        );
        sums.push(of_clip);
        from = to;
    }
    assert_eq!(from, frames, "latent frames beyond the plan's");
    Tensor::cat(sums, 2)
}

#[cfg(test)]
mod tests;
