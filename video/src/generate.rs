//! The generation loop, as an iterator of passes, clip after clip.
//!
//! ```text
//! bits_k = sample(transformer(down(f_{k-1})))    f_k = f_{k-1} + up(codes(bits_k))    f = 0 where a clip starts
//! ```
//!
//! `ar_infer_infinity_elegant` and `ar_infer_infinity_star_interact` of `infinity/models/infinity.py`.

use burn::tensor::{Device, Int, Tensor};
use nextscale_bitwise::tokens::Patching;
use nextscale_tokenizer::{Codes, Scale};
use nextscale_var_core::blocks::Transformer as _;
use nextscale_var_core::sample_ranks::SampleRanks;
use nextscale_var_core::sampler::Sampler;
use nextscale_var_core::shortcuts::Shortcuts;

use self::convergence::repeated_share;
use self::input::prompt_tokens;
use crate::{
    clips::{Pass, Plan},
    codes::{CodeBits, CodeKind, InfinityStarQuantizer},
    infinity_star::{InfinityStar, Segment, State, grid_positions, text_positions},
    pyramid::pyramid,
};

mod convergence;
mod input;
mod step;

pub use self::input::{Condition, GenerateInput, GenerateOptions};
pub use self::step::Step;

/// An iterator of passes. Dropping it stops the work.
pub struct Generation<'a> {
    model: &'a InfinityStar,
    plan: Plan,
    bits: CodeBits,
    options: GenerateOptions,
    sampler: Sampler,
    state: State,
    /// Rows of the transformer's batch per video: 2 under guidance.
    rows_per_video: usize,
    batch: usize,
    text_max_len: usize,
    reference: Scale,
    device: Device,
    sum: Option<Tensor<5>>,
    /// The bits of the pass before.
    bits_before: Option<Tensor<5, Int>>,
    /// The clip to which the outputs belong that stand in for tokens that are left out.
    stand_ins_of: Option<usize>,
    /// What other processes do.
    ranks: SampleRanks,
    k: usize,
}

/// Generates one video per prompt, pass by pass. The prompts and then the conditions go through the transformer at once.
///
/// # Panics
/// If shapes do not fit the model, there are more forced passes than passes, or shares of tokens are not those of
/// [`Shortcuts::new`].
pub fn generate<'a>(model: &'a InfinityStar, input: GenerateInput<'_>) -> Generation<'a> {
    generate_on_ranks(model, input, SampleRanks::default())
}

/// As [`generate`], on several processes. Each calls it with the same input, runs all passes, and gets the steps of one process.
///
/// # Panics
/// As [`generate`]; also if the key heads of the model cannot be shared evenly, tokens are shared and some are left out, or the ranks
/// cannot talk any more.
pub fn generate_on_ranks<'a>(
    model: &'a InfinityStar,
    input: GenerateInput<'_>,
    ranks: SampleRanks,
) -> Generation<'a> {
    let GenerateInput {
        plan,
        text,
        negative,
        conditions,
        options,
        sampler,
    } = input;
    let (passes, forced) = (plan.passes().count(), options.forced.len());
    assert!(forced <= passes, "{forced} forced passes of {passes}");
    let guided = options.guidance.is_active();
    let shortcuts = Shortcuts::new(plan.scales(), &options.keep_tokens);
    let mut generation = Generation {
        model,
        plan: plan.clone(),
        bits: CodeBits {
            semantic: model.semantic_head.weight.dims()[1] / 2,
            detail: model.channels(),
        },
        sampler,
        state: State::with_pruner(model.depth(), shortcuts.pruner(model.depth())),
        rows_per_video: if guided && ranks.halves.are_here() {
            2
        } else {
            1
        },
        batch: text.dims()[0],
        text_max_len: model.cfg_uncond.dims()[0],
        reference: plan.reference(),
        device: text.device(),
        options,
        sum: None,
        bits_before: None,
        stand_ins_of: None,
        ranks: ranks.clone(),
        k: 0,
    };
    let pruned = shortcuts != Shortcuts::none(plan.scales());
    assert!(ranks.tokens.is_none() || !pruned, "all tokens are shared");
    generation.state.share(ranks.clone());
    let tokens = prompt_tokens(model, text, negative, guided);
    let tokens = if guided {
        ranks.halves.own(tokens)
    } else {
        tokens
    };
    let positions = text_positions(tokens.dims()[1]);
    generation.forward(tokens, &positions, Some(Segment::Text), None);
    for condition in conditions {
        generation.read_condition(condition);
    }
    generation
}

