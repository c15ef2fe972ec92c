//! Teacher forcing and the loss: every pass of a clip at once, each seeing what it will see when it is sampled.
//!
//! ```text
//! loss = sum over passes k, tokens n of w_k CE(star(down(f_{k-1}))_n, bits_kn)
//! ```

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};
use nextscale_bitwise::bsq::{StraightThrough, entropy_shortfall};
use nextscale_bitwise::correction::SelfCorrection;
use nextscale_bitwise::tokens::Patching;
use nextscale_bitwise::train::{BitLoss, loss_per_token, margins};
use nextscale_tokenizer::{Codes, Quantizer as _, Scale};
use nextscale_var_core::train::ScaleWeighting;
use nextscale_var_core::{mask::padding, matmul::Precision};
use rand::Rng;

use crate::{
    clips::{Pass, Plan},
    codes::{CodeBits, CodeKind},
    infinity_star::{AttentionSpan, InfinityStar, grid_positions, text_positions},
    pyramid::{descend, pyramid},
};

/// What teacher forcing needs of a batch of clips.
#[derive(Debug, Clone)]
pub struct TeacherForcing {
    /// The running sum on the grid of each pass, `[b, c, t, h, w]`.
    pub inputs: Vec<Tensor<5>>,
    /// The bits to predict in each pass, `[b, l, d]`.
    pub bits: Vec<Tensor<3, Int>>,
}

