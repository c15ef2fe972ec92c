//! VAR's loop in the open: one scale at a time.
//!
//! ```text
//! r_k = sample(transformer(x_k))   f_k = f_{k-1} + phi(up(embed(r_k)))   x_{k+1} = down(f_k)
//! ```

use burn::tensor::{Int, Tensor};
use nextscale_tokenizer::{
    Codes, Keep, Quantizer, Scale,
    pyramid::{Pyramid, Refine},
};

use crate::guidance::{Guidance, mix};
use crate::sampler::Sampler;
use crate::transformer::{Var, VarPlan, VarState};

/// Settings of a run that act scale by scale.
#[derive(Debug, Clone)]
pub struct VarOptions {
    /// Guidance on the logits, with one weight a scale; the released models take [`Guidance::ramp`].
    pub guidance: Guidance,
    /// Whether the vectors of a scale are blended from all codes instead of drawn: smoother pictures, for show only
    /// (`more_smooth` of the reference).
    pub smooth: bool,
    /// Codes of the first scales, `[b, t, h, w]`, that are taken instead of drawing.
    pub forced: Vec<Tensor<4, Int>>,
    /// A picture of which a part stays: zero-shot editing.
    pub keep: Option<Keep>,
}

impl VarOptions {
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
pub struct VarScale {
    /// Its index, from 0.
    pub k: usize,
    /// Its grid.
    pub scale: Scale,
    /// Logits of every row before guidance, `[b or 2 b, n, V]`: conditional rows first.
    pub unguided: Tensor<3>,
    /// Logits behind guidance, `[b, n, V]`.
    pub logits: Tensor<3>,
    /// The codes drawn (or forced).
    pub codes: Codes,
    /// The running feature map with this scale, at full size, `[b, c, t, h, w]`: decode it for a preview, or, behind
    /// the last scale, for the picture.
    pub features: Tensor<5>,
    /// The next scale's input, `[b, n', c]`, if there is a next scale.
    pub next_input: Option<Tensor<3>>,
}

/// A run: an iterator of scales. Dropping it early stops the work.
pub struct VarGeneration<'a, Q: ?Sized, R: ?Sized> {
    model: &'a Var,
    pyramid: Pyramid<'a, Q, R>,
    plan: &'a VarPlan,
    options: VarOptions,
    sampler: Sampler,
    state: VarState,
    features: Option<Tensor<5>>,
    input: Option<Tensor<3>>,
    batch: usize,
    k: usize,
}

/// Starts a run for classes, one a picture.
///
/// The sampler needs one seed a picture, unless it is greedy.
///
/// # Panics
/// If a label is no class, the options have not one weight a scale or more forced scales than the schedule, or the
/// quantiser's vectors are not of the model's size.
pub fn generate<'a, Q: Quantizer + ?Sized, R: Refine + ?Sized>(
    model: &'a Var,
    pyramid: Pyramid<'a, Q, R>,
    plan: &'a VarPlan,
    labels: &[usize],
    options: VarOptions,
    sampler: Sampler,
) -> VarGeneration<'a, Q, R> {
    let scales = plan.schedule().len();
    assert_eq!(options.guidance.weights.len(), scales, "guidance weights");
    assert!(
        options.forced.len() <= scales,
        "more forced scales than scales"
    );
    let channels = model.word_embed.weight.dims()[0];
    assert_eq!(pyramid.quantizer.dim(), channels, "channels of the latent");
    let mut rows = labels.to_vec();
    if options.guidance.is_active() {
        rows.extend(labels.iter().map(|_| model.classes()));
    }
    VarGeneration {
        model,
        pyramid,
        state: model.start(&rows, plan),
        plan,
        options,
        sampler,
        features: None,
        input: None,
        batch: labels.len(),
        k: 0,
    }
}

impl<Q: Quantizer + ?Sized, R: Refine + ?Sized> VarGeneration<'_, Q, R> {
    /// The scale that comes next, from 0.
    pub fn position(&self) -> usize {
        self.k
    }

    /// Replaces the next scale's input, `[b, n, c]`.
    pub fn set_input(&mut self, input: Tensor<3>) {
        self.input = Some(input);
    }

    /// Replaces the sampler from the next scale on: for variations that share their first scales.
    pub fn set_sampler(&mut self, sampler: Sampler) {
        self.sampler = sampler;
    }

    fn guided(&self, k: usize, logits: Tensor<3>) -> Tensor<3> {
        if !self.options.guidance.is_active() {
            return logits;
        }
        match self.options.guidance.on_logits(k) {
            true => mix(logits, self.options.guidance.weight(k)),
            false => logits.slice_dim(0, 0..self.batch),
        }
    }

    /// The codes of scale `k`, and the vectors that stand for them, `[b, c, t, h, w]`.
    fn draw(&mut self, k: usize, scale: Scale, logits: &Tensor<3>) -> (Codes, Tensor<5>) {
        let Scale { t, h, w } = scale;
        let quantizer = self.pyramid.quantizer;
        if let Some(forced) = self.options.forced.get(k) {
            let codes = Codes::Indices(forced.clone());
            let vectors = quantizer.embed(&codes);
            return (codes, vectors);
        }
        let drawn = self.sampler.sample(logits.clone());
        let drawn = Codes::Indices(drawn.reshape([self.batch, t, h, w]));
        let codes = match &self.options.keep {
            Some(keep) => keep.merge(&self.pyramid, self.features.as_ref(), drawn),
            None => drawn,
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

    fn step(&mut self, k: usize, scale: Scale) -> VarScale {
        let input = self.input.take();
        let (model, plan) = (self.model, self.plan);
        let unguided = model.forward_scale(k, input, &mut self.state, plan);
        let logits = self.guided(k, unguided.clone());
        let (codes, vectors) = self.draw(k, scale, &logits);
        let added = self.pyramid.step(vectors, k, plan.schedule());
        let features = match self.features.take() {
            Some(sum) => sum + added,
            None => added,
        };
        let next = plan.schedule().scales().get(k + 1);
        let next_input = next.map(|&next| {
            let cells = self.pyramid.input(features.clone(), next);
            let [b, c, t, h, w] = cells.dims();
            cells.reshape([b, c, t * h * w]).swap_dims(1, 2)
        });
        self.features = Some(features.clone());
        self.input = next_input.clone();
        VarScale {
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

impl<Q: Quantizer + ?Sized, R: Refine + ?Sized> Iterator for VarGeneration<'_, Q, R> {
    type Item = VarScale;

    fn next(&mut self) -> Option<VarScale> {
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
