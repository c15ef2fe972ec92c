//! `class-to-image`: classes to latents, scale by scale.

use std::sync::Arc;

use burn::tensor::{Int, Tensor};
use nextscale_tokenizer::{InpaintMask, VqCodes};
use nextscale_var_core::var::{GenerateInput, generate};
use nextscale_var_core::var::{Plan, Var};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::batch::{self, Batch, BatchQueue};
use super::init_image::{InitImage, InitRequest, StartParams, VariationParams};
use super::inpaint::{EditParams, InpaintImage};
use super::latent_types::codebook_latent;
use super::sampling::{ScalarOverrides, check_fingerprint, parameters};
use crate::artifact::{Artifact, ArtifactType, Kind};
use crate::error::PipelineError;
use crate::setup::Setup;
use crate::stage::{Context, Event, Input, Output, Ports, Stage};
use crate::stage_params::StageParams;
use nextscale_models::bundle::{BlockStorage, ClassBundle, Sampling};

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

/// The stage.
pub(crate) struct ClassToImage {
    params: ClassToImageParams,
    bundle: Arc<ClassBundle>,
    sampling: Sampling,
    inpaint: Option<InpaintImage>,
    start: InitImage,
    blocks: BlockStorage,
    queue: BatchQueue<usize>,
    loaded: Option<Loaded>,
}

struct Loaded {
    model: Var,
    plan: Plan,
    codes: VqCodes,
    keep: Option<InpaintMask>,
    forced: Vec<Tensor<4, Int>>,
}

impl ClassToImage {
    pub(crate) fn new(params: ClassToImageParams, setup: &Setup) -> Result<Self, PipelineError> {
        let bundle = setup.class_model(params.model.as_deref())?;
        let fingerprint = bundle.fingerprint();
        check_fingerprint(
            params.fingerprint.as_deref(),
            fingerprint.as_deref(),
            bundle.name(),
            setup,
        )?;
        let overrides = ScalarOverrides {
            cfg: params.cfg_scale,
            temperature: params.temperature,
            top_k: params.top_k,
            top_p: params.top_p,
        };
        let sampling = overrides.resolve(&bundle.manifest().sampling, setup)?;
        let (width, height) = bundle.manifest().size();
        let edit = params.edit.as_ref();
        let inpaint = edit.map(|edit| edit.load(width, height, setup));
        let inpaint = inpaint.transpose()?;
        let scales = bundle.manifest().transformer.schedule.len();
        let request = InitRequest {
            start: params.start.as_ref(),
            variation: params.variation.as_ref(),
            edited: inpaint.is_some(),
        };
        let start = request.load([width, height], scales, setup)?;
        Ok(Self {
            inpaint,
            start,
            blocks: setup.blocks(params.stream)?,
            queue: BatchQueue::new(batch::batch_size(params.batch, setup)?),
            params,
            bundle,
            sampling,
            loaded: None,
        })
    }
}

impl Stage for ClassToImage {
    fn ports(&self) -> Ports {
        let classes = self.bundle.manifest().transformer.classes;
        let class = ArtifactType::new(Kind::Class).constraint("numbers below", classes);
        Ports {
            inputs: vec![("class", class)],
            output: Some(codebook_latent(&self.bundle)),
        }
    }

    fn resolved(&self) -> serde_json::Value {
        let params = ClassToImageParams {
            fingerprint: self.bundle.fingerprint(),
            cfg_scale: Some(self.sampling.cfg),
            temperature: Some(self.sampling.tau),
            top_k: Some(self.sampling.top_k),
            top_p: Some(self.sampling.top_p),
            stream: false,
            batch: 1,
            ..self.params.clone()
        };
        serde_json::to_value(params).unwrap_or_default()
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let manifest = self.bundle.manifest();
        let scales = manifest.transformer.schedule.len();
        parameters(
            [self.sampling.cfg, self.sampling.tau],
            &self.sampling,
            scales,
            &manifest.name,
            self.bundle.fingerprint(),
        )
    }

    fn prepare(&mut self, context: &Context) -> Result<(), PipelineError> {
        let (device, dtype) = (&context.device, context.dtype);
        let rows = self.params.batch * if self.sampling.cfg == 0.0 { 1 } else { 2 };
        let estimate = self.bundle.estimate(rows, (dtype, device, self.blocks));
        if let Some(message) = estimate.notice() {
            (context.observer)(Event::Warning { message });
        }
        Ok(estimate.check(nextscale_models::device::memory(device))?)
    }

    fn load(&mut self, context: &Context) -> Result<(), PipelineError> {
        let (device, dtype) = (&context.device, context.dtype);
        let model = self.bundle.transformer(device, dtype, self.blocks)?;
        let plan = Plan::stepwise(&self.bundle.manifest().transformer, &context.device);
        let keep = match &self.inpaint {
            None => None,
            Some(inpaint) => {
                let vae = self.bundle.vae(&context.device)?;
                Some(inpaint.keep(&context.device, |pixels| vae.encode(pixels)))
            }
        };
        let forced = self.start.codes(&context.device, |pixels| {
            let schedule = &self.bundle.manifest().transformer.schedule;
            let vae = self.bundle.vae(&context.device)?;
            let codes = vae.encode_codes(pixels, schedule).codes.into_iter();
            codes
                .map(|codes| {
                    codes
                        .indices()
                        .ok_or_else(|| context.failed("its codes are no numbers"))
                })
                .collect()
        })?;
        self.loaded = Some(Loaded {
            model,
            plan,
            codes: self.bundle.codes(&context.device)?,
            keep,
            forced,
        });
        Ok(())
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let Some(Artifact::Class(class)) = input.artifacts.first() else {
            return Err(input.context.failed("its input is no class"));
        };
        match self.queue.add(input, *class) {
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

impl ClassToImage {
    fn paint(&self, batch: &Batch<usize>, out: &mut Output) -> Result<(), PipelineError> {
        let Some(loaded) = &self.loaded else {
            return Err(out.context.failed("it was not loaded"));
        };
        let Loaded {
            model,
            plan,
            codes,
            keep,
            forced,
        } = loaded;
        let (scales, seeds, classes) = (plan.schedule().len(), batch.seeds(), &batch.conditions);
        let first: Vec<u64> = seeds.iter().map(|&s| self.start.first_seed(s)).collect();
        let (sampler, mut options) = self.sampling.start_classes(&first, scales);
        let forced = forced.iter();
        let forced = forced.map(|codes| codes.clone().repeat_dim(0, classes.len()));
        options.forced = forced.collect();
        options.smooth = self.params.smooth;
        options.keep = keep.clone();
        let mut all = generate(
            model,
            GenerateInput {
                pyramid: codes.pyramid(),
                plan,
                labels: classes,
                options,
                sampler,
            },
        );
        let next = || {
            if Some(all.position()) == self.start.takes_over() {
                all.set_sampler(self.sampling.start_classes(&seeds, scales).0);
            }
            all.next().map(|scale| scale.features)
        };
        batch.send_scales(std::iter::from_fn(next), scales, out)
    }
}