impl TeacherForcing {
    /// Writes the latents of whole videos, `[b, c, t, h, w]`, as the codes of all passes of `plan`. With a generator
    /// some of the bits that go into the sum are flipped, and later passes are asked to repair it.
    ///
    /// # Panics
    /// If the latent is not that of the whole plan.
    pub fn new(
        plan: &Plan,
        bits: CodeBits,
        latent: Tensor<5>,
        mut correction: Option<(SelfCorrection, &mut impl Rng)>,
    ) -> Self {
        assert_eq!(plan.frames(), latent.dims()[2], "latent frames of the plan");
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

/// Which passes are trained, and how they hang together.
#[derive(Debug, Clone)]
pub struct TeacherForcingPlan {
    passes: Vec<Pass>,
    reference: Scale,
    /// Numbers of the passes that go through the transformer, in the plan.
    taken: Vec<usize>,
    /// Whether each of them counts.
    counts: Vec<bool>,
    /// The weight of every token that counts, `[1, l]`; they sum to 1.
    weights: Tensor<2>,
}

impl TeacherForcingPlan {
    /// All passes of `plan`, or, without `image`, those of the clips behind the first one: then the first clip is given.
    ///
    /// # Panics
    /// If nothing is left to train.
    pub fn new(plan: &Plan, image: bool, weighting: ScaleWeighting, device: &Device) -> Self {
        let passes: Vec<Pass> = plan.passes().copied().collect();
        let counted = |pass: &Pass| image || pass.clip > 0;
        let taken = (0..passes.len()).filter(|&i| passes[i].keep || counted(&passes[i]));
        let taken: Vec<usize> = taken.collect();
        let counts: Vec<bool> = taken.iter().map(|&i| counted(&passes[i])).collect();
        let counted: Vec<&Pass> = passes.iter().filter(|pass| counted(pass)).collect();
        assert!(
            !counted.is_empty(),
            "a video of an image alone has no clip to train"
        );
        let finest = plan.reference().tokens() as f64;
        let weight = |pass: &Pass| match weighting {
            ScaleWeighting::Uniform => 1.0,
            ScaleWeighting::Area => (finest / (pass.scale.h * pass.scale.w) as f64).sqrt(),
        };
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
}

/// The loss of a batch under teacher forcing.
///
/// `text`, `[b, L, T]`, are the features of the prompts, of which the first `lens` tokens count; matrix products of the blocks run in `precision`.
///
/// # Panics
/// If the shapes do not fit the lesson.
pub fn loss(
    model: &InfinityStar,
    forcing: &TeacherForcing,
    text: Tensor<3>,
    lens: &[usize],
    lesson: &TeacherForcingPlan,
    precision: Precision,
) -> BitLoss {
    let [b, text_len, _] = text.dims();
    let device = text.device();
    let mut tokens = vec![model.text_tokens(text)];
    let mut positions = text_positions(text_len);
    let mut ends = vec![text_len];
    let [text_max_len, _] = model.cfg_uncond.dims();
    for &i in &lesson.taken {
        let pass = &lesson.passes[i];
        let frames: Vec<usize> = (pass.first_frame..pass.first_frame + pass.scale.t).collect();
        let at = text_max_len + pass.position;
        positions.extend(grid_positions(pass.scale, lesson.reference, &frames, at));
        tokens.push(model.embed(forcing.inputs[i].clone()));
        ends.push(positions.len());
    }
    let seen = lesson.seen(&ends);
    let hidden = padding(lens, text_len, &device);
    let x = Tensor::cat(tokens, 1);
    let rope = model.rope(&positions, &device);
    let x = model.forward_teacher_forced(x, &rope, &seen, hidden.as_ref(), precision);
    let (mut losses, mut right) = (Vec::new(), Vec::new());
    for (n, &i) in lesson.taken.iter().enumerate() {
        if !lesson.counts[n] {
            continue;
        }
        let of_pass = x.clone().slice_dim(1, ends[n]..ends[n + 1]);
        let margins = margins(model.logits(of_pass, lesson.passes[i].kind));
        let bits = forcing.bits[i].clone();
        let [_, l, d] = bits.dims();
        let guessed = margins.clone().detach().greater_scalar(0.0).int();
        let share = guessed.equal(bits.clone()).float().sum_dim(2) / d as f64;
        right.push(share.reshape([b, l]));
        losses.push(loss_per_token(margins, bits));
    }
    let per_token = Tensor::cat(losses, 1);
    BitLoss {
        loss: (per_token.clone() * lesson.weights.clone()).sum() / b as f64,
        per_token: per_token.detach(),
        right: Tensor::cat(right, 1),
    }
}

impl TeacherForcingPlan {
    /// For the text and every pass: its tokens, and the tokens that it sees besides text and itself.
    fn seen(&self, ends: &[usize]) -> Vec<AttentionSpan> {
        let stretch = |n: usize| -> Range<usize> { ends[n]..ends[n + 1] };
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
                own: stretch(n),
                before: (0..n).find(kept).map(stretch),
                text: true,
            });
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;
    use nextscale_var_core::sampler::Sampler;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::{
        clips::Layout,
        generate::{GenerateInput, GenerateOptions, generate},
        guidance::InfinityStarGuidance,
        infinity_star::tiny,
        pyramid::given_bits,
    };

    fn plan() -> Plan {
        let layout = Layout {
            image_repeats: vec![1, 2],
            clip_repeats: vec![2, 1],
            semantic_scales: 1,
            clip_frames: 2,
        };
        Plan::new(&layout, &[[1, 1], [2, 2]], 4).unwrap()
    }

    /// What is taught is what sampling does: teacher-forced losses are those of the logits of a run.
    #[test]
    fn taught_and_stepwise_logits_agree() {
        let device = Device::flex();
        let (config, plan) = (tiny(), plan());
        let model = config.init(&device);
        let latent = Tensor::random([1, 8, 4, 2, 2], Distribution::Normal(0.0, 0.3), &device);
        let text = Tensor::random([1, 5, 6], Distribution::Normal(0.0, 1.0), &device);
        let forced = given_bits(&plan, config.bits, latent.clone());
        let options = GenerateOptions {
            forced,
            forced_logits: true,
            ..GenerateOptions::new(InfinityStarGuidance::Cfg { scale: 1.0 }, 1.0, 1.0)
        };
        let input = GenerateInput {
            plan: &plan,
            text: text.clone(),
            negative: None,
            conditions: Vec::new(),
            options,
            sampler: Sampler::greedy(),
        };
        let run = generate(&model, input);
        let none: Option<(SelfCorrection, &mut ChaCha8Rng)> = None;
        let forcing = TeacherForcing::new(&plan, config.bits, latent, none);
        let stepwise: Vec<Tensor<2>> = run
            .enumerate()
            .map(|(i, pass)| {
                let off = (pass.input - forcing.inputs[i].clone()).abs().max();
                assert!(off.into_scalar::<f32>() < 1e-6, "input of pass {i}");
                loss_per_token(margins(pass.raw.expect("logits")), forcing.bits[i].clone())
            })
            .collect();
        let stepwise = Tensor::cat(stepwise, 1);
        // The prompt is padded, which must not be seen.
        let padded = Tensor::cat(vec![text, Tensor::ones([1, 2, 6], &device)], 1);
        let lesson = TeacherForcingPlan::new(&plan, true, ScaleWeighting::Uniform, &device);
        let taught = loss(
            &model,
            &forcing,
            padded.clone(),
            &[5],
            &lesson,
            Precision::F32,
        );
        let off: f32 = (taught.per_token - stepwise.clone())
            .abs()
            .max()
            .into_scalar();
        assert!(off < 1e-5, "{off}");

        let clips = TeacherForcingPlan::new(&plan, false, ScaleWeighting::Area, &device);
        let taught = loss(&model, &forcing, padded, &[5], &clips, Precision::F32).per_token;
        let image = 1 + 2 * 4;
        let [_, l] = stepwise.dims();
        let off: f32 = (taught - stepwise.slice_dim(1, image..l))
            .abs()
            .max()
            .into_scalar();
        assert!(off < 1e-5, "{off}");
        let sum: f32 = clips.weights.sum().into_scalar();
        assert!((sum - 1.0).abs() < 1e-5);
    }

    #[test]
    fn gradients_reach_all_parts() {
        let device = Device::flex().autodiff();
        let (config, plan) = (tiny(), plan());
        let model = config.init(&device);
        let latent = Tensor::random([2, 8, 4, 2, 2], Distribution::Normal(0.0, 0.3), &device);
        let mut rng = <ChaCha8Rng as rand::SeedableRng>::seed_from_u64(1);
        let forcing = TeacherForcing::new(
            &plan,
            config.bits,
            latent,
            Some((SelfCorrection::default(), &mut rng)),
        );
        let text = Tensor::random([2, 3, 6], Distribution::Normal(0.0, 1.0), &device);
        let lesson = TeacherForcingPlan::new(&plan, true, ScaleWeighting::Area, &device);
        let loss = loss(&model, &forcing, text, &[3, 2], &lesson, Precision::F32);
        let grads = loss.loss.backward();
        for weight in [
            &model.text_proj.weight,
            &model.semantic_head.weight,
            &model.blocks[0].attention.k.weight,
            &model.blocks[1].mlp.down.weight,
        ] {
            let grad = weight.grad(&grads).expect("a gradient");
            assert!(grad.abs().sum().into_scalar::<f32>() > 0.0);
        }
    }
}
