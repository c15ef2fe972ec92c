//! `text-to-image` and `class-to-image`: conditions to latents, scale by scale.

use std::sync::Arc;

use burn::tensor::Tensor;
use nextscale_models::device::memory;
use nextscale_models::generator::{Condition, ImageInput, ImagePlan, ScaleGenerator};
use nextscale_models::memory::{ImageRun, MemoryEstimate};
use nextscale_models::shortcuts::ImageShortcuts;
use nextscale_models::{BlockStorage, Model, Size};
use nextscale_tokenizer::{Codes, InpaintMask};
use nextscale_var_core::sample_ranks::SampleRanks;
use serde::Serialize;

use super::batch::{Batch, BatchQueue, Scales, batch_size};
use super::image_params::{ClassToImageParams, TextToImageParams};
use super::init_image::InitImage;
use super::inpaint::InpaintImage;
use super::latent_types::{latent, text_features};
use super::only_batch::is_only_batch;
use super::sampling::{ResolvedSampling, per_scale, ramp};
use super::shortcuts;
use super::size::SizeRequest;
use super::source_image::SourceImage;
use crate::artifact::{Artifact, ArtifactType, Kind};
use crate::error::PipelineError;
use crate::setup::Setup;
use crate::stage::{Context, Input, Output, Ports, Stage};

