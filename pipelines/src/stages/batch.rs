//! What the stages that paint have in common, whatever they paint from.

use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Tensor;

use crate::artifact::{Artifact, Message, Sample, Step};
use crate::error::PipelineError;
use crate::setup::Setup;
use crate::stage::{Event, Input, Output};
use nextscale_models::bundle::Sampling;

/// Sampling settings that the user may have given.
pub(super) struct ScalarOverrides {
    pub cfg: Option<f64>,
    pub temperature: Option<f64>,
    pub top_k: Option<usize>,
    pub top_p: Option<f64>,
}

impl ScalarOverrides {
    /// The settings of the run: what was given, else the model's own.
    pub(super) fn over(
        &self,
        defaults: &Sampling,
        setup: &Setup,
    ) -> Result<Sampling, PipelineError> {
        let sampling = Sampling {
            cfg: self.cfg.unwrap_or(defaults.cfg),
            tau: self.temperature.unwrap_or(defaults.tau),
            top_k: self.top_k.unwrap_or(defaults.top_k),
            top_p: self.top_p.unwrap_or(defaults.top_p),
        };
        for (key, value, range) in [
            ("cfg-scale", sampling.cfg, 0.0..=1000.0),
            ("temperature", sampling.tau, 0.0..=1000.0),
            ("top-p", sampling.top_p, 0.0..=1.0),
        ] {
            if !range.contains(&value) {
                let (low, high) = (range.start(), range.end());
                let message = format!("`{key}` should be from {low} to {high}, but it is {value}");
                return Err(setup.refuse(key, message).into());
            }
        }
        Ok(sampling)
    }
}

/// Refuses another model than the one that a picture was painted with.
pub(super) fn check_fingerprint(
    wanted: &Option<String>,
    found: Option<String>,
    model: &str,
    setup: &Setup,
) -> Result<(), PipelineError> {
    if wanted.is_none() || *wanted == found {
        return Ok(());
    }
    let message = format!("the model `{model}` is not the one with this fingerprint");
    let hint = "name the folder of the same model, or drop `fingerprint` to use another";
    Err(setup.refuse("fingerprint", message).hint(hint).into())
}

/// The named values of the line of parameters.
pub(super) fn parameters(
    sampling: &Sampling,
    scales: usize,
    model: &str,
    print: Option<String>,
) -> Vec<(String, String)> {
    let mut parameters = vec![
        ("Steps".to_owned(), scales.to_string()),
        ("Sampler".to_owned(), "next-scale".to_owned()),
        ("CFG scale".to_owned(), sampling.cfg.to_string()),
        ("Temperature".to_owned(), sampling.tau.to_string()),
        ("Top k".to_owned(), sampling.top_k.to_string()),
        ("Top p".to_owned(), sampling.top_p.to_string()),
        ("Model".to_owned(), model.to_owned()),
    ];
    if let Some(print) = print {
        parameters.push(("Model hash".to_owned(), print[..10].to_owned()));
    }
    parameters
}

/// A number of pictures that can be painted at once.
pub(super) fn batch(pictures: usize, setup: &Setup) -> Result<usize, PipelineError> {
    match pictures {
        0 => Err(setup.refuse("batch", "`batch` should be at least 1").into()),
        n => Ok(n),
    }
}

pub(super) fn one() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde wants it
pub(super) fn is_one(n: &usize) -> bool {
    *n == 1
}

/// What waits until a batch is full: samples with what is to be painted for them.
pub(super) struct BatchQueue<T> {
    most: usize,
    all: Vec<(Arc<Sample>, T)>,
}

impl<T> BatchQueue<T> {
    /// For batches of `most` pictures.
    pub(super) fn new(most: usize) -> Self {
        let all = Vec::new();
        Self { most, all }
    }

    /// Adds one; gives back the batch if it is full. Where a stage of the pipeline waits for several others nothing waits
    /// here, or all would.
    pub(super) fn add(&mut self, input: &Input, what: T) -> Option<Batch<T>> {
        self.all.push((input.sample.clone(), what));
        let full = self.all.len() >= self.most || input.context.joins;
        full.then(|| self.rest()).flatten()
    }

    /// The batch that will not become full, if there is one.
    pub(super) fn rest(&mut self) -> Option<Batch<T>> {
        let all = std::mem::take(&mut self.all);
        let (samples, of) = all.into_iter().unzip();
        let batch = Batch { samples, of };
        (!batch.of.is_empty()).then_some(batch)
    }
}

/// Pictures that are painted together.
pub(super) struct Batch<T> {
    pub(super) samples: Vec<Arc<Sample>>,
    /// What is to be painted, in the same order.
    pub(super) of: Vec<T>,
}

impl<T> Batch<T> {
    /// The seeds of the pictures.
    pub(super) fn seeds(&self) -> Vec<u64> {
        self.samples.iter().map(|sample| sample.seed).collect()
    }

    /// Runs through the feature maps of all scales, `[b, c, t, h, w]`: reports each, sends previews where they are wanted, and
    /// sends the last.
    pub(super) fn scales(
        &self,
        all: impl Iterator<Item = Tensor<5>>,
        scales: usize,
        out: &mut Output,
    ) -> Result<(), PipelineError> {
        let context = out.context.clone();
        let send = |features: &Tensor<5>, preview: Option<Step>, out: &mut Output| {
            for (i, sample) in self.samples.iter().enumerate() {
                let own = features.clone().slice_dim(0, i..i + 1);
                out.message(Message {
                    sample: sample.clone(),
                    preview,
                    artifact: Artifact::Latent(own),
                })?;
            }
            Ok(())
        };
        let (mut start, mut last) = (Instant::now(), None);
        for (k, features) in all.enumerate() {
            context.cancel.check()?;
            let step = Step {
                scale: k + 1,
                scales,
            };
            // The pictures of a batch share the time.
            let took = start.elapsed() / self.samples.len() as u32;
            for sample in &self.samples {
                (context.observer)(Event::Scale {
                    stage: context.stage.clone(),
                    sample: sample.clone(),
                    step,
                    took,
                });
            }
            if step.scale < scales && context.settings.preview.is_some() {
                send(&features, Some(step), out)?;
            }
            last = Some(features);
            start = Instant::now();
        }
        let latent = last.ok_or_else(|| context.failed("its schedule has no scale"))?;
        send(&latent, None, out)
    }
}
