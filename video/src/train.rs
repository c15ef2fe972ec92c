//! Teacher forcing and the loss: all passes of a video at once, each attending to what it attends to in generation.
//!
//! ```text
//! loss = sum over passes k, tokens n of w_k CE(transformer(down(f_{k-1}))_n, bits_kn)
//! ```

use std::cell::OnceCell;
use std::ops::Range;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use nextscale_bitwise::correction::SelfCorrection;
use nextscale_bitwise::tokens::Patching;
use nextscale_bitwise::train::{BitLoss, loss_per_token, margins, right_per_token};
use nextscale_tokenizer::{Codes, Quantizer as _, Scale};
use nextscale_var_core::blocks::Transformer;
use nextscale_var_core::train::{Activations, Chain, Loss, ScaleWeighting, Trained};
use nextscale_var_core::{mask::padding, matmul::Precision, rope::RopeTable};
use rand::Rng;

use crate::{
    clips::{Pass, Plan},
    codes::{CodeBits, CodeKind},
    infinity_star::{
        AttentionSpan, InfinityStar, TeacherPass, check, grid_positions, text_positions,
    },
    pyramid::{descend, pyramid},
};

/// Inputs and labels of a batch of videos under teacher forcing.
#[derive(Debug, Clone)]
pub struct TeacherForcing {
    /// The running sum on the grid of each pass, `[b, c, t, h, w]`.
    pub inputs: Vec<Tensor<5>>,
    /// The bits to predict in each pass, `[b, l, d]`.
    pub bits: Vec<Tensor<3, Int>>,
}

impl TeacherForcing {
    /// Encodes the latents of whole videos, `[b, c, t, h, w]`, as the codes of all passes of `plan`. With `correction`, some
    /// of the bits that enter the running sum are flipped, and the labels of later passes correct them.
    ///
    /// # Panics
    /// If the latent does not have the frames of the whole plan.
    pub fn new(
        plan: &Plan,
        bits: CodeBits,
        latent: Tensor<5>,
        mut correction: Option<(SelfCorrection, &mut impl Rng)>,
    ) -> Self {
        assert_eq!(
            plan.frames(),
            latent.dims()[2],
            "latent frames differ from the plan's"
        );
        let full = bits.quantizer(CodeKind::Detail);
        let mut forcing = Self {
            inputs: Vec::new(),
            bits: Vec::new(),
        };
        descend(plan, bits, latent, |pass, cells, sum| {
            let [b, _, t, h, w] = cells.dims();
            let input = match sum {
                Some(sum) => pyramid(&full).input(sum.clone(), pass.scale),
                None => Tensor::zeros([b, bits.detail, t, h, w], &cells.device()),
            };
            let codes = bits.quantizer(pass.kind).quantize(cells);
            let used = match &mut correction {
                Some((correction, rng)) => correction.disturb(pass.index, &codes, *rng),
                None => codes.clone(),
            };
            let Codes::Bits(labels) = codes else {
                unreachable!("signs are bits")
            };
            forcing.inputs.push(input);
            forcing.bits.push(Patching::Single.to_tokens(labels));
            full.embed(&used)
        });
        forcing
    }
}

/// The passes that are trained, and the tokens to which each attends.
#[derive(Debug, Clone)]
pub struct TeacherForcingPlan {
    passes: Vec<Pass>,
    reference: Scale,
    /// Indices into `passes` of those that go through the transformer.
    taken: Vec<usize>,
    /// Whether each of them counts in the loss.
    counts: Vec<bool>,
    /// The weights of the tokens that count, `[1, l]` or a row for each video; each row sums to 1.
    weights: Tensor<2>,
}

impl TeacherForcingPlan {
    /// All passes of `plan`; without `image`, those of the clips after the first one, which is then given.
    ///
    /// # Panics
    /// If no pass is left to train.
    pub fn new(plan: &Plan, image: bool, weighting: ScaleWeighting, device: &Device) -> Self {
        let passes: Vec<Pass> = plan.passes().copied().collect();
        let counted = |pass: &Pass| image || pass.clip > 0;
        let taken = (0..passes.len()).filter(|&i| passes[i].keep || counted(&passes[i]));
        let taken: Vec<usize> = taken.collect();
        let counts: Vec<bool> = taken.iter().map(|&i| counted(&passes[i])).collect();
        let counted: Vec<&Pass> = passes.iter().filter(|pass| counted(pass)).collect();
        assert!(
            !counted.is_empty(),
            "without its image, a video of one frame has no clip to train"
        );
        let finest = plan.reference().tokens() as f64;
        let weight = |pass: &Pass| weighting.of(finest / (pass.scale.h * pass.scale.w) as f64);
        let all: Vec<f64> = counted
            .iter()
            .flat_map(|pass| std::iter::repeat_n(weight(pass), pass.scale.tokens()))
            .collect();
        let total: f64 = all.iter().sum();
        let all: Vec<f32> = all.iter().map(|w| (w / total) as f32).collect();
        let l = all.len();
        Self {
            reference: plan.reference(),
            taken,
            counts,
            weights: Tensor::from_data(TensorData::new(all, [1, l]), device),
            passes,
        }
    }

