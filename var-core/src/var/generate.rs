//! Generation: an iterator of scales.

use burn::tensor::{Int, Tensor};
use nextscale_tokenizer::{
    Codes, InpaintMask, Quantizer, Scale,
    pyramid::{Pyramid, Refine},
};

use super::model::Var;
use super::plan::Plan;
use super::state::State;
use crate::guidance::{Guidance, mix};
use crate::sample_ranks::SampleRanks;
use crate::sampler::Sampler;

/// Settings that act scale by scale.
#[derive(Debug, Clone)]
pub struct GenerateOptions {
    /// Guidance on the logits, with one weight per scale; the released models use [`Guidance::ramp`].
    pub guidance: Guidance,
    /// Whether the vectors of a scale are blended from all codes instead of sampled: smoother images, for show only
    /// (`more_smooth` of the reference).
    pub smooth: bool,
    /// Codes of the first scales, `[b, t, h, w]`, used instead of sampled ones.
    pub forced: Vec<Tensor<4, Int>>,
    /// An image of which a part is kept: zero-shot inpainting.
    pub keep: Option<InpaintMask>,
}

impl GenerateOptions {
    /// The reference's guidance ramp up to `cfg`, over `scales` scales.
    pub fn ramp(cfg: f64, scales: usize) -> Self {
        Self {
            guidance: Guidance::ramp(cfg, scales),
            smooth: false,
            forced: Vec::new(),
            keep: None,
        }
    }
}

/// One finished scale.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its index, from 0.
    pub k: usize,
    /// Its grid.
    pub scale: Scale,
    /// Logits of every row before guidance, `[b or 2 b, n, V]`: conditional rows first, and alone once no later scale is guided.
    pub unguided: Tensor<3>,
    /// Logits after guidance, `[b, n, V]`.
    pub logits: Tensor<3>,
    /// The codes, sampled or forced.
    pub codes: Codes,
    /// The running feature map including this scale, at full size, `[b, c, t, h, w]`: decode it for a preview or, after
    /// the last scale, for the image.
    pub features: Tensor<5>,
    /// The next scale's input, `[b, n', c]`, if a next scale is run.
    pub next_input: Option<Tensor<3>>,
}

/// An iterator of the scales that the plan runs. Dropping it stops the work.
///
/// Once no later scale is guided, the unconditional half of the batch is dropped.
pub struct Generation<'a, Q: ?Sized, R: ?Sized> {
    model: &'a Var,
    pyramid: Pyramid<'a, Q, R>,
    plan: Plan,
    options: GenerateOptions,
    sampler: Sampler,
    state: State,
    features: Option<Tensor<5>>,
    input: Option<Tensor<3>>,
    batch: usize,
    /// Scales, from the first, that need the unconditional half of the batch.
    guided: usize,
    /// What other processes do.
    ranks: SampleRanks,
    k: usize,
}

/// What [`generate`] generates from.
pub struct GenerateInput<'a, 'b, Q: ?Sized, R: ?Sized> {
    /// The tokenizer's residual pyramid.
    pub pyramid: Pyramid<'a, Q, R>,
    /// A stepwise plan of the model's schedule.
    pub plan: &'b Plan,
    /// One class per image.
    pub labels: &'b [usize],
    /// Settings that act scale by scale.
    pub options: GenerateOptions,
    /// Samples the codes. It needs one seed per image unless it is greedy.
    pub sampler: Sampler,
}

/// Generates one image per label, scale by scale.
///
/// # Panics
/// If a label is not a class, the guidance does not have one weight per scale, there are more forced scales than
/// scales, or the latent has another number of channels than the model.
pub fn generate<'a, Q: Quantizer + ?Sized, R: Refine + ?Sized>(
    model: &'a Var,
    input: GenerateInput<'a, '_, Q, R>,
) -> Generation<'a, Q, R> {
    generate_on_ranks(model, input, SampleRanks::default())
}

/// As [`generate`], on several processes. Each calls it with the same input, runs all scales, and gets the steps of one process.
///
/// # Panics
/// As [`generate`]; also if the heads of the model cannot be shared evenly, tokens are shared together with shortcuts, or the ranks
/// cannot talk any more.
pub fn generate_on_ranks<'a, Q: Quantizer + ?Sized, R: Refine + ?Sized>(
    model: &'a Var,
    input: GenerateInput<'a, '_, Q, R>,
    ranks: SampleRanks,
) -> Generation<'a, Q, R> {
    let GenerateInput {
        pyramid,
        plan,
        labels,
        options,
        sampler,
    } = input;
    let scales = plan.schedule().len();
    options.guidance.check_scales(scales, options.forced.len());
    let channels = model.word_embed.weight.dims()[0];
    assert_eq!(pyramid.quantizer.dim(), channels, "channels of the latent");
    let run = plan.shortcuts().scales();
    let guided = options.guidance.guided_scales(run);
    let halves = &ranks.halves;
    let unguided = vec![model.classes(); labels.len()];
    let rows = match guided {
        0 => labels.to_vec(),
        _ if halves.are_here() => [labels, &unguided].concat(),
        _ if halves.has_conditional() => labels.to_vec(),
        _ => unguided,
    };
    let mut state = model.start(&rows, plan);
    if 0 < guided && guided < run && (halves.are_here() || !halves.has_conditional()) {
        state.reserve(plan, guided);
    }
    assert!(
        ranks.tokens.is_none() || plan.is_plain(),
        "all tokens are shared, without shortcuts"
    );
    state.share(ranks.clone());
    Generation {
        model,
        pyramid,
        state,
        guided,
        plan: plan.clone(),
        options,
        sampler,
        features: None,
        input: None,
        batch: labels.len(),
        ranks,
        k: 0,
    }
}

