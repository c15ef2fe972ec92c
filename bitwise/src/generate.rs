//! The generation loop, as an iterator of scales.
//!
//! ```text
//! bits_k = sample(transformer(x_k))   f_k = f_{k-1} + up(codes(bits_k))   x_{k+1} = down(f_k)
//! ```

use burn::tensor::{Int, Tensor};
use nextscale_tokenizer::{
    Codes, InpaintMask, Quantizer, Scale, ScaleSchedule,
    pyramid::{Plain, Pyramid},
};
use nextscale_var_core::{
    guidance::{Guidance, Halves},
    sampler::Sampler,
};

#[cfg(feature = "cuda")]
use crate::infinity::{Graphs, Lease};
use crate::infinity::{Infinity, Plan, State, TextCondition};
use crate::tokens::Patching;
use nextscale_var_core::sample_ranks::SampleRanks;

/// Settings that act scale by scale.
#[derive(Debug, Clone)]
pub struct GenerateOptions {
    /// Guidance, with one weight per scale.
    pub guidance: Guidance,
    /// The temperature of each scale, which divides its logits; above 0. The released 2B settings use 0.5.
    pub temperature: Vec<f64>,
    /// Bits of the first scales, `[b, d, t, h, w]` on the tokenizer's grids, used instead of sampled ones: for variations
    /// of an image that keep its coarse scales.
    pub forced: Vec<Tensor<5, Int>>,
    /// An image of which a part is kept: zero-shot inpainting.
    pub keep: Option<InpaintMask>,
}

impl GenerateOptions {
    /// The same guidance weight and temperature at each of `scales` scales.
    pub fn constant(cfg: f64, temperature: f64, scales: usize) -> Self {
        Self {
            guidance: Guidance::constant(cfg, scales),
            temperature: vec![temperature; scales],
            forced: Vec::new(),
            keep: None,
        }
    }
}

/// What [`generate`] generates from.
pub struct GenerateInput<'a, 'b, Q: ?Sized> {
    /// The tokenizer's quantiser.
    pub quantizer: &'a Q,
    /// A stepwise plan.
    pub plan: &'b Plan,
    /// How cells of the tokenizer map to tokens.
    pub patching: Patching,
    /// The prompts, one per image.
    pub text: TextCondition,
    /// Prompts to steer away from, as many as in `text`. Without them, guidance uses the model's unconditional prompt.
    pub negative: Option<TextCondition>,
    /// Settings that act scale by scale.
    pub options: GenerateOptions,
    /// Samples the bits. It needs one seed per image unless it is greedy.
    pub sampler: Sampler,
}

/// A finished scale.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its index, from 0.
    pub k: usize,
    /// The transformer's grid.
    pub scale: Scale,
    /// Logits after guidance and temperature, `[b, l, 2 D]`.
    pub logits: Tensor<3>,
    /// The sampled or forced bits, by token, `[b, l, D]`.
    pub bits: Tensor<3, Int>,
    /// The same bits on the tokenizer's grid.
    pub codes: Codes,
    /// The running feature map including this scale, at full size, `[b, d, t, h, w]`. Decode it for a preview or, after
    /// the last scale, for the image.
    pub features: Tensor<5>,
    /// The input of the next scale, `[b, l', D]`; `None` after the last scale that is run.
    pub next_input: Option<Tensor<3>>,
}

/// An iterator of the scales that the plan runs. Dropping it stops the work.
///
/// Once no later scale is guided, the unconditional half of the batch is dropped.
pub struct Generation<'a, Q: Quantizer + ?Sized> {
    model: &'a Infinity,
    pyramid: Pyramid<'a, Q, Plain>,
    plan: Plan,
    cells: ScaleSchedule,
    patching: Patching,
    options: GenerateOptions,
    sampler: Sampler,
    state: State,
    /// Scales, from the first, that need the unconditional half of the batch.
    guided: usize,
    /// What other processes do.
    ranks: SampleRanks,
    features: Option<Tensor<5>>,
    input: Option<Tensor<3>>,
    k: usize,
    /// Tokens of the prompts.
    #[cfg(feature = "cuda")]
    lens: Vec<usize>,
    #[cfg(feature = "cuda")]
    recording: Option<Lease>,
}