    /// The same for a batch of videos, of which the first frame and so many clips after it are given: nothing of these counts in the
    /// loss of those videos that have some given clips. The others are as before.
    ///
    /// # Panics
    /// If a video has no other clip.
    #[must_use]
    pub fn with_given(&self, given: &[usize]) -> Self {
        if given.iter().all(|&clips| clips == 0) {
            return self.clone();
        }
        let counted = self.taken.iter().zip(&self.counts);
        let counted = counted.filter(|(_, counts)| **counts);
        let clips: Vec<usize> = counted
            .flat_map(|(&i, _)| {
                let pass = &self.passes[i];
                std::iter::repeat_n(pass.clip, pass.scale.tokens())
            })
            .collect();
        let last = clips.iter().max().copied().unwrap_or(0);
        assert!(
            given.iter().all(|&clips| clips < last),
            "all {last} clips are given"
        );
        let weights: Vec<f32> = self.weights.to_data().iter().collect();
        let rows = given.iter().flat_map(|&given| {
            let counts = |clip: usize| given == 0 || clip > given;
            let row: Vec<f32> = weights
                .iter()
                .zip(&clips)
                .map(|(&weight, &clip)| if counts(clip) { weight } else { 0.0 })
                .collect();
            let sum: f32 = row.iter().sum();
            row.into_iter().map(move |weight| weight / sum)
        });
        let rows = TensorData::new(rows.collect::<Vec<f32>>(), [given.len(), clips.len()]);
        Self {
            weights: Tensor::from_data(rows, &self.weights.device()),
            ..self.clone()
        }
    }
}

/// The loss of a batch under teacher forcing.
///
/// `text`, `[b, L, T]`, are the text features of the prompts, of which the first `lens` tokens count. Matrix products of
/// the blocks with f32 weights run in `precision`.
///
/// # Panics
/// If the shapes do not fit the plan.
pub fn loss(
    model: &InfinityStar,
    forcing: &TeacherForcing,
    text: Tensor<3>,
    lens: &[usize],
    plan: &TeacherForcingPlan,
    precision: Precision,
) -> BitLoss {
    let layout = Layout::new(plan, model, &text, lens);
    let x = plan.tokens(model, forcing, text);
    let (rope, spans, hidden) = (&layout.rope, &layout.spans, layout.hidden.as_ref());
    let x = model.forward_teacher_forced(x, rope, spans, hidden, precision);
    plan.bit_loss(model, x, forcing, &layout.ends)
}

impl TeacherForcingPlan {
    /// Where the tokens of each pass that counts begin, and where the last ones end.
    pub fn offsets(&self) -> Vec<usize> {
        let mut offsets = vec![0];
        let counted = self
            .taken
            .iter()
            .zip(&self.counts)
            .filter(|(_, counts)| **counts);
        for (&i, _) in counted {
            offsets.push(offsets[offsets.len() - 1] + self.passes[i].scale.tokens());
        }
        offsets
    }

    /// The loss of the last block's output, `[b, l, C]`.
    fn bit_loss(
        &self,
        model: &InfinityStar,
        x: Tensor<3>,
        forcing: &TeacherForcing,
        ends: &[usize],
    ) -> BitLoss {
        let (mut losses, mut right) = (Vec::new(), Vec::new());
        let counted = self.taken.iter().enumerate();
        for (n, &i) in counted.filter(|(n, _)| self.counts[*n]) {
            let states = x.clone().slice_dim(1, ends[n]..ends[n + 1]);
            let margins = margins(model.logits(states, self.passes[i].kind));
            let bits = forcing.bits[i].clone();
            right.push(right_per_token(margins.clone(), bits.clone()));
            losses.push(loss_per_token(margins, bits));
        }
        BitLoss::of_tokens(Tensor::cat(losses, 1), Tensor::cat(right, 1), &self.weights)
    }

    /// The tokens before the first block, `[b, l, C]`.
    fn tokens(&self, model: &InfinityStar, forcing: &TeacherForcing, text: Tensor<3>) -> Tensor<3> {
        let mut tokens = vec![model.text_tokens(text)];
        let inputs = self.taken.iter().map(|&i| forcing.inputs[i].clone());
        tokens.extend(inputs.map(|input| model.embed(input)));
        Tensor::cat(tokens, 1)
    }

    /// The position of each token, and where the text and each pass end.
    fn places(&self, text_len: usize, text_max_len: usize) -> (Vec<[f32; 4]>, Vec<usize>) {
        let mut positions = text_positions(text_len);
        let mut ends = vec![text_len];
        for &i in &self.taken {
            let pass = &self.passes[i];
            let frames: Vec<usize> = (pass.first_frame..pass.first_frame + pass.scale.t).collect();
            let level = text_max_len + pass.position;
            positions.extend(grid_positions(pass.scale, self.reference, &frames, level));
            ends.push(positions.len());
        }
        (positions, ends)
    }

