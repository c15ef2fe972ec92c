//! `text-to-image`: text features to latents, scale by scale.

use std::sync::Arc;

use burn::tensor::{Int, Tensor};
use nextscale_bitwise::generate::{GenerateInput, generate};
use nextscale_bitwise::infinity::{Infinity, Plan, TextCondition};
use nextscale_tokenizer::{InpaintMask, Quantizer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::batch::{self, Batch, BatchQueue};
use super::init_image::{InitImage, InitRequest, StartParams, VariationParams};
use super::inpaint::{EditParams, InpaintImage};
use super::latent_types::{bit_latent, with_fingerprint};
use super::sampling::check_fingerprint;
use super::sampling::{ResolvedSampling, SamplingOverrides};
use super::size::SizeRequest;
use crate::artifact::{Artifact, ArtifactType, Kind, Text};
use crate::error::PipelineError;
use crate::per_scale::PerScale;
use crate::setup::Setup;
use crate::stage::{Context, Event, Input, Output, Ports, Stage};
use crate::stage_params::StageParams;
use nextscale_models::bundle::{BlockStorage, Bundle, Size, TEXT};

/// Generates the latent of an image, one pass of the transformer per scale.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TextToImageParams {
    /// The model whose transformer is used, instead of the pipeline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// SHA-256 of the model's weights, as recorded in images; any other model is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Width in pixels; the model's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Height in pixels; the model's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<usize>,
    /// Aspect ratio, such as `16:9`, instead of a size: the nearest one of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aspect: Option<String>,
    /// Approximate number of pixels, such as `0.25M`, for models with several sizes per aspect ratio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixels: Option<String>,
    /// Strength of classifier-free guidance, one number or one per scale; 1 turns it off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cfg_scale: Option<PerScale>,
    /// Where guidance is applied: 0 to the logits, -1 to the output of the last block, -2 to that of the one before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cfg_insertion_layer: Option<i64>,
    /// Sampling temperature, one number or one per scale: above 1 more varied, below 1 more likely; 0 always takes the most
    /// likely value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<PerScale>,
    /// Sample from the N most likely values; 0 for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// Sample from the most likely values whose probabilities sum to this; 1 for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Number of images that are generated together: more memory, less time for each. They are the same as one by one, up to
    /// rounding.
    #[serde(default = "batch::one", skip_serializing_if = "batch::is_one")]
    pub batch: usize,
    /// Leave the blocks of the transformer in their file and read them one by one in every pass: for models that are larger
    /// than memory. Same image, slower.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    /// An image of which a part is inpainted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit: Option<EditParams>,
    /// An image whose first scales are reused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartParams>,
    /// A generated image whose last scales are sampled again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variation: Option<VariationParams>,
}

impl Default for TextToImageParams {
    fn default() -> Self {
        Self {
            model: None,
            fingerprint: None,
            width: None,
            height: None,
            aspect: None,
            pixels: None,
            cfg_scale: None,
            cfg_insertion_layer: None,
            temperature: None,
            top_k: None,
            top_p: None,
            batch: batch::one(),
            stream: false,
            edit: None,
            start: None,
            variation: None,
        }
    }
}

impl StageParams for TextToImageParams {
    const STAGE: &'static str = "text-to-image";
}

/// The stage.
pub(crate) struct TextToImage {
    params: TextToImageParams,
    bundle: Arc<Bundle>,
    size: Size,
    sampling: ResolvedSampling,
    inpaint: Option<InpaintImage>,
    start: InitImage,
    blocks: BlockStorage,
    queue: BatchQueue<Text>,
    loaded: Option<Loaded>,
}

struct Loaded {
    model: Infinity,
    plan: Plan,
    keep: Option<InpaintMask>,
    forced: Vec<Tensor<5, Int>>,
}

