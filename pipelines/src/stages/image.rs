//! `text-to-image` and `class-to-image`: conditions to latents, scale by scale.

use std::sync::Arc;

use nextscale_models::device::memory;
use nextscale_models::generator::{
    Condition, ImageAutoencoder, ImageInput, ImagePlan, ScaleGenerator,
};
use nextscale_models::{BlockStorage, Model, Placement, Size};
use nextscale_tokenizer::{Codes, InpaintMask};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::batch::{self, Batch, BatchQueue};
use super::init_image::{InitImage, InitRequest, StartParams, VariationParams};
use super::inpaint::{EditParams, InpaintImage};
use super::latent_types::{latent, text_features};
use super::sampling::{ResolvedSampling, SamplingOverrides, check_fingerprint};
use super::size::SizeRequest;
use crate::artifact::{Artifact, ArtifactType, Kind};
use crate::error::PipelineError;
use crate::per_scale::PerScale;
use crate::setup::Setup;
use crate::stage::{Context, Event, Input, Output, Ports, Stage};
use crate::stage_params::StageParams;

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

/// Generates the latent of an image of a class, one pass of the transformer per scale.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClassToImageParams {
    /// The model whose transformer is used, instead of the pipeline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// SHA-256 of the model's weights, as recorded in images; any other model is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Strength of classifier-free guidance at the last scale; it rises scale by scale. 0 turns it off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cfg_scale: Option<f64>,
    /// Sampling temperature: above 1 more varied, below 1 more likely; 0 always takes the most likely code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Sample from the N most likely codes; 0 for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// Sample from the most likely codes whose probabilities sum to this; 1 for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Blend all codes instead of sampling one: smoother images, for demonstration.
    #[serde(default)]
    pub smooth: bool,
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

impl Default for ClassToImageParams {
    fn default() -> Self {
        Self {
            model: None,
            fingerprint: None,
            cfg_scale: None,
            temperature: None,
            top_k: None,
            top_p: None,
            smooth: false,
            batch: batch::one(),
            stream: false,
            edit: None,
            start: None,
            variation: None,
        }
    }
}

impl StageParams for ClassToImageParams {
    const STAGE: &'static str = "class-to-image";
}

/// Either stage: they differ in the condition of their images.
pub(crate) struct ImageStage {
    model: Arc<Model>,
    size: Size,
    sampling: ResolvedSampling,
    smooth: bool,
    inpaint: Option<InpaintImage>,
    init_image: InitImage,
    batch: usize,
    blocks: BlockStorage,
    input: (&'static str, ArtifactType),
    /// The parameters with every default filled in.
    resolved: serde_json::Value,
    queue: BatchQueue<Artifact>,
    loaded: Option<Loaded>,
}

struct Loaded {
    generator: ScaleGenerator,
    plan: ImagePlan,
    keep: Option<InpaintMask>,
    forced: Vec<Codes>,
}

/// What both kinds of parameters say.
struct Common<'a> {
    fingerprint: Option<&'a String>,
    batch: usize,
    stream: bool,
    edit: Option<&'a EditParams>,
    start: Option<&'a StartParams>,
    variation: Option<&'a VariationParams>,
}