    /// The spans of the text and of each pass, given where each of them ends.
    fn spans(&self, ends: &[usize]) -> Vec<AttentionSpan> {
        let span = |n: usize| -> Range<usize> { ends[n]..ends[n + 1] };
        let mut all = vec![AttentionSpan {
            own: 0..ends[0],
            before: None,
            text: false,
        }];
        for (n, &i) in self.taken.iter().enumerate() {
            let clip = self.passes[i].clip;
            let kept = |&m: &usize| {
                let pass = &self.passes[self.taken[m]];
                pass.keep && pass.clip + 1 == clip
            };
            all.push(AttentionSpan {
                own: span(n),
                before: (0..n).find(kept).map(span),
                text: true,
            });
        }
        all
    }
}

/// A batch of videos as a chain of blocks, whose gradients are computed block by block.
pub struct InfinityStarChain<'a, V> {
    /// The weights.
    pub weights: &'a V,
    /// The videos.
    pub forcing: &'a TeacherForcing,
    /// Text features of the prompts, `[b, L, T]`; the caller has replaced those that are dropped.
    pub text: Tensor<3>,
    /// Tokens of each prompt.
    pub lens: &'a [usize],
    /// As for [`loss`].
    pub plan: &'a TeacherForcingPlan,
    /// As for [`loss`].
    pub precision: Precision,
    /// What follows from the plan and the length of the text alone.
    layout: Layout,
    /// Filled by the end of the chain: how well the bits of each token were predicted, `[b, l]`.
    pub right: OnceCell<Tensor<2>>,
}

/// Where the tokens of a batch are, and what they attend to.
struct Layout {
    rope: RopeTable,
    ends: Vec<usize>,
    spans: Vec<AttentionSpan>,
    hidden: Option<Tensor<4, Bool>>,
}

impl Layout {
    /// That of a batch with the text features `text`, `[b, L, T]`, of which the first `lens` tokens count.
    fn new(
        plan: &TeacherForcingPlan,
        model: &InfinityStar,
        text: &Tensor<3>,
        lens: &[usize],
    ) -> Self {
        let ([_, text_len, _], device) = (text.dims(), text.device());
        let (positions, ends) = plan.places(text_len, model.cfg_uncond.dims()[0]);
        let spans = plan.spans(&ends);
        check(&spans, positions.len());
        Self {
            rope: model.rope(&positions, &device),
            spans,
            hidden: padding(lens, text_len, &device),
            ends,
        }
    }
}

impl<'a, V: Trained<InfinityStar>> InfinityStarChain<'a, V> {
    /// The chain of a batch; the arguments are those of [`loss`].
    pub fn new(
        weights: &'a V,
        model: &V::Model,
        forcing: &'a TeacherForcing,
        (text, lens): (Tensor<3>, &'a [usize]),
        plan: &'a TeacherForcingPlan,
        precision: Precision,
    ) -> Self {
        Self {
            layout: Layout::new(plan, weights.top(model), &text, lens),
            weights,
            forcing,
            text,
            lens,
            plan,
            precision,
            right: OnceCell::new(),
        }
    }

    /// The loss without autodiff, for weights that have none.
    pub fn loss(&self, model: &V::Model) -> BitLoss {
        let Activations { x, .. } = self.forward(model, false);
        let top = self.weights.top(model);
        self.plan.bit_loss(top, x, self.forcing, &self.layout.ends)
    }
}

impl<V: Trained<InfinityStar>> Chain for InfinityStarChain<'_, V> {
    type Model = V::Model;

    fn depth(&self, model: &V::Model) -> usize {
        self.weights.top(model).depth()
    }

    fn start(&self, model: &V::Model) -> Activations {
        let top = self.weights.top(model);
        Activations {
            x: self.plan.tokens(top, self.forcing, self.text.clone()),
            shared: Vec::new(),
        }
    }

    fn block(
        &self,
        model: &V::Model,
        i: usize,
        x: Tensor<3>,
        _: &[Tensor<3>],
        recorded: bool,
    ) -> Tensor<3> {
        let pass = TeacherPass {
            rope: &self.layout.rope,
            spans: &self.layout.spans,
            hidden: self.layout.hidden.as_ref(),
            precision: self.precision,
        };
        pass.block(&self.weights.block(model, i, recorded), x)
    }

    fn end(&self, model: &V::Model, x: Tensor<3>, _: &[Tensor<3>]) -> Loss {
        let top = self.weights.top(model);
        let bits = self.plan.bit_loss(top, x, self.forcing, &self.layout.ends);
        let mean = bits.right.clone().mean();
        self.right.get_or_init(|| bits.right);
        Loss {
            total: bits.loss,
            parts: vec![("right", mean)],
            examples: self.lens.len(),
        }
    }

    fn trains_start(&self) -> bool {
        self.weights.trains_top()
    }
}

#[cfg(test)]
mod tests;