impl<Q: Quantizer + ?Sized, R: Refine + ?Sized> Generation<'_, Q, R> {
    /// The same, with how selective the attention of each block is measured: to be called before the first scale.
    #[must_use]
    pub fn measuring(mut self) -> Self {
        self.state.measure();
        self
    }

    /// What [`Generation::measuring`] has measured so far, as [`KvCache::selectivity`](crate::cache::KvCache::selectivity) says.
    pub fn selectivity(&self) -> Option<&[Vec<f64>]> {
        self.state.cache().selectivity()
    }

    /// Replaces the sampler from the next scale on: for variations that share their first scales.
    pub fn set_sampler(&mut self, sampler: Sampler) {
        self.sampler = sampler;
    }

    /// Logits of every row of scale `k` before guidance.
    fn unguided(&mut self, k: usize, scale: Scale) -> Tensor<3> {
        let input = self.input.take();
        let (state, plan, model) = (&mut self.state, &self.plan, self.model);
        let halves = &self.ranks.halves;
        if k < self.guided {
            return halves.join(model.forward_scale(k, input, state, plan));
        }
        if k == self.guided && k > 0 && halves.are_here() {
            state.keep_rows(self.batch, plan);
        }
        let shape = [self.batch, scale.tokens(), model.head.weight.dims()[1]];
        halves.of_conditional(shape, &model.pos.device(), || {
            model.forward_scale(k, input, state, plan)
        })
    }

    fn guided(&self, k: usize, logits: Tensor<3>) -> Tensor<3> {
        if k >= self.guided {
            return logits;
        }
        if self.options.guidance.on_logits(k) {
            mix(logits, self.options.guidance.weight(k))
        } else {
            logits.slice_dim(0, 0..self.batch)
        }
    }

    /// The codes of scale `k`, and the vectors that they stand for, `[b, c, t, h, w]`.
    fn sample(&mut self, k: usize, scale: Scale, logits: &Tensor<3>) -> (Codes, Tensor<5>) {
        let Scale { t, h, w } = scale;
        let quantizer = self.pyramid.quantizer;
        if let Some(forced) = self.options.forced.get(k) {
            let codes = Codes::Indices(forced.clone());
            let vectors = quantizer.embed(&codes);
            return (codes, vectors);
        }
        let sampled = self.sampler.sample(logits.clone());
        let sampled = Codes::Indices(sampled.reshape([self.batch, t, h, w]));
        let codes = match &self.options.keep {
            Some(keep) => keep.merge(&self.pyramid, self.features.as_ref(), sampled),
            None => sampled,
        };
        let vectors = quantizer.embed(&codes);
        if !self.options.smooth || self.sampler.is_greedy() {
            return (codes, vectors);
        }
        let last = self.plan.schedule().len().saturating_sub(1).max(1);
        let weights = self.sampler.soften(logits.clone(), k as f64 / last as f64);
        let blended = quantizer.blend(weights, scale);
        let vectors = match (blended, &self.options.keep) {
            (None, _) => vectors,
            (Some(blended), None) => blended,
            (Some(blended), Some(keep)) => {
                let mask = keep.mask(scale).expand(vectors.dims());
                blended.mask_where(mask, vectors)
            }
        };
        (codes, vectors)
    }

    fn step(&mut self, k: usize, scale: Scale) -> Step {
        let unguided = self.unguided(k, scale);
        let logits = self.guided(k, unguided.clone());
        let (codes, vectors) = self.sample(k, scale, &logits);
        let (sum, schedule) = (self.features.take(), self.plan.schedule());
        let features = self.pyramid.accumulate_embedded(sum, vectors, k, schedule);
        let next = schedule.scales().get(k + 1);
        let next = next.filter(|_| k + 1 < self.plan.shortcuts().scales());
        let next_input = next.map(|&next| {
            let cells = self.pyramid.input(features.clone(), next);
            let [b, c, t, h, w] = cells.dims();
            cells.reshape([b, c, t * h * w]).swap_dims(1, 2)
        });
        self.features = Some(features.clone());
        self.input = next_input.clone();
        Step {
            k,
            scale,
            unguided,
            logits,
            codes,
            features,
            next_input,
        }
    }
}

impl<Q: Quantizer + ?Sized, R: Refine + ?Sized> Iterator for Generation<'_, Q, R> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let k = self.k;
        let run = self.plan.shortcuts().scales();
        let scale = *self.plan.schedule().scales()[..run].get(k)?;
        self.k += 1;
        Some(self.step(k, scale))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.plan.shortcuts().scales() - self.k;
        (left, Some(left))
    }
}