/// Generates one image per prompt, scale by scale.
///
/// # Panics
/// If the options do not have one weight and one temperature per scale, there are more forced scales than scales,
/// `negative` has another number of prompts than `text`, or the quantiser's bits do not make up the model's tokens.
pub fn generate<'a, Q: Quantizer + ?Sized>(
    model: &'a Infinity,
    input: GenerateInput<'a, '_, Q>,
) -> Generation<'a, Q> {
    generate_on_ranks(model, input, SampleRanks::default())
}

/// As [`generate`], on several processes. Each calls it with the same input, runs all scales, and gets the steps of one process.
///
/// # Panics
/// As [`generate`]; also if the heads of the model cannot be shared evenly, tokens are shared together with shortcuts or an edit, or
/// the ranks cannot talk any more.
pub fn generate_on_ranks<'a, Q: Quantizer + ?Sized>(
    model: &'a Infinity,
    input: GenerateInput<'a, '_, Q>,
    ranks: SampleRanks,
) -> Generation<'a, Q> {
    let GenerateInput {
        quantizer,
        plan,
        patching,
        text,
        negative,
        options,
        sampler,
    } = input;
    let scales = plan.schedule().len();
    options.guidance.check_scales(scales, options.forced.len());
    assert_eq!(options.temperature.len(), scales, "temperatures");
    let (d, code_dim) = (quantizer.dim(), model.word_embed.weight.dims()[0]);
    assert_eq!(patching.code_dim(d), code_dim, "bits per token");
    let run = plan.shortcuts().scales();
    let guided = options.guidance.guided_scales(run);
    let prompts = if guided > 0 {
        let negative = negative.unwrap_or_else(|| model.unconditional(&text.lens));
        assert_eq!(negative.batch(), text.batch(), "negative prompts");
        match &ranks.halves {
            Halves::Here => text.concat(&negative),
            halves if halves.has_conditional() => text,
            Halves::OnRanks(_) => negative,
        }
    } else {
        text
    };
    let mut state = model.start(&prompts, plan);
    let halves = &ranks.halves;
    if 0 < guided && guided < run && (halves.are_here() || !halves.has_conditional()) {
        state.reserve(plan, guided);
    }
    assert!(
        ranks.tokens.is_none() || plan.is_plain(),
        "all tokens are shared, of an image that is no edit"
    );
    state.share(ranks.clone());
    Generation {
        model,
        pyramid: Pyramid::plain(quantizer),
        cells: patching.cells(plan.schedule()),
        state,
        guided,
        ranks,
        plan: plan.clone(),
        patching,
        options,
        sampler,
        features: None,
        input: None,
        k: 0,
        #[cfg(feature = "cuda")]
        lens: prompts.lens,
        #[cfg(feature = "cuda")]
        recording: None,
    }
}