/// Both stages: they differ in the condition of their images.
pub(crate) struct ImageStage {
    model: Arc<Model>,
    size: Size,
    /// What became of the aspect ratio that was asked for.
    size_notice: Option<String>,
    sampling: ResolvedSampling,
    shortcuts: ImageShortcuts,
    smooth: bool,
    inpaint: Option<InpaintImage>,
    source: Option<SourceImage>,
    init_image: InitImage,
    batch: usize,
    /// Whether one batch is all.
    alone: bool,
    blocks: BlockStorage,
    input: (&'static str, ArtifactType),
    /// The parameters with every default filled in.
    resolved: Option<serde_json::Value>,
    queue: BatchQueue<Artifact>,
    estimate: Option<MemoryEstimate>,
    loaded: Option<Loaded>,
}

struct Loaded {
    generator: Arc<ScaleGenerator>,
    plan: ImagePlan,
    keep: Option<InpaintMask>,
    source: Option<Tensor<5>>,
    forced: Vec<Codes>,
    ranks: SampleRanks,
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
    let (width, height, size_notice) = (size.width, size.height, wanted.notice(&size));
    let depth = manifest.transformer.depth;
    setup.check_fingerprint(params.fingerprint.as_ref(), &model)?;
    let sampling = per_scale(&params, &manifest.sampling, size.scales.len(), depth, setup)?;
    let input = ("text", text_features(&model, None));
    let stage = ImageStage {
        size_notice,
        ..ImageStage::new(Arc::clone(&model), size, sampling, input, &params, setup)?
    };
    let ResolvedSampling {
        cfg,
        temperature,
        plan,
    } = stage.sampling.clone();
    let layer = plan.guidance_layer;
    let params = shortcuts::resolved(params, &stage.shortcuts, stage.size.scales.len());
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
    setup.check_fingerprint(params.fingerprint.as_ref(), &model)?;
    let size = manifest.size();
    let sampling = ramp(&params, &manifest.sampling, size.scales.len(), setup)?;
    let class = ArtifactType::new(Kind::Class);
    let class = class.constraint("numbers below", manifest.transformer.classes);
    let shared = TextToImageParams::from(params.clone());
    let input = ("class", class);
    let stage = ImageStage::new(Arc::clone(&model), size, sampling, input, &shared, setup)?;
    let stage = ImageStage {
        smooth: params.smooth,
        ..stage
    };
    let sampling = stage.sampling.clone();
    let shared = shortcuts::resolved(shared, &stage.shortcuts, stage.size.scales.len());
    Ok(stage.resolved(&ClassToImageParams {
        fingerprint: model.fingerprint(),
        cfg_scale: sampling.cfg.given().first().copied(),
        temperature: sampling.temperature.given().first().copied(),
        top_k: Some(sampling.plan.top_k),
        top_p: Some(sampling.plan.top_p),
        fast: false,
        scales: shared.scales,
        guidance_until: shared.guidance_until,
        keep_tokens: shared.keep_tokens,
        cache_budget: shared.cache_budget,
        cache_index: None,
        drafters: shared.drafters,
        stream: false,
        batch: 1,
        ..params
    }))
}

impl ImageStage {
    fn new(
        model: Arc<Model>,
        size: Size,
        mut sampling: ResolvedSampling,
        input: (&'static str, ArtifactType),
        params: &TextToImageParams,
        setup: &Setup,
    ) -> Result<Self, PipelineError> {
        let scales = size.scales.len();
        let shortcuts = shortcuts::shortcuts(params, &mut sampling, (&model, scales), setup)?;
        let init_image = InitImage::new(params, &size, shortcuts.scales, setup)?;
        let source = SourceImage::new(params, &model, &size, setup)?;
        let edit = params.edit.as_ref().filter(|_| source.is_none());
        let inpaint = edit.map(|edit| edit.load(size.width, size.height, setup));
        let inpaint = inpaint.transpose()?;
        let batch = batch_size(params.batch, setup)?;
        Ok(Self {
            blocks: setup.blocks(params.stream)?,
            queue: BatchQueue::new(batch),
            alone: is_only_batch(batch, setup),
            model,
            size,
            sampling,
            shortcuts,
            size_notice: None,
            smooth: false,
            inpaint,
            source,
            init_image,
            batch,
            input,
            resolved: None,
            estimate: None,
            loaded: None,
        })
    }

    fn resolved(self, params: &impl Serialize) -> Self {
        let resolved = serde_json::to_value(params).ok();
        Self { resolved, ..self }
    }

    /// What each scale that is run leaves out.
    fn notes(&self) -> Vec<Option<String>> {
        let guided = self.sampling.plan.guided_scales(self.shortcuts.scales);
        let note = |k| self.shortcuts.note(k, self.size.scales.len(), k < guided);
        (0..self.shortcuts.scales).map(note).collect()
    }

    fn generate(&self, batch: &Batch<Artifact>, out: &mut Output) -> Result<(), PipelineError> {
        let Some(loaded) = &self.loaded else {
            return Err(out.context.failed("it was not loaded"));
        };
        let condition = condition(&batch.conditions);
        let condition = condition.ok_or_else(|| out.context.failed("there is no condition"))?;
        let images = condition.rows();
        let input = ImageInput {
            smooth: self.smooth,
            forced: loaded.forced.clone(),
            keep: loaded.keep.clone(),
            source: loaded.source.clone(),
            first_seeds: self.init_image.first_seeds(images),
            ranks: loaded.ranks.clone(),
            ..ImageInput::new(condition, batch.seeds(), self.sampling.plan.clone())
        };
        let steps = loaded.generator.steps(&loaded.plan, input)?;
        if !out.context.sends() {
            steps.for_each(drop);
            return Ok(());
        }
        let scales = Scales {
            notes: &self.notes(),
            original_size: self.source.as_ref().map(|source| source.original_size),
            alone: self.alone,
        };
        batch.send_scales(steps, scales, out)
    }
}

/// The condition of a batch, whose inputs are all text features or all classes.
fn condition(inputs: &[Artifact]) -> Option<Condition> {
    let texts = inputs.iter().filter_map(|input| match input {
        Artifact::Text(text) => Some(text),
        _ => None,
    });
    // The negative prompt is the same for all prompts of a run.
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

    fn resolved(&self) -> Option<serde_json::Value> {
        self.resolved.clone()
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let name = self.model.manifest().name();
        let mut named = shortcuts::parameters(&self.shortcuts);
        named.extend(self.sampling.parameters(name, self.model.fingerprint()));
        named
    }

    fn prepare(&mut self, context: &Context) -> Result<(), PipelineError> {
        let placement = context.placement(self.blocks);
        let run = ImageRun {
            images: self.batch,
            guided: self.sampling.plan.guided_scales(self.shortcuts.scales),
            shortcuts: self.shortcuts.of_transformer(),
        };
        let estimate = self.model.estimate_image(&self.size, &run, &placement)?;
        let estimate = estimate.releasing_text_encoder(!context.settings.keep_loaded);
        let estimate = estimate.in_turn(self.alone);
        let estimate = estimate.shared_by(context.settings.together.count());
        let needed = estimate.times(context.copies);
        let mask = self
            .inpaint
            .as_ref()
            .and_then(|inpaint| inpaint.notice.clone());
        let notices = self.model.notices().iter().cloned();
        let size = self.size_notice.take();
        for message in notices.chain(needed.notice()).chain(mask).chain(size) {
            context.warn(message);
        }
        needed.check(memory(&context.device))?;
        self.estimate = Some(estimate);
        Ok(())
    }

    fn load(&mut self, context: &Context) -> Result<(), PipelineError> {
        if let Some(estimate) = &self.estimate {
            estimate.reserve_pages(&context.device, false);
        }
        let placement = context.placement(self.blocks);
        let generator = context.parts.scale_generator(&self.model, &placement)?;
        let plan = generator.plan(&self.size)?;
        let plan = plan.with_shortcuts(self.shortcuts.of_transformer());
        let device = &context.device;
        let parts = &context.parts;
        let autoencoder = || -> Result<_, PipelineError> {
            Ok(parts.image_autoencoder(&self.model, &placement)?)
        };
        let keep = match &self.inpaint {
            None => None,
            Some(inpaint) => Some(inpaint.keep(&*autoencoder()?, device)),
        };
        let source = match &self.source {
            None => None,
            Some(source) => Some(source.latent(&*autoencoder()?, device)),
        };
        let forced = self.init_image.codes(plan.cells(), device, autoencoder)?;
        let guided = self.sampling.plan.guided_scales(self.shortcuts.scales) > 0;
        let ranks = context.sample_ranks(guided)?;
        generator.check_ranks(&plan, &ranks)?;
        self.loaded = Some(Loaded {
            generator,
            plan,
            keep,
            source,
            forced,
            ranks,
        });
        Ok(())
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let Some(condition) = input.artifacts.first() else {
            return Err(input.context.failed("it has no input"));
        };
        let full = self.queue.add(input, condition.clone());
        full.map_or(Ok(()), |batch| self.generate(&batch, out))
    }

    fn finish(&mut self, out: &mut Output) -> Result<(), PipelineError> {
        let rest = self.queue.rest();
        rest.map_or(Ok(()), |batch| self.generate(&batch, out))
    }
}