/// Makes the stage `text-to-image`.
pub(crate) fn text_to_image(
    params: TextToImageParams,
    setup: &Setup,
) -> Result<ImageStage, PipelineError> {
    let model = setup.text_model(params.model.as_deref())?;
    let manifest = model.infinity()?;
    let wanted = SizeRequest {
        width: params.width,
        height: params.height,
        aspect: params.aspect.as_deref(),
        pixels: params.pixels.as_deref(),
    };
    let size = wanted.pick(&manifest.sizes, model.name(), setup)?;
    let overrides = SamplingOverrides {
        cfg: params.cfg_scale.clone(),
        temperature: params.temperature.clone(),
        top_k: params.top_k,
        top_p: params.top_p,
        layer: params.cfg_insertion_layer,
    };
    let (scales, depth) = (size.scales.len(), manifest.transformer.depth);
    let common = Common {
        fingerprint: params.fingerprint.as_ref(),
        batch: params.batch,
        stream: params.stream,
        edit: params.edit.as_ref(),
        start: params.start.as_ref(),
        variation: params.variation.as_ref(),
    };
    check_fingerprint(common.fingerprint, &model, setup)?;
    let sampling = overrides.per_scale(&manifest.sampling, scales, depth, setup)?;
    let (width, height) = (size.width, size.height);
    let input = ("text", text_features(&model, None));
    let stage = ImageStage::new(Arc::clone(&model), size, sampling, input, &common, setup)?;
    let ResolvedSampling {
        cfg,
        temperature,
        plan,
    } = stage.sampling.clone();
    let layer = plan.guidance_layer;
    Ok(stage.resolved(&TextToImageParams {
        fingerprint: model.fingerprint(),
        width: Some(width),
        height: Some(height),
        aspect: None,
        pixels: None,
        stream: false,
        batch: 1,
        cfg_scale: Some(cfg),
        cfg_insertion_layer: (layer != 0).then_some(layer),
        temperature: Some(temperature),
        top_k: Some(plan.top_k),
        top_p: Some(plan.top_p),
        ..params
    }))
}

/// Makes the stage `class-to-image`.
pub(crate) fn class_to_image(
    params: ClassToImageParams,
    setup: &Setup,
) -> Result<ImageStage, PipelineError> {
    let model = setup.class_model(params.model.as_deref())?;
    let manifest = model.var()?;
    let overrides = SamplingOverrides {
        cfg: params.cfg_scale.map(PerScale::from),
        temperature: params.temperature.map(PerScale::from),
        top_k: params.top_k,
        top_p: params.top_p,
        layer: None,
    };
    let common = Common {
        fingerprint: params.fingerprint.as_ref(),
        batch: params.batch,
        stream: params.stream,
        edit: params.edit.as_ref(),
        start: params.start.as_ref(),
        variation: params.variation.as_ref(),
    };
    check_fingerprint(common.fingerprint, &model, setup)?;
    let size = manifest.size();
    let sampling = overrides.ramp(&manifest.sampling, size.scales.len(), setup)?;
    let class = ArtifactType::new(Kind::Class);
    let class = class.constraint("numbers below", manifest.transformer.classes);
    let input = ("class", class);
    let stage = ImageStage::new(Arc::clone(&model), size, sampling, input, &common, setup)?;
    let stage = ImageStage {
        smooth: params.smooth,
        ..stage
    };
    let ResolvedSampling {
        cfg,
        temperature,
        plan,
    } = stage.sampling.clone();
    Ok(stage.resolved(&ClassToImageParams {
        fingerprint: model.fingerprint(),
        cfg_scale: cfg.given().first().copied(),
        temperature: temperature.given().first().copied(),
        top_k: Some(plan.top_k),
        top_p: Some(plan.top_p),
        stream: false,
        batch: 1,
        ..params
    }))
}