impl Generation<'_> {
    /// The keys and values kept of the prompt and of earlier clips.
    pub fn state(&self) -> &State {
        &self.state
    }

    fn read_condition(&mut self, condition: Condition) {
        let [_, _, t, h, w] = condition.cells.dims();
        let level = self.text_max_len + condition.position;
        let scale = Scale::new(t, h, w);
        let positions = grid_positions(scale, self.reference, &condition.frames, level);
        let x = self.embed(condition.cells, self.rows_per_video);
        self.forward(x, &positions, Some(condition.segment), None);
    }

    fn embed(&self, cells: Tensor<5>, rows_per_video: usize) -> Tensor<3> {
        self.model.embed(cells).repeat_dim(0, rows_per_video)
    }

    fn forward(
        &mut self,
        x: Tensor<3>,
        positions: &[[f32; 4]],
        keep: Option<Segment>,
        scale: Option<(usize, Scale)>,
    ) -> Tensor<3> {
        let (model, state) = (self.model, &mut self.state);
        let rope = model.rope(positions, &self.device);
        let limits = self.options.limits;
        match scale {
            Some(scale) => model.forward_scale(x, &rope, state, keep, limits, scale),
            None => model.forward(x, &rope, state, keep, limits),
        }
    }

    /// The scale of a pass if its tokens may be left out, or stand in for others: not before there is something that stands in.
    fn pruned_scale(&mut self, pass: Pass) -> Option<(usize, Scale)> {
        if self.state.stands_in(pass.index) {
            self.stand_ins_of = Some(pass.clip);
        }
        (self.stand_ins_of == Some(pass.clip)).then_some((pass.index, pass.scale))
    }

    /// Whether a pass needs all rows of the batch.
    fn needs_all_rows(&self, pass: Pass) -> bool {
        // What stands in for tokens of a pass that is kept has to be there for all of its rows.
        let last = self.plan.clips()[pass.clip].passes.last();
        let for_kept = self.state.stands_in(pass.index) && last.is_some_and(|last| last.keep);
        pass.keep || for_kept || self.options.guides(pass)
    }

    /// The heads' logits of a pass; `None` if they are not needed.
    fn raw_logits(&mut self, pass: Pass, input: &Tensor<5>, forced: bool) -> Option<Tensor<3>> {
        let wanted = !forced || self.options.forced_logits;
        if !wanted && !pass.keep {
            return None;
        }
        let frames: Vec<usize> = (pass.first_frame..pass.first_frame + pass.scale.t).collect();
        let level = self.text_max_len + pass.position;
        let positions = grid_positions(pass.scale, self.reference, &frames, level);
        let (all_rows, scale) = (self.needs_all_rows(pass), self.pruned_scale(pass));
        // The rows of the prompts come first, also in what is kept of earlier clips.
        let rows = if all_rows { self.rows_per_video } else { 1 };
        let keep = pass.keep.then_some(Segment::Clip);
        let halves = self.ranks.halves.clone();
        if all_rows {
            let x = self.embed(input.clone(), rows);
            let x = self.forward(x, &positions, keep, scale);
            return wanted.then(|| halves.join(self.logits(x, pass)));
        }
        let values = 2 * self.bits.of(pass.kind);
        let shape = [self.batch, pass.scale.tokens(), values];
        Some(halves.of_conditional(shape, &self.device.clone(), || {
            let x = self.embed(input.clone(), rows);
            let x = self.forward(x, &positions, keep, scale);
            self.logits(x, pass)
        }))
    }

    /// The logits of all tokens of a pass, from the hidden states of those that are here.
    fn logits(&self, x: Tensor<3>, pass: Pass) -> Tensor<3> {
        let logits = self.model.logits(x, pass.kind);
        match self.ranks.share(pass.scale.tokens()) {
            Some(share) => share.gather(logits),
            None => logits,
        }
    }

    fn input(&self, pass: Pass) -> Tensor<5> {
        match &self.sum {
            Some(sum) => pyramid(&self.detail()).input(sum.clone(), pass.scale),
            None => {
                let Scale { t, h, w } = pass.scale;
                Tensor::zeros([self.batch, self.bits.detail, t, h, w], &self.device)
            }
        }
    }

    fn detail(&self) -> InfinityStarQuantizer {
        self.bits.quantizer(CodeKind::Detail)
    }

    /// The bits of a pass, `[b, d, t, h, w]`.
    fn sample(
        &mut self,
        pass: Pass,
        forced: Option<Tensor<5, Int>>,
        logits: Option<&Tensor<3>>,
    ) -> Tensor<5, Int> {
        forced.unwrap_or_else(|| {
            let logits = logits.expect("logits of a pass without forced bits");
            let sampled = self.sampler.sample_bits(logits.clone());
            Patching::Single.to_cells(sampled, pass.scale)
        })
    }

    /// Whether the passes over the scale of `pass` may end with it, though the plan has more of them.
    fn may_converge(&self, k: usize, pass: &Pass) -> bool {
        let sampled = k >= self.options.forced.len();
        let more = self.plan.clips()[pass.clip].passes_left(pass) > 0;
        self.options.converge.is_some() && sampled && more && pass.repetition > 0
    }

    /// Whether so few bits are those of the pass before that the passes over the scale have converged.
    fn has_converged(&self, bits: &Tensor<5, Int>) -> bool {
        let before = self.bits_before.clone().zip(self.options.converge);
        before.is_some_and(|(before, below)| repeated_share(before, bits.clone()) < below)
    }

    fn step(&mut self, k: usize, mut pass: Pass) -> Step {
        if pass.in_clip == 0 {
            self.sum = None;
        }
        let clip = self.plan.clips()[pass.clip].clone();
        let open = self.may_converge(k, &pass);
        // The next clip attends to the last pass, and this may be it. If it is not, the state is as if it was not kept.
        let before = (open && clip.keeps_scale_of(&pass)).then(|| self.state.clone());
        pass.keep |= before.is_some();
        let input = self.input(pass);
        let forced = self.options.forced.get(k).cloned();
        let raw = self.raw_logits(pass, &input, forced.is_some());
        let logits = raw.clone().map(|raw| self.guided(pass, raw));
        let bits = self.sample(pass, forced, logits.as_ref());
        let converged = open && self.has_converged(&bits);
        if let Some(state) = before.filter(|_| !converged) {
            (self.state, pass.keep) = (state, false);
        }
        self.bits_before = Some(bits.clone());
        let left_out = if converged {
            clip.passes_left(&pass)
        } else {
            0
        };
        let codes = Codes::Bits(bits);
        let (detail, sum) = (self.detail(), self.sum.take());
        let features = pyramid(&detail).accumulate(sum, &codes, pass.in_clip, &clip.schedule);
        self.sum = Some(features.clone());
        Step {
            k,
            pass,
            input,
            raw,
            logits,
            codes,
            features,
            left_out,
            ends_clip: pass.in_clip + 1 + left_out == clip.passes.len(),
            kept_tokens: self.state.tokens(),
        }
    }

    /// Logits of a pass, `[2b or b, l, 2 d]`, after temperature and guidance, `[b, l, 2 d]`.
    fn guided(&self, pass: Pass, raw: Tensor<3>) -> Tensor<3> {
        let logits = raw * self.options.temperature(pass.clip).recip();
        if self.options.guides(pass) {
            self.options.guidance.apply(logits)
        } else {
            logits.slice_dim(0, 0..self.batch)
        }
    }
}

impl Iterator for Generation<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let k = self.k;
        let pass = *self.plan.passes().nth(k)?;
        let step = self.step(k, pass);
        self.k += 1 + step.left_out;
        Some(step)
    }

    /// Passes that may converge before they are run count only for the upper bound.
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = || self.plan.passes().skip(self.k);
        let all = left().count();
        let sure = match self.options.converge {
            Some(_) => left().filter(|pass| pass.repetition < 2).count(),
            None => all,
        };
        (sure, Some(all))
    }
}

#[cfg(test)]
mod tests;
