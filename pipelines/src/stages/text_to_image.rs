//! `text-to-image`: text features to latents, scale by scale.

use std::sync::Arc;
use std::time::Instant;

use nextscale_bitwise::generate::{GenerateOptions, generate};
use nextscale_bitwise::infinity::{Infinity, Plan, TextCondition};
use nextscale_tokenizer::Quantizer;
use nextscale_var_core::sampler::Sampler;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::with_print;
use crate::artifact::{Artifact, ArtifactType, Item, Kind, Step, Text};
use crate::bundle::{Bundle, Sampling, Size, TEXT, VAE};
use crate::error::PipelineError;
use crate::registry::Setup;
use crate::stage::{Context, Emit, Event, Job, Ports, Stage};

/// Paints the latent of a picture, one pass of the transformer a scale.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TextToImageParams {
    /// The model to take the transformer of, instead of the pipeline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// SHA-256 of the model's weights, as pictures record it; another model is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    /// Width in pixels; the model's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    width: Option<usize>,
    /// Height in pixels; the model's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    height: Option<usize>,
    /// Width to height, such as `16:9`, instead of a size: the nearest that the model knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aspect: Option<String>,
    /// How strongly the prompt counts; 1 turns guidance off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cfg_scale: Option<f64>,
    /// Above 1 more varied, below 1 more likely; 0 always takes the likeliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    /// Sample from so many of the likeliest values; 0 for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    top_k: Option<usize>,
    /// Sample from the likeliest values that make up this share; 1 for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
}

/// The stage.
pub(crate) struct TextToImage {
    params: TextToImageParams,
    bundle: Arc<Bundle>,
    size: Size,
    cfg: f64,
    temperature: f64,
    top_k: usize,
    top_p: f64,
    loaded: Option<(Infinity, Plan)>,
}

impl TextToImage {
    pub(crate) fn new(params: TextToImageParams, setup: &Setup) -> Result<Self, PipelineError> {
        let bundle = setup.bundle(params.model.as_deref())?;
        let size = size(&params, &bundle, setup)?;
        if let Some(wanted) = &params.fingerprint
            && bundle.fingerprint().as_ref() != Some(wanted)
        {
            let message = format!(
                "the model `{}` is not the one with this fingerprint",
                bundle.name()
            );
            let hint = "name the folder of the same model, or drop `fingerprint` to use another";
            return Err(setup.refuse("fingerprint", message).hint(hint).into());
        }
        let defaults = &bundle.manifest().sampling;
        let cfg = params.cfg_scale.unwrap_or(defaults.cfg);
        let temperature = params.temperature.unwrap_or(defaults.tau);
        let top_k = params.top_k.unwrap_or(defaults.top_k);
        let top_p = params.top_p.unwrap_or(defaults.top_p);
        for (key, value, range) in [
            ("cfg-scale", cfg, 0.0..=1000.0),
            ("temperature", temperature, 0.0..=1000.0),
            ("top-p", top_p, 0.0..=1.0),
        ] {
            if !range.contains(&value) {
                let (low, high) = (range.start(), range.end());
                let message = format!("`{key}` should be from {low} to {high}, but it is {value}");
                return Err(setup.refuse(key, message).into());
            }
        }
        let loaded = None;
        Ok(Self {
            params,
            bundle,
            size,
            cfg,
            temperature,
            top_k,
            top_p,
            loaded,
        })
    }

    fn sampler(&self, seed: u64, scales: usize) -> (Sampler, GenerateOptions) {
        let sampling = Sampling {
            cfg: self.cfg,
            tau: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
        };
        sampling.start(&[seed], scales)
    }
}

fn condition(features: &burn::tensor::Tensor<3>) -> TextCondition {
    let [_, l, _] = features.dims();
    TextCondition::new(features.clone(), vec![l])
}

/// The size that was asked for, if the model has a schedule for it.
fn size(params: &TextToImageParams, bundle: &Bundle, setup: &Setup) -> Result<Size, PipelineError> {
    let TextToImageParams {
        width,
        height,
        aspect,
        ..
    } = params;
    let manifest = bundle.manifest();
    if let Some(aspect) = aspect {
        if width.is_some() || height.is_some() {
            let message = "a size comes from `width` and `height` or from `aspect`, not from both";
            return Err(setup.refuse("aspect", message).into());
        }
        let Some(ratio) = ratio(aspect) else {
            let message = format!("`{aspect}` is no ratio");
            let hint = "write width to height, for example 16:9";
            return Err(setup.refuse("aspect", message).hint(hint).into());
        };
        return Ok(manifest.aspect(ratio).clone());
    }
    manifest.size(*width, *height).cloned().map_err(|nearest| {
        let asked = match (width, height) {
            (Some(w), Some(h)) => format!("{w}x{h} pixels"),
            (Some(w), None) => format!("pictures {w} pixels wide"),
            (None, h) => format!("pictures {} pixels high", h.unwrap_or_default()),
        };
        let message = format!("the model `{}` does not paint {asked}", bundle.name());
        let hint = format!(
            "the nearest size that it paints is {}x{}",
            nearest.width, nearest.height
        );
        let key = if width.is_some() { "width" } else { "height" };
        setup.refuse(key, message).hint(hint).into()
    })
}

