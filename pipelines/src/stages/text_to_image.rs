//! `text-to-image`: text features to latents, scale by scale.

use std::sync::Arc;

use nextscale_bitwise::generate::generate;
use nextscale_bitwise::infinity::{Infinity, Plan, TextCondition};
use nextscale_tokenizer::{Keep, Quantizer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::edit::{Canvas, EditParams};
use super::paint::{self, Knobs};
use super::size::Wanted;
use super::{bit_latent, with_print};
use crate::artifact::{Artifact, ArtifactType, Kind, Text};
use crate::bundle::{Bundle, Sampling, Size, TEXT};
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
    /// About how many pixels, such as `0.25M`, for models that paint several sizes of a shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pixels: Option<String>,
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
    /// A picture to paint a part of anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    edit: Option<EditParams>,
}

/// The stage.
pub(crate) struct TextToImage {
    params: TextToImageParams,
    bundle: Arc<Bundle>,
    size: Size,
    sampling: Sampling,
    canvas: Option<Canvas>,
    loaded: Option<Loaded>,
}

struct Loaded {
    model: Infinity,
    plan: Plan,
    keep: Option<Keep>,
}

impl TextToImage {
    pub(crate) fn new(params: TextToImageParams, setup: &Setup) -> Result<Self, PipelineError> {
        let bundle = setup.text_model(params.model.as_deref())?;
        let wanted = Wanted {
            width: params.width,
            height: params.height,
            aspect: params.aspect.as_deref(),
            pixels: params.pixels.as_deref(),
        };
        let size = wanted.pick(&bundle.manifest().sizes, bundle.name(), setup)?;
        paint::check_print(
            &params.fingerprint,
            bundle.fingerprint(),
            bundle.name(),
            setup,
        )?;
        let knobs = Knobs {
            cfg: params.cfg_scale,
            temperature: params.temperature,
            top_k: params.top_k,
            top_p: params.top_p,
        };
        let sampling = knobs.over(&bundle.manifest().sampling, setup)?;
        let edit = params.edit.as_ref();
        let canvas = edit.map(|edit| edit.canvas(size.width, size.height, setup));
        Ok(Self {
            canvas: canvas.transpose()?,
            params,
            bundle,
            size,
            sampling,
            loaded: None,
        })
    }
}

fn condition(features: &burn::tensor::Tensor<3>) -> TextCondition {
    let [_, l, _] = features.dims();
    TextCondition::new(features.clone(), vec![l])
}

impl Stage for TextToImage {
    fn ports(&self) -> Ports {
        let manifest = self.bundle.manifest();
        let text =
            ArtifactType::new(Kind::Text).fact("channels", manifest.transformer.text_channels);
        let print = self.bundle.fingerprint_of(TEXT);
        let text = with_print(text, "the text encoder", print);
        Ports {
            inputs: vec![("text", text)],
            output: Some(bit_latent(&self.bundle)),
        }
    }

    fn resolved(&self) -> serde_json::Value {
        let params = TextToImageParams {
            model: self.params.model.clone(),
            fingerprint: self.bundle.fingerprint(),
            width: Some(self.size.width),
            height: Some(self.size.height),
            aspect: None,
            pixels: None,
            cfg_scale: Some(self.sampling.cfg),
            temperature: Some(self.sampling.tau),
            top_k: Some(self.sampling.top_k),
            top_p: Some(self.sampling.top_p),
            edit: self.params.edit.clone(),
        };
        serde_json::to_value(params).unwrap_or_default()
    }

    fn notes(&self) -> Vec<(String, String)> {
        let (scales, name) = (self.size.scales.len(), &self.bundle.manifest().name);
        paint::notes(&self.sampling, scales, name, self.bundle.fingerprint())
    }

    fn load(&mut self, context: &Context) -> Result<(), PipelineError> {
        let schedule = self.size.schedule().map_err(|e| context.failed(e))?;
        let reference = self.size.reference().unwrap_or(schedule.last());
        let guided = self.sampling.cfg != 1.0;
        let estimate = self
            .bundle
            .estimate(&self.size, guided, context.dtype, &context.device);
        let estimate = estimate.map_err(|e| context.failed(e))?;
        if let Some(message) = estimate.notice() {
            (context.observer)(Event::Warning { message });
        }
        if context.device == burn::tensor::Device::flex() {
            estimate.check(crate::memory::of_machine())?;
        }
        let model = self.bundle.transformer(&context.device, context.dtype)?;
        let config = &self.bundle.manifest().transformer;
        let plan = Plan::stepwise(config, &schedule, reference, &context.device);
        let keep = match &self.canvas {
            None => None,
            Some(canvas) => {
                let vae = self.bundle.vae(&context.device)?;
                Some(canvas.keep(&context.device, |pixels| vae.encode(pixels)))
            }
        };
        self.loaded = Some(Loaded { model, plan, keep });
        Ok(())
    }

    fn run(&mut self, job: &Job, out: &mut Emit) -> Result<(), PipelineError> {
        let (Some(Artifact::Text(text)), Some(loaded)) = (job.inputs.first(), &self.loaded) else {
            return Err(job.context.failed("its input is no text"));
        };
        let Text { prompt, negative } = text;
        let negative = negative.as_ref().map(condition);
        let Loaded { model, plan, keep } = loaded;
        let scales = plan.schedule().len();
        let (sampler, mut options) = self.sampling.start(&[job.ticket.seed], scales);
        options.keep = keep.clone();
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
        paint::scales(all.map(|scale| scale.features), scales, job, out)
    }
}