impl TextToImage {
    pub(crate) fn new(params: TextToImageParams, setup: &Setup) -> Result<Self, PipelineError> {
        let bundle = setup.text_model(params.model.as_deref())?;
        let wanted = SizeRequest {
            width: params.width,
            height: params.height,
            aspect: params.aspect.as_deref(),
            pixels: params.pixels.as_deref(),
        };
        let size = wanted.pick(&bundle.manifest().sizes, bundle.name(), setup)?;
        let fingerprint = bundle.fingerprint();
        check_fingerprint(
            params.fingerprint.as_deref(),
            fingerprint.as_deref(),
            bundle.name(),
            setup,
        )?;
        let overrides = SamplingOverrides {
            cfg: params.cfg_scale.clone(),
            temperature: params.temperature.clone(),
            top_k: params.top_k,
            top_p: params.top_p,
            layer: params.cfg_insertion_layer,
        };
        let (manifest, scales) = (bundle.manifest(), size.scales.len());
        let depth = manifest.transformer.depth;
        let sampling = overrides.resolve(&manifest.sampling, scales, depth, setup)?;
        let edit = params.edit.as_ref();
        let inpaint = edit.map(|edit| edit.load(size.width, size.height, setup));
        let inpaint = inpaint.transpose()?;
        let request = InitRequest {
            start: params.start.as_ref(),
            variation: params.variation.as_ref(),
            edited: inpaint.is_some(),
        };
        let start = request.load([size.width, size.height], scales, setup)?;
        Ok(Self {
            inpaint,
            start,
            blocks: setup.blocks(params.stream)?,
            queue: BatchQueue::new(batch::batch_size(params.batch, setup)?),
            params,
            bundle,
            size,
            sampling,
            loaded: None,
        })
    }
}

/// Prompts of any lengths as one batch.
fn conditions<'a>(prompts: impl Iterator<Item = &'a Tensor<3>>) -> Option<TextCondition> {
    let one = |features: &Tensor<3>| {
        let [_, l, _] = features.dims();
        TextCondition::new(features.clone(), vec![l])
    };
    prompts.map(one).reduce(|all, next| all.concat(&next))
}

impl TextToImage {
    fn paint(&self, batch: &Batch<Text>, out: &mut Output) -> Result<(), PipelineError> {
        let Some(loaded) = &self.loaded else {
            return Err(out.context.failed("it was not loaded"));
        };
        let text = conditions(batch.conditions.iter().map(|text| &text.prompt));
        let text = text.ok_or_else(|| out.context.failed("there is nothing to paint"))?;
        // What is not to be painted is the same for all prompts of a run.
        let negative = conditions(
            batch
                .conditions
                .iter()
                .filter_map(|text| text.negative.as_ref()),
        );
        let negative = negative.filter(|negative| negative.batch() == text.batch());
        let Loaded {
            model,
            plan,
            keep,
            forced,
        } = loaded;
        let (scales, seeds) = (plan.schedule().len(), batch.seeds());
        let first: Vec<u64> = seeds.iter().map(|&s| self.start.first_seed(s)).collect();
        let (sampler, mut options) = self.sampling.start(&first);
        options.keep = keep.clone();
        let forced = forced.iter();
        let forced = forced.map(|bits| bits.clone().repeat_dim(0, text.batch()));
        options.forced = forced.collect();
        let manifest = self.bundle.manifest();
        let bsq = nextscale_bitwise::bsq::Bsq::new(manifest.vae.bits);
        let bsq: &dyn Quantizer = &bsq;
        let input = GenerateInput {
            quantizer: bsq,
            plan,
            patching: manifest.patching,
            text,
            negative,
            options,
            sampler,
        };
        let mut all = generate(model, input);
        let next = || {
            if Some(all.position()) == self.start.takes_over() {
                all.set_sampler(self.sampling.start(&seeds).0);
            }
            all.next().map(|scale| scale.features)
        };
        batch.send_scales(std::iter::from_fn(next), scales, out)
    }
}