fn ratio(text: &str) -> Option<f64> {
    let number = |t: &str| {
        t.trim()
            .parse::<f64>()
            .ok()
            .filter(|x| x.is_normal() && *x > 0.0)
    };
    match text.split_once([':', '/', 'x']) {
        Some((w, h)) => Some(number(w)? / number(h)?),
        None => number(text),
    }
}

impl Stage for TextToImage {
    fn ports(&self) -> Ports {
        let manifest = self.bundle.manifest();
        let text =
            ArtifactType::new(Kind::Text).fact("channels", manifest.transformer.text_channels);
        let text = with_print(text, "the text encoder", &self.bundle, TEXT);
        let latent = ArtifactType::new(Kind::Latent).fact("bits", manifest.vae.bits);
        let latent = with_print(latent, "the auto-encoder", &self.bundle, VAE);
        Ports {
            inputs: vec![("text", text)],
            output: Some(latent),
        }
    }

    fn resolved(&self) -> serde_json::Value {
        let params = TextToImageParams {
            model: self.params.model.clone(),
            fingerprint: self.bundle.fingerprint(),
            width: Some(self.size.width),
            height: Some(self.size.height),
            aspect: None,
            cfg_scale: Some(self.cfg),
            temperature: Some(self.temperature),
            top_k: Some(self.top_k),
            top_p: Some(self.top_p),
        };
        serde_json::to_value(params).unwrap_or_default()
    }

    fn notes(&self) -> Vec<(String, String)> {
        let mut notes = vec![
            ("Steps".to_owned(), self.size.scales.len().to_string()),
            ("Sampler".to_owned(), "next-scale".to_owned()),
            ("CFG scale".to_owned(), self.cfg.to_string()),
            ("Temperature".to_owned(), self.temperature.to_string()),
            ("Top k".to_owned(), self.top_k.to_string()),
            ("Top p".to_owned(), self.top_p.to_string()),
            ("Model".to_owned(), self.bundle.manifest().name.clone()),
        ];
        if let Some(print) = self.bundle.fingerprint() {
            notes.push(("Model hash".to_owned(), print[..10].to_owned()));
        }
        notes
    }

    fn load(&mut self, context: &Context) -> Result<(), PipelineError> {
        let schedule = self.size.schedule().map_err(|e| context.failed(e))?;
        let reference = self.size.reference().unwrap_or(schedule.last());
        let model = self.bundle.transformer(&context.device, context.dtype)?;
        let config = &self.bundle.manifest().transformer;
        let plan = Plan::stepwise(config, &schedule, reference, &context.device);
        self.loaded = Some((model, plan));
        Ok(())
    }

    fn run(&mut self, job: &Job, out: &mut Emit) -> Result<(), PipelineError> {
        let Job {
            ticket, context, ..
        } = job;
        let (Some(Artifact::Text(text)), Some((model, plan))) = (job.inputs.first(), &self.loaded)
        else {
            return Err(context.failed("its input is no text"));
        };
        let Text { prompt, negative } = text;
        let negative = negative.as_ref().map(condition);
        let scales = plan.schedule().len();
        let (sampler, options) = self.sampler(ticket.seed, scales);
        let manifest = self.bundle.manifest();
        let bsq = nextscale_bitwise::bsq::Bsq::new(manifest.vae.bits);
        let bsq: &dyn Quantizer = &bsq;
        let text = condition(prompt);
        let all = generate(
            model,
            bsq,
            plan,
            manifest.patching,
            &text,
            negative.as_ref(),
            options,
            sampler,
        );
        let (mut start, mut last) = (Instant::now(), None);
        for done in all {
            context.cancel.check()?;
            let step = Step {
                scale: done.k + 1,
                scales,
            };
            let (stage, ticket) = (context.stage.clone(), ticket.clone());
            let took = start.elapsed();
            (context.observer)(Event::Scale {
                stage,
                ticket: ticket.clone(),
                step,
                took,
            });
            if step.scale < scales && context.settings.preview.is_some() {
                let (preview, artifact) = (Some(step), Artifact::Latent(done.features.clone()));
                out.item(Item {
                    ticket,
                    preview,
                    artifact,
                })?;
            }
            last = Some(done.features);
            start = Instant::now();
        }
        let latent = last.ok_or_else(|| context.failed("its schedule has no scale"))?;
        out.send(job, Artifact::Latent(latent))
    }
}

#[cfg(test)]
mod tests {
    use super::ratio;

    #[test]
    fn ratios() {
        assert_eq!(ratio("16:8"), Some(2.0));
        assert_eq!(ratio("1.5"), Some(1.5));
        for bad in ["", "0:1", "1:0", "a:b", "-1", "nan"] {
            assert_eq!(ratio(bad), None, "{bad}");
        }
    }
}
