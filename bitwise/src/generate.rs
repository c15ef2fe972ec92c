//! The loop in the open: one scale at a time.
//!
//! ```text
//! bits_k = sample(transformer(x_k))   f_k = f_{k-1} + up(codes(bits_k))   x_{k+1} = down(f_k)
//! ```

use burn::tensor::{Int, Tensor};
use nextscale_tokenizer::{
    Codes, Keep, Quantizer, Scale, ScaleSchedule,
    pyramid::{Plain, Pyramid},
};
use nextscale_var_core::{guidance::Guidance, sampler::Sampler};

use crate::infinity::{Infinity, Plan, StepState, TextCondition};
use crate::tokens::Patching;

/// Settings of a run that act scale by scale.
#[derive(Debug, Clone)]
pub struct GenerateOptions {
    /// Guidance, with one weight a scale.
    pub guidance: Guidance,
    /// Logits of each scale are divided by it, one a scale; above 0. The released 2B settings use 0.5.
    pub tau: Vec<f64>,
    /// Bits of the first scales, `[b, d, t, h, w]` on the tokenizer's grids, that are taken instead of drawing:
    /// for editing a picture from its coarse scales.
    pub forced: Vec<Tensor<5, Int>>,
    /// A picture of which a part stays: zero-shot editing.
    pub keep: Option<Keep>,
}

impl GenerateOptions {
    /// The same weight and temperature at each of `scales` scales.
    pub fn constant(cfg: f64, tau: f64, scales: usize) -> Self {
        Self {
            guidance: Guidance::constant(cfg, scales),
            tau: vec![tau; scales],
            forced: Vec::new(),
            keep: None,
        }
    }
}

/// One finished scale.
#[derive(Debug, Clone)]
pub struct GeneratedScale {
    /// Its index, from 0.
    pub k: usize,
    /// The transformer's grid.
    pub scale: Scale,
    /// Logits behind guidance and temperature, `[b, l, 2 D]`.
    pub logits: Tensor<3>,
    /// The bits drawn (or forced), by token, `[b, l, D]`.
    pub bits: Tensor<3, Int>,
    /// The same bits on the tokenizer's grid.
    pub codes: Codes,
    /// The running feature map with this scale, at full size, `[b, d, t, h, w]`: decode it for a preview, or,
    /// behind the last scale, for the picture.
    pub features: Tensor<5>,
    /// The next scale's input, `[b, l', D]`, if there is a next scale.
    pub next_input: Option<Tensor<3>>,
}

/// A run: an iterator of scales. Dropping it early stops the work.
pub struct Generation<'a, Q: Quantizer + ?Sized> {
    model: &'a Infinity,
    pyramid: Pyramid<'a, Q, Plain>,
    plan: &'a Plan,
    cells: ScaleSchedule,
    patching: Patching,
    options: GenerateOptions,
    sampler: Sampler,
    state: StepState,
    features: Option<Tensor<5>>,
    input: Option<Tensor<3>>,
    k: usize,
}

/// Starts a run for the prompts in `text`.
///
/// `negative` are prompts to steer away from, as many as in `text`; without them guidance uses the model's
/// unconditional prompt. The sampler needs one seed a prompt, unless it is greedy.
///
/// # Panics
/// If the options have not one weight and one temperature a scale, more forced scales than the schedule, or
/// `negative` has not as many prompts as `text`; if the quantiser's bits do not make up the model's tokens.
pub fn generate<'a, Q: Quantizer + ?Sized>(
    model: &'a Infinity,
    quantizer: &'a Q,
    plan: &'a Plan,
    patching: Patching,
    text: &TextCondition,
    negative: Option<&TextCondition>,
    options: GenerateOptions,
    sampler: Sampler,
) -> Generation<'a, Q> {
    let scales = plan.schedule().len();
    assert_eq!(options.guidance.weights.len(), scales, "guidance weights");
    assert_eq!(options.tau.len(), scales, "temperatures");
    assert!(
        options.forced.len() <= scales,
        "more forced scales than scales"
    );
    let (d, code_dim) = (quantizer.dim(), model.word_embed.weight.dims()[0]);
    assert_eq!(patching.code_dim(d), code_dim, "bits a token");
    let prompts = if options.guidance.is_active() {
        if let Some(negative) = negative {
            assert_eq!(negative.batch(), text.batch(), "negative prompts");
            text.concat(negative)
        } else {
            text.concat(&model.unconditional(&text.lens))
        }
    } else {
        text.clone()
    };
    Generation {
        model,
        pyramid: Pyramid::plain(quantizer),
        cells: patching.cells(plan.schedule()),
        state: model.start(&prompts, plan),
        plan,
        patching,
        options,
        sampler,
        features: None,
        input: None,
        k: 0,
    }
}

impl<Q: Quantizer + ?Sized> Generation<'_, Q> {
    /// The scale that comes next, from 0.
    pub fn position(&self) -> usize {
        self.k
    }

    /// Replaces the next scale's input, `[b, l, D]`.
    pub fn set_input(&mut self, input: Tensor<3>) {
        self.input = Some(input);
    }

    /// Replaces the sampler from the next scale on: for variations that share their first scales.
    pub fn set_sampler(&mut self, sampler: Sampler) {
        self.sampler = sampler;
    }

    fn step(&mut self, k: usize, scale: Scale) -> GeneratedScale {
        let guidance = self.options.guidance.is_active();
        let logits = self.model.forward_scale(
            k,
            self.input.take(),
            &mut self.state,
            self.plan,
            guidance.then_some(&self.options.guidance),
        );
        let logits = logits / self.options.tau[k];
        let mut bits = match self.options.forced.get(k) {
            Some(forced) => self.patching.to_tokens(forced.clone()),
            None => self.sampler.sample_bits(logits.clone()),
        };
        let mut codes = Codes::Bits(self.patching.to_cells(bits.clone(), scale));
        if let Some(keep) = &self.options.keep
            && k >= self.options.forced.len()
        {
            codes = keep.merge(&self.pyramid, self.features.as_ref(), codes);
            let merged = codes.clone().bits().expect("bits of a bitwise quantiser");
            bits = self.patching.to_tokens(merged);
        }
        let features = self
            .pyramid
            .accumulate(self.features.take(), &codes, k, &self.cells);
        let next = self.cells.scales().get(k + 1);
        let next_input = next.map(|&next| {
            let cells = self.pyramid.input(features.clone(), next);
            self.patching.to_tokens(cells)
        });
        self.features = Some(features.clone());
        self.input = next_input.clone();
        GeneratedScale {
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
    type Item = GeneratedScale;

    fn next(&mut self) -> Option<GeneratedScale> {
        let k = self.k;
        let scale = *self.plan.schedule().scales().get(k)?;
        self.k += 1;
        Some(self.step(k, scale))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.plan.schedule().len() - self.k;
        (left, Some(left))
    }
}
