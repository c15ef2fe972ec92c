//! How the codes of an image are sampled: the user's settings over the model's defaults.

use std::ops::RangeInclusive;

use nextscale_models::sampling::{Sampling, SamplingPlan, out_of_range};

use super::image_params::{ClassToImageParams, TextToImageParams};
use crate::error::PipelineError;
use crate::per_scale::PerScale;
use crate::setup::Setup;

/// The settings of a run.
#[derive(Debug, Clone)]
pub(super) struct ResolvedSampling {
    pub cfg: PerScale,
    pub temperature: PerScale,
    pub plan: SamplingPlan,
}

/// Refuses a value of the key `key` that is not in the range.
pub(super) fn check_range(
    key: &str,
    value: f64,
    range: RangeInclusive<f64>,
    setup: &Setup,
) -> Result<(), PipelineError> {
    match out_of_range(key, value, range) {
        Some(message) => Err(setup.refuse(key, message).into()),
        None => Ok(()),
    }
}

fn check_weights(weights: &[f64], setup: &Setup) -> Result<(), PipelineError> {
    let Some(bad) = weights.iter().find(|w| !(**w > 0.0 && **w <= 1000.0)) else {
        return Ok(());
    };
    let message = format!("`cfg-scale` should be above 0 and at most 1000, but it is {bad}");
    let hint = "1 turns guidance off, and the released settings are 3 and 4";
    Err(setup.refuse("cfg-scale", message).hint(hint).into())
}

/// Refuses a temperature of 0 at some scales only.
fn check_zeros(temperatures: &[f64], setup: &Setup) -> Result<(), PipelineError> {
    let zeros = temperatures.iter().filter(|t| **t == 0.0).count();
    if zeros == 0 || zeros == temperatures.len() {
        return Ok(());
    }
    let message = "a `temperature` of 0 is for all scales or for none";
    let hint = "a small one, such as 0.01, nearly always takes the most likely value";
    Err(setup.refuse("temperature", message).hint(hint).into())
}

/// The settings of a run of VAR, whose guidance rises linearly over `scales` scales.
pub(super) fn ramp(
    params: &ClassToImageParams,
    defaults: &Sampling,
    scales: usize,
    setup: &Setup,
) -> Result<ResolvedSampling, PipelineError> {
    let cfg = params.cfg_scale.unwrap_or(defaults.cfg);
    let temperature = params.temperature.unwrap_or(defaults.temperature);
    check_range("cfg-scale", cfg, 0.0..=1000.0, setup)?;
    let top_p = params.top_p.unwrap_or(defaults.top_p);
    check(temperature, top_p, setup)?;
    let sampling = Sampling {
        cfg,
        temperature,
        top_k: params.top_k.unwrap_or(defaults.top_k),
        top_p,
    };
    Ok(ResolvedSampling {
        plan: sampling.ramp(scales),
        cfg: cfg.into(),
        temperature: temperature.into(),
    })
}

/// The settings of a run of Infinity over `scales` scales, with a transformer of `depth` blocks.
pub(super) fn per_scale(
    params: &TextToImageParams,
    defaults: &Sampling,
    scales: usize,
    depth: usize,
    setup: &Setup,
) -> Result<ResolvedSampling, PipelineError> {
    let cfg = params.cfg_scale.clone().unwrap_or(defaults.cfg.into());
    let temperature = params.temperature.clone();
    let temperature = temperature.unwrap_or(defaults.temperature.into());
    let values = |key: &str, value: &PerScale| {
        let values = value.values(scales);
        values.map_err(|e| setup.refuse(key, format!("`{key}` has {e}")))
    };
    let guidance = values("cfg-scale", &cfg)?;
    let temperatures = values("temperature", &temperature)?;
    check_weights(&guidance, setup)?;
    check_zeros(&temperatures, setup)?;
    let top_p = params.top_p.unwrap_or(defaults.top_p);
    for &temperature in temperature.given() {
        check(temperature, top_p, setup)?;
    }
    let plan = SamplingPlan {
        guidance,
        guidance_layer: checked_layer(params.cfg_insertion_layer, depth, setup)?,
        temperatures,
        top_k: params.top_k.unwrap_or(defaults.top_k),
        top_p,
    };
    Ok(ResolvedSampling {
        cfg,
        temperature,
        plan,
    })
}

fn check(temperature: f64, top_p: f64, setup: &Setup) -> Result<(), PipelineError> {
    check_range("temperature", temperature, 0.0..=1000.0, setup)?;
    check_range("top-p", top_p, 0.0..=1.0, setup)
}

fn checked_layer(layer: Option<i64>, depth: usize, setup: &Setup) -> Result<i64, PipelineError> {
    let layer = layer.unwrap_or(0);
    if layer <= 0 && (layer.unsigned_abs() as usize) < depth {
        return Ok(layer);
    }
    let last = depth - 1;
    let message =
        format!("`cfg-insertion-layer` should be 0 or from -1 to -{last}, but it is {layer}");
    let refused = setup.refuse("cfg-insertion-layer", message);
    let hint = "0 guides the logits, -1 the output of the last block";
    Err(refused.hint(hint).into())
}

impl ResolvedSampling {
    /// The named values of the `parameters` line.
    pub(super) fn parameters(
        &self,
        model: &str,
        fingerprint: Option<String>,
    ) -> Vec<(&'static str, String)> {
        let plan = &self.plan;
        let mut parameters = vec![
            ("Sampler", "next-scale".to_owned()),
            ("CFG scale", self.cfg.to_string()),
            ("Temperature", self.temperature.to_string()),
            ("Top k", plan.top_k.to_string()),
            ("Top p", plan.top_p.to_string()),
            ("Model", model.to_owned()),
        ];
        if let Some(fingerprint) = fingerprint {
            parameters.push(("Model hash", fingerprint[..10].to_owned()));
        }
        if plan.guidance_layer != 0 {
            parameters.push(("CFG layer", plan.guidance_layer.to_string()));
        }
        parameters
    }
}
