//! How tokens are sampled, scale by scale: the user's settings over the model's defaults.

use std::fmt::Display;

use nextscale_bitwise::generate::GenerateOptions;
use nextscale_models::bundle::Sampling;
use nextscale_var_core::guidance::GuidancePoint;
use nextscale_var_core::sampler::Sampler;

use crate::error::PipelineError;
use crate::per_scale::PerScale;
use crate::setup::Setup;

/// Sampling settings of a class-conditional model that the user may have set: one number for all scales.
pub(super) struct ScalarOverrides {
    pub cfg: Option<f64>,
    pub temperature: Option<f64>,
    pub top_k: Option<usize>,
    pub top_p: Option<f64>,
}

impl ScalarOverrides {
    /// The settings of the run: those of the user, else the model's defaults.
    pub(super) fn resolve(
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

/// Sampling settings of a text-to-image model that the user may have set.
pub(super) struct SamplingOverrides {
    pub cfg: Option<PerScale>,
    pub temperature: Option<PerScale>,
    pub top_k: Option<usize>,
    pub top_p: Option<f64>,
    pub layer: Option<i64>,
}

/// The settings of a run.
pub(super) struct ResolvedSampling {
    pub cfg: PerScale,
    pub temperature: PerScale,
    /// 0 guides the logits, `-n` the output of the n-th block from the end.
    pub layer: i64,
    weights: Vec<f64>,
    temperatures: Vec<f64>,
    /// The settings that hold for all scales.
    pub base: Sampling,
}

impl SamplingOverrides {
    /// The settings of a run over `scales` scales of a model of `depth` blocks: those of the user, else the model's defaults.
    pub(super) fn resolve(
        self,
        defaults: &Sampling,
        scales: usize,
        depth: usize,
        setup: &Setup,
    ) -> Result<ResolvedSampling, PipelineError> {
        let cfg = self.cfg.unwrap_or(defaults.cfg.into());
        let temperature = self.temperature.unwrap_or(defaults.tau.into());
        let values = |key: &str, value: &PerScale| {
            let values = value.values(scales);
            values.map_err(|e| setup.refuse(key, format!("`{key}` has {e}")))
        };
        let weights = values("cfg-scale", &cfg)?;
        let temperatures = values("temperature", &temperature)?;
        check_weights(&weights, setup)?;
        check_temperatures(&temperatures, setup)?;
        for &given in temperature.given() {
            let overrides = ScalarOverrides {
                cfg: None,
                temperature: Some(given),
                top_k: self.top_k,
                top_p: self.top_p,
            };
            overrides.resolve(defaults, setup)?;
        }
        let layer = self.layer.unwrap_or(0);
        check_layer(layer, depth, setup)?;
        let base = Sampling {
            cfg: weights[0],
            tau: temperatures[0],
            top_k: self.top_k.unwrap_or(defaults.top_k),
            top_p: self.top_p.unwrap_or(defaults.top_p),
        };
        Ok(ResolvedSampling {
            cfg,
            temperature,
            layer,
            weights,
            temperatures,
            base,
        })
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

fn check_temperatures(temperatures: &[f64], setup: &Setup) -> Result<(), PipelineError> {
    let zeros = temperatures.iter().filter(|t| **t == 0.0).count();
    if zeros == 0 || zeros == temperatures.len() {
        return Ok(());
    }
    let message = "a `temperature` of 0 goes for all scales or for none";
    let hint = "a small one, such as 0.01, nearly always takes the likeliest";
    Err(setup.refuse("temperature", message).hint(hint).into())
}

fn check_layer(layer: i64, depth: usize, setup: &Setup) -> Result<(), PipelineError> {
    if layer <= 0 && (layer.unsigned_abs() as usize) < depth {
        return Ok(());
    }
    let key = "cfg-insertion-layer";
    let lowest = depth - 1;
    let message = format!("`{key}` should be 0 or from -1 to -{lowest}, but it is {layer}");
    let hint = "0 guides the logits, -1 the output of the last block";
    Err(setup.refuse(key, message).hint(hint).into())
}

impl ResolvedSampling {
    /// The sampler and the options for images with these seeds.
    pub(super) fn start(&self, seeds: &[u64]) -> (Sampler, GenerateOptions) {
        let (sampler, mut options) = self.base.start(seeds, self.weights.len());
        options.guidance.weights.clone_from(&self.weights);
        if self.layer < 0 {
            let from_end = self.layer.unsigned_abs() as usize;
            options.guidance.points = vec![GuidancePoint::FromEnd(from_end)];
        }
        if self.base.tau != 0.0 {
            options.temperature.clone_from(&self.temperatures);
        }
        (sampler, options)
    }

    /// Whether any scale is guided.
    pub(super) fn is_guided(&self) -> bool {
        self.weights.iter().any(|&w| w != 1.0)
    }

    /// The named values of the `parameters` line.
    pub(super) fn parameters(
        &self,
        model: &str,
        fingerprint: Option<String>,
    ) -> Vec<(String, String)> {
        // Lists are quoted, since the tools that read the line split it at commas.
        let text = |value: &PerScale| match value {
            PerScale::All(_) => value.to_string(),
            PerScale::Each(_) => format!("\"{value}\""),
        };
        let guidance = [text(&self.cfg), text(&self.temperature)];
        let scales = self.weights.len();
        let mut parameters = parameters(guidance, &self.base, scales, model, fingerprint);
        if self.layer != 0 {
            parameters.push(("CFG layer".to_owned(), self.layer.to_string()));
        }
        parameters
    }
}

/// The named values of the `parameters` line.
pub(super) fn parameters(
    [cfg, temperature]: [impl Display; 2],
    sampling: &Sampling,
    scales: usize,
    model: &str,
    fingerprint: Option<String>,
) -> Vec<(String, String)> {
    let mut all = vec![
        ("Steps", scales.to_string()),
        ("Sampler", "next-scale".to_owned()),
        ("CFG scale", cfg.to_string()),
        ("Temperature", temperature.to_string()),
        ("Top k", sampling.top_k.to_string()),
        ("Top p", sampling.top_p.to_string()),
        ("Model", model.to_owned()),
    ];
    all.extend(fingerprint.map(|f| ("Model hash", f[..10].to_owned())));
    all.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

/// Refuses a model other than the one with the recorded fingerprint.
pub(super) fn check_fingerprint(
    wanted: Option<&str>,
    found: Option<&str>,
    model: &str,
    setup: &Setup,
) -> Result<(), PipelineError> {
    if wanted.is_none() || wanted == found {
        return Ok(());
    }
    let message = format!("the model `{model}` is not the one with this fingerprint");
    let hint = "name the folder of the same model, or drop `fingerprint` to use another";
    Err(setup.refuse("fingerprint", message).hint(hint).into())
}