impl ImageStage {
    fn new(
        model: Arc<Model>,
        size: Size,
        sampling: ResolvedSampling,
        input: (&'static str, ArtifactType),
        common: &Common,
        setup: &Setup,
    ) -> Result<Self, PipelineError> {
        let edit = common
            .edit
            .map(|edit| edit.load(size.width, size.height, setup));
        let inpaint = edit.transpose()?;
        let request = InitRequest {
            start: common.start,
            variation: common.variation,
            edited: inpaint.is_some(),
        };
        let (pixels, scales) = ([size.width, size.height], size.scales.len());
        let init_image = request.load(pixels, scales, setup)?;
        let batch = batch::batch_size(common.batch, setup)?;
        Ok(Self {
            blocks: setup.blocks(common.stream)?,
            queue: BatchQueue::new(batch),
            model,
            size,
            sampling,
            smooth: false,
            inpaint,
            init_image,
            batch,
            input,
            resolved: serde_json::Value::Null,
            loaded: None,
        })
    }

    fn resolved(self, params: &impl Serialize) -> Self {
        let resolved = serde_json::to_value(params).unwrap_or_default();
        Self { resolved, ..self }
    }

    fn placement(&self, context: &Context) -> Placement {
        Placement {
            device: context.device.clone(),
            dtype: context.dtype,
            blocks: self.blocks,
        }
    }

    fn generate(&self, batch: &Batch<Artifact>, out: &mut Output) -> Result<(), PipelineError> {
        let Some(loaded) = &self.loaded else {
            return Err(out.context.failed("it was not loaded"));
        };
        let condition = condition(&batch.conditions);
        let condition = condition.ok_or_else(|| out.context.failed("there is no condition"))?;
        let images = condition.len();
        let input = ImageInput {
            smooth: self.smooth,
            forced: loaded.forced.clone(),
            keep: loaded.keep.clone(),
            first_seeds: self.init_image.first_seeds(images),
            ..ImageInput::new(condition, batch.seeds(), self.sampling.plan.clone())
        };
        let steps = loaded.generator.steps(&loaded.plan, input)?;
        batch.send_scales(steps, loaded.plan.schedule().len(), out)
    }
}

/// The condition of a batch, all of whose inputs are text features or classes.
fn condition(inputs: &[Artifact]) -> Option<Condition> {
    let texts = inputs.iter().filter_map(|input| match input {
        Artifact::Text(text) => Some(text),
        _ => None,
    });
    // What to steer away from is the same for all prompts of a run.
    let negative = texts.clone().filter_map(|text| text.negative.as_ref());
    let prompts = texts.map(|text| &text.prompt);
    Condition::of_prompts(prompts, negative).or_else(|| {
        let class = |input: &Artifact| match input {
            Artifact::Class(class) => Some(*class),
            _ => None,
        };
        let classes: Option<Vec<usize>> = inputs.iter().map(class).collect();
        classes.map(Condition::Classes)
    })
}

impl Stage for ImageStage {
    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![self.input.clone()],
            output: Some(latent(&self.model)),
        }
    }

    fn resolved(&self) -> serde_json::Value {
        self.resolved.clone()
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let name = self.model.manifest().name();
        self.sampling.parameters(name, self.model.fingerprint())
    }

    fn prepare(&mut self, context: &Context) -> Result<(), PipelineError> {
        let guided = self.sampling.plan.is_guided();
        let rows = self.batch * if guided { 2 } else { 1 };
        let placement = self.placement(context);
        let estimate = self.model.estimate_image(&self.size, rows, &placement)?;
        let estimate = estimate.releasing_text_encoder(!context.settings.keep_loaded);
        for message in [self.model.lookalike_warning(), estimate.notice()] {
            if let Some(message) = message {
                (context.observer)(Event::Warning { message });
            }
        }
        Ok(estimate.check(memory(&context.device))?)
    }

    fn load(&mut self, context: &Context) -> Result<(), PipelineError> {
        let generator = ScaleGenerator::load(&self.model, &self.placement(context))?;
        let plan = generator.plan(&self.size)?;
        let device = &context.device;
        let autoencoder = || Ok(ImageAutoencoder::load(&self.model, device)?);
        let keep = match &self.inpaint {
            None => None,
            Some(inpaint) => Some(inpaint.keep(&autoencoder()?, device)),
        };
        let forced = self.init_image.codes(plan.cells(), device, autoencoder)?;
        self.loaded = Some(Loaded {
            generator,
            plan,
            keep,
            forced,
        });
        Ok(())
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let Some(condition) = input.artifacts.first() else {
            return Err(input.context.failed("it has no input"));
        };
        match self.queue.add(input, condition.clone()) {
            Some(batch) => self.generate(&batch, out),
            None => Ok(()),
        }
    }

    fn finish(&mut self, out: &mut Output) -> Result<(), PipelineError> {
        match self.queue.rest() {
            Some(batch) => self.generate(&batch, out),
            None => Ok(()),
        }
    }
}
