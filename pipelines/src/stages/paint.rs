//! What the stages that paint have in common, whatever they paint from.

use std::time::Instant;

use burn::tensor::Tensor;

use crate::artifact::{Artifact, Item, Step};
use crate::bundle::Sampling;
use crate::error::PipelineError;
use crate::registry::Setup;
use crate::stage::{Emit, Event, Job};

/// Sampling settings that the user may have given.
pub(super) struct Knobs {
    pub cfg: Option<f64>,
    pub temperature: Option<f64>,
    pub top_k: Option<usize>,
    pub top_p: Option<f64>,
}

impl Knobs {
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
pub(super) fn check_print(
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
pub(super) fn notes(
    sampling: &Sampling,
    scales: usize,
    model: &str,
    print: Option<String>,
) -> Vec<(String, String)> {
    let mut notes = vec![
        ("Steps".to_owned(), scales.to_string()),
        ("Sampler".to_owned(), "next-scale".to_owned()),
        ("CFG scale".to_owned(), sampling.cfg.to_string()),
        ("Temperature".to_owned(), sampling.tau.to_string()),
        ("Top k".to_owned(), sampling.top_k.to_string()),
        ("Top p".to_owned(), sampling.top_p.to_string()),
        ("Model".to_owned(), model.to_owned()),
    ];
    if let Some(print) = print {
        notes.push(("Model hash".to_owned(), print[..10].to_owned()));
    }
    notes
}

/// Runs through the feature maps of all scales: reports each, sends previews where they are wanted, and sends the last.
pub(super) fn scales(
    all: impl Iterator<Item = Tensor<5>>,
    scales: usize,
    job: &Job,
    out: &mut Emit,
) -> Result<(), PipelineError> {
    let Job {
        ticket, context, ..
    } = job;
    let (mut start, mut last) = (Instant::now(), None);
    for (k, features) in all.enumerate() {
        context.cancel.check()?;
        let step = Step {
            scale: k + 1,
            scales,
        };
        (context.observer)(Event::Scale {
            stage: context.stage.clone(),
            ticket: ticket.clone(),
            step,
            took: start.elapsed(),
        });
        if step.scale < scales && context.settings.preview.is_some() {
            let (preview, artifact) = (Some(step), Artifact::Latent(features.clone()));
            out.item(Item {
                ticket: ticket.clone(),
                preview,
                artifact,
            })?;
        }
        last = Some(features);
        start = Instant::now();
    }
    let latent = last.ok_or_else(|| context.failed("its schedule has no scale"))?;
    out.send(job, Artifact::Latent(latent))
}