impl Stage for TextToImage {
    fn ports(&self) -> Ports {
        let manifest = self.bundle.manifest();
        let text = ArtifactType::new(Kind::Text)
            .constraint("channels", manifest.transformer.text_channels);
        let print = self.bundle.fingerprint_of(TEXT);
        let text = with_fingerprint(text, "the text encoder", print);
        Ports {
            inputs: vec![("text", text)],
            output: Some(bit_latent(&self.bundle)),
        }
    }

    fn resolved(&self) -> serde_json::Value {
        let params = TextToImageParams {
            fingerprint: self.bundle.fingerprint(),
            width: Some(self.size.width),
            height: Some(self.size.height),
            aspect: None,
            pixels: None,
            stream: false,
            batch: 1,
            cfg_scale: Some(self.sampling.cfg.clone()),
            cfg_insertion_layer: (self.sampling.layer != 0).then_some(self.sampling.layer),
            temperature: Some(self.sampling.temperature.clone()),
            top_k: Some(self.sampling.base.top_k),
            top_p: Some(self.sampling.base.top_p),
            ..self.params.clone()
        };
        serde_json::to_value(params).unwrap_or_default()
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let name = &self.bundle.manifest().name;
        self.sampling.parameters(name, self.bundle.fingerprint())
    }

    fn prepare(&mut self, context: &Context) -> Result<(), PipelineError> {
        let guided = self.sampling.is_guided();
        let rows = self.params.batch * if guided { 2 } else { 1 };
        let place = (context.dtype, &context.device, self.blocks);
        let estimate = self.bundle.estimate(&self.size, rows, place);
        let estimate = estimate.map_err(|e| context.failed(e))?;
        let estimate = estimate.apart(!context.settings.keep_loaded);
        if let Some(message) = self.bundle.doubt() {
            (context.observer)(Event::Warning { message });
        }
        if let Some(message) = estimate.notice() {
            (context.observer)(Event::Warning { message });
        }
        Ok(estimate.check(nextscale_models::device::memory(&context.device))?)
    }

    fn load(&mut self, context: &Context) -> Result<(), PipelineError> {
        let schedule = self.size.schedule().map_err(|e| context.failed(e))?;
        let reference = self.size.reference().unwrap_or(schedule.last());
        let (device, dtype) = (&context.device, context.dtype);
        let model = self.bundle.transformer(device, dtype, self.blocks)?;
        let config = &self.bundle.manifest().transformer;
        let plan = match self.size.known {
            None => Plan::stepwise(config, &schedule, reference, &context.device),
            Some(known) => Plan::stretched(config, &schedule, reference, known, &context.device),
        };
        let keep = match &self.inpaint {
            None => None,
            Some(inpaint) => {
                let vae = self.bundle.vae(&context.device)?;
                Some(inpaint.keep(&context.device, |pixels| vae.encode(pixels)))
            }
        };
        let forced = self.start.codes(&context.device, |pixels| {
            let cells = self.bundle.manifest().patching.cells(&schedule);
            let vae = self.bundle.vae(&context.device)?;
            let codes = vae.encode_bits(pixels, &cells).codes.into_iter();
            codes
                .map(|codes| {
                    codes
                        .bits()
                        .ok_or_else(|| context.failed("its codes are no bits"))
                })
                .collect()
        })?;
        self.loaded = Some(Loaded {
            model,
            plan,
            keep,
            forced,
        });
        Ok(())
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let Some(Artifact::Text(text)) = input.artifacts.first() else {
            return Err(input.context.failed("its input is no text"));
        };
        match self.queue.add(input, text.clone()) {
            Some(batch) => self.paint(&batch, out),
            None => Ok(()),
        }
    }

    fn finish(&mut self, out: &mut Output) -> Result<(), PipelineError> {
        match self.queue.rest() {
            Some(batch) => self.paint(&batch, out),
            None => Ok(()),
        }
    }
}