impl<Q: Quantizer + ?Sized> Generation<'_, Q> {
    /// Makes each image an edit of the one with this latent, `[1, d, t, h, w]` before quantisation (VAREdit). The plan has to
    /// be made by [`Plan::editing`].
    ///
    /// # Panics
    /// See [`Infinity::read_source`].
    #[must_use]
    pub fn of_source(mut self, latent: Tensor<5>) -> Self {
        let tokens = self.patching.to_tokens(latent);
        self.model.read_source(tokens, &mut self.state, &self.plan);
        self
    }

    /// The same with CUDA graphs of this model, if they are on: to be called before the first scale.
    #[cfg(feature = "cuda")]
    #[must_use]
    pub fn with_graphs(mut self, graphs: &Graphs) -> Self {
        let guidance = &self.options.guidance;
        let scales = self.plan.schedule().len();
        // What is recorded are whole runs: with the same rows at all scales, and all tokens.
        let whole = self.plan.is_plain() && [0, scales].contains(&self.guided);
        let whole = whole && self.ranks.is_alone();
        if !whole {
            return self;
        }
        self.recording = graphs.lend(self.model, &self.plan, &self.lens, guidance);
        self
    }

    /// The same, with how selective the attention of each block is measured: to be called before the first scale, and without
    /// CUDA graphs.
    #[must_use]
    pub fn measuring(mut self) -> Self {
        self.state.measure();
        self
    }

    /// What [`Generation::measuring`] has measured so far, as
    /// [`KvCache::selectivity`](nextscale_var_core::cache::KvCache::selectivity) says.
    pub fn selectivity(&self) -> Option<&[Vec<f64>]> {
        self.state.cache().selectivity()
    }

    /// Replaces the input of the next scale, `[b, l, D]`.
    pub fn set_input(&mut self, input: Tensor<3>) {
        self.input = Some(input);
    }

    /// Replaces the sampler from the next scale on: for variations that share their first scales.
    pub fn set_sampler(&mut self, sampler: Sampler) {
        self.sampler = sampler;
    }

    /// Logits of scale `k` after guidance and temperature.
    fn logits(&mut self, k: usize) -> Tensor<3> {
        if k >= self.guided && !self.ranks.halves.are_here() {
            return self.conditional_logits(k);
        }
        if k == self.guided && k > 0 {
            let rows = self.state.text().cond.dims()[0] / 2;
            self.state.keep_rows(rows, &self.plan);
        }
        let guidance = (k < self.guided).then_some(&self.options.guidance);
        let input = self.input.take();
        let (model, plan) = (self.model, &self.plan);
        #[cfg(feature = "cuda")]
        if let Some(recording) = &mut self.recording {
            let state = &self.state;
            let logits = model.forward_recorded_scale(k, input, state, plan, guidance, recording);
            return logits / self.options.temperature[k];
        }
        let logits = model.forward_scale(k, input, &mut self.state, plan, guidance);
        logits / self.options.temperature[k]
    }

    /// Logits of scale `k`, which is not guided, on two ranks: only the first computes them.
    fn conditional_logits(&mut self, k: usize) -> Tensor<3> {
        let input = self.input.take();
        let (state, plan, model) = (&mut self.state, &self.plan, self.model);
        let (cond, tokens) = (&state.text().cond, plan.schedule().scales()[k].tokens());
        let shape = [cond.dims()[0], tokens, model.head.weight.dims()[1]];
        let halves = self.ranks.halves.clone();
        let logits = halves.of_conditional(shape, &cond.device(), || {
            model.forward_scale(k, input, state, plan, None)
        });
        logits / self.options.temperature[k]
    }

    /// The bits of scale `k`, by token, and the same on the tokenizer's grid.
    fn sample(&mut self, k: usize, scale: Scale, logits: &Tensor<3>) -> (Tensor<3, Int>, Codes) {
        if let Some(forced) = self.options.forced.get(k) {
            let bits = self.patching.to_tokens(forced.clone());
            return (bits, Codes::Bits(forced.clone()));
        }
        let bits = self.sampler.sample_bits(logits.clone());
        let codes = Codes::Bits(self.patching.to_cells(bits.clone(), scale));
        let Some(keep) = &self.options.keep else {
            return (bits, codes);
        };
        let codes = keep.merge(&self.pyramid, self.features.as_ref(), codes);
        let merged = codes.clone().bits().expect("bits of a bitwise quantiser");
        (self.patching.to_tokens(merged), codes)
    }

    fn step(&mut self, k: usize, scale: Scale) -> Step {
        let logits = self.logits(k);
        let (bits, codes) = self.sample(k, scale, &logits);
        let sum = self.features.take();
        let features = self.pyramid.accumulate(sum, &codes, k, &self.cells);
        let next = self.cells.scales().get(k + 1);
        let next = next.filter(|_| k + 1 < self.plan.shortcuts().scales());
        let next_input = next.map(|&next| {
            let cells = self.pyramid.input(features.clone(), next);
            self.patching.to_tokens(cells)
        });
        self.features = Some(features.clone());
        self.input = next_input.clone();
        Step {
            k,
            scale,
            logits,
            bits,
            codes,
            features,
            next_input,
        }
    }
}

impl<Q: Quantizer + ?Sized> Iterator for Generation<'_, Q> {
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
