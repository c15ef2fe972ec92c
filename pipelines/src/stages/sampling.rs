//! How the bits of a picture are drawn, scale by scale: what the user gave over the model's own settings.

use nextscale_bitwise::generate::GenerateOptions;
use nextscale_var_core::guidance::GuidancePoint;
use nextscale_var_core::sampler::Sampler;

use super::batch::{self, ScalarOverrides};
use crate::error::PipelineError;
use crate::per_scale::PerScale;
use crate::setup::Setup;
use nextscale_models::bundle::Sampling;

/// Sampling settings that the user may have given.
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
    tau: Vec<f64>,
    /// The settings that hold for all scales.
    pub base: Sampling,
}

impl SamplingOverrides {
    /// The settings of a run over `scales` scales of a model of `depth` blocks: what was given, else the model's own.
    pub(super) fn over(
        self,
        defaults: &Sampling,
        scales: usize,
        depth: usize,
        setup: &Setup,
    ) -> Result<ResolvedSampling, PipelineError> {
        let cfg = self.cfg.unwrap_or(defaults.cfg.into());
        let temperature = self.temperature.unwrap_or(defaults.tau.into());
        let of = |key: &str, value: &PerScale| {
            let values = value.values(scales);
            values.map_err(|e| setup.refuse(key, format!("`{key}` has {e}")))
        };
        let (weights, tau) = (of("cfg-scale", &cfg)?, of("temperature", &temperature)?);
        if let Some(bad) = weights.iter().find(|w| !(**w > 0.0 && **w <= 1000.0)) {
            let message =
                format!("`cfg-scale` should be above 0 and at most 1000, but it is {bad}");
            let hint = "1 turns guidance off, and the released settings are 3 and 4";
            return Err(setup.refuse("cfg-scale", message).hint(hint).into());
        }
        let zeros = tau.iter().filter(|t| **t == 0.0).count();
        if zeros != 0 && zeros != scales {
            let message = "a `temperature` of 0 goes for all scales or for none";
            let hint = "a small one, such as 0.01, nearly always takes the likeliest";
            return Err(setup.refuse("temperature", message).hint(hint).into());
        }
        for &tau in temperature.given() {
            let (cfg, top_k, top_p) = (None, self.top_k, self.top_p);
            let temperature = Some(tau);
            let overrides = ScalarOverrides {
                cfg,
                temperature,
                top_k,
                top_p,
            };
            overrides.over(defaults, setup)?;
        }
        let layer = self.layer.unwrap_or(0);
        if layer > 0 || layer.unsigned_abs() as usize >= depth {
            let message = format!(
                "`cfg-insertion-layer` should be 0 or from -1 to -{}, but it is {layer}",
                depth - 1
            );
            let hint = "0 guides the logits, -1 the output of the last block";
            return Err(setup
                .refuse("cfg-insertion-layer", message)
                .hint(hint)
                .into());
        }
        let base = Sampling {
            cfg: weights[0],
            tau: tau[0],
            top_k: self.top_k.unwrap_or(defaults.top_k),
            top_p: self.top_p.unwrap_or(defaults.top_p),
        };
        Ok(ResolvedSampling {
            cfg,
            temperature,
            layer,
            weights,
            tau,
            base,
        })
    }
}

impl ResolvedSampling {
    /// The sampler and the options for a picture of this seed.
    pub(super) fn start(&self, seeds: &[u64]) -> (Sampler, GenerateOptions) {
        let (sampler, mut options) = self.base.start(seeds, self.weights.len());
        options.guidance.weights.clone_from(&self.weights);
        if self.layer < 0 {
            let from_end = self.layer.unsigned_abs() as usize;
            options.guidance.points = vec![GuidancePoint::FromEnd(from_end)];
        }
        if self.base.tau != 0.0 {
            options.temperature.clone_from(&self.tau);
        }
        (sampler, options)
    }

    /// Whether any scale is guided.
    pub(super) fn is_guided(&self) -> bool {
        self.weights.iter().any(|&w| w != 1.0)
    }

    /// The named values of the line of parameters.
    pub(super) fn parameters(&self, model: &str, print: Option<String>) -> Vec<(String, String)> {
        // Lists are quoted there, as values with commas are by the tools that read the line.
        let text = |value: &PerScale| match value {
            PerScale::All(_) => value.to_string(),
            PerScale::Each(_) => format!("\"{value}\""),
        };
        let mut parameters = batch::parameters(&self.base, self.weights.len(), model, print);
        for (name, value) in &mut parameters {
            match name.as_str() {
                "CFG scale" => *value = text(&self.cfg),
                "Temperature" => *value = text(&self.temperature),
                _ => {}
            }
        }
        if self.layer != 0 {
            parameters.push(("CFG layer".to_owned(), self.layer.to_string()));
        }
        parameters
    }
}
