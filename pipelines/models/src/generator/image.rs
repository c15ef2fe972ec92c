use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use image::RgbImage;

use super::autoencoder::ImageAutoencoder;
use super::input::{Condition, ImageInput};
use super::prompt_encoder::PromptEncoder;
use super::request::{Request, Step, Subject, needs_source, takes_no_source, takes_prompts};
use super::scale_generator::{ImagePlan, ScaleGenerator, Steps};
use crate::device::{Placement, memory};
use crate::error::ModelError;
use crate::first_frame::FirstFrame;
use crate::manifest::Manifest;
use crate::memory::{ImageRun, MemoryEstimate};
use crate::model::Model;
use crate::pixels;
use crate::resize::{from_square, to_square};
use crate::sampling::{Sampling, SamplingPlan};
use crate::size::Size;

/// What one guided image of a model's default size takes.
fn default_estimate(model: &Model, placement: &Placement) -> Result<MemoryEstimate, ModelError> {
    let size = model.default_size()?;
    let run = ImageRun::guided(1, size.scales.len());
    let estimate = model.estimate_image(&size, &run, placement)?;
    Ok(estimate.in_one_thread())
}

/// A loaded model of images.
pub struct ImageGenerator {
    encoder: Option<PromptEncoder>,
    scales: ScaleGenerator,
    autoencoder: ImageAutoencoder,
}

impl ImageGenerator {
    /// Loads a model of images; one without files has random weights and no text encoder.
    ///
    /// # Errors
    /// A model of videos, damaged files, more memory than the device has.
    pub fn load(model: &Arc<Model>, placement: &Placement) -> Result<Self, ModelError> {
        let estimate = default_estimate(model, placement)?;
        estimate.check(memory(&placement.device))?;
        estimate.reserve_pages(&placement.device, true);
        let encoder = match model.manifest().text() {
            Some(_) if model.has_files() => Some(PromptEncoder::load(model, &placement.device)?),
            _ => None,
        };
        Self::with_encoder(encoder, model, placement)
    }

    /// Loads a model of images without its text encoder: for classes, or prompts that are encoded already.
    ///
    /// # Errors
    /// As for [`ImageGenerator::load`].
    pub fn load_without_text(
        model: &Arc<Model>,
        placement: &Placement,
    ) -> Result<Self, ModelError> {
        let estimate = MemoryEstimate {
            text: 0,
            ..default_estimate(model, placement)?
        };
        estimate.check(memory(&placement.device))?;
        estimate.reserve_pages(&placement.device, true);
        Self::with_encoder(None, model, placement)
    }

    /// A model of this description with random weights and without a text encoder, to measure speed.
    ///
    /// # Errors
    /// A description whose parts do not fit together, and one of a model of videos.
    pub fn random(manifest: Manifest, placement: &Placement) -> Result<Self, ModelError> {
        Self::with_encoder(
            None,
            &Arc::new(Model::with_random_weights(manifest)?),
            placement,
        )
    }

    fn with_encoder(
        encoder: Option<PromptEncoder>,
        model: &Arc<Model>,
        placement: &Placement,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            encoder,
            scales: ScaleGenerator::load(model, placement)?,
            autoencoder: ImageAutoencoder::load(model, placement)?,
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        self.scales.model()
    }

    /// The device of the transformer.
    pub fn device(&self) -> &Device {
        self.scales.device()
    }

    /// The auto-encoder.
    pub fn autoencoder(&self) -> &ImageAutoencoder {
        &self.autoencoder
    }

    /// The plan of a size of the model.
    ///
    /// # Errors
    /// A size that the model does not generate.
    pub fn plan(&self, width: usize, height: usize) -> Result<ImagePlan, ModelError> {
        self.scales.plan(&self.model().size(width, height)?)
    }

    /// How a plan is sampled with these settings.
    pub fn sampling_plan(&self, sampling: &Sampling, plan: &ImagePlan) -> SamplingPlan {
        let scales = plan.schedule().len();
        match plan {
            ImagePlan::Infinity(..) => sampling.constant(scales),
            ImagePlan::Var(_) => sampling.ramp(scales),
        }
    }

    /// The feature maps of all scales for prepared conditions, one row for each image.
    ///
    /// # Errors
    /// A condition of another architecture.
    pub fn run(&self, plan: &ImagePlan, input: ImageInput) -> Result<Steps<'_>, ModelError> {
        self.scales.steps(plan, input)
    }

    /// The condition of prompts, all of one batch.
    ///
    /// # Errors
    /// A class-conditional model, and prompts that cannot be encoded.
    pub fn encode<P: AsRef<str>>(
        &self,
        prompts: &[P],
        negative: &str,
    ) -> Result<Condition, ModelError> {
        let Some(encoder) = &self.encoder else {
            let name = self.model().name();
            let message = format!("the model `{name}` takes classes, not prompts");
            return Err(ModelError::refused_with(message, "ask for a class instead"));
        };
        let features = |prompt: &str| Ok(encoder.encode(prompt, 1)?.features);
        let positive = prompts.iter().map(|prompt| features(prompt.as_ref()));
        let positive: Vec<Tensor<3>> = positive.collect::<Result<_, ModelError>>()?;
        let negative = match negative.trim() {
            "" => vec![],
            _ => vec![features(negative)?; positive.len()],
        };
        Condition::of_prompts(positive.iter(), negative.iter())
            .ok_or_else(|| ModelError::refused("there is no prompt"))
    }

    fn condition(&self, request: &Request) -> Result<Condition, ModelError> {
        match (&request.subject, self.model().manifest()) {
            (Subject::Class(class), Manifest::Var(manifest)) => {
                let class = manifest.class_names().find(class)?;
                Ok(Condition::Classes(vec![class]))
            }
            (Subject::Prompt(prompt), _) => self.encode(&[prompt], &request.negative_prompt),
            (Subject::Class(_), _) => Err(takes_prompts(self.model())),
        }
    }

    fn sampling(&self, request: &Request) -> Result<Sampling, ModelError> {
        request.check_ranges()?;
        let mut sampling = self.model().sampling()?.clone();
        sampling.cfg = request.cfg_scale.unwrap_or(sampling.cfg);
        sampling.temperature = request.temperature.unwrap_or(sampling.temperature);
        sampling.top_k = request.top_k.unwrap_or(sampling.top_k);
        sampling.top_p = request.top_p.unwrap_or(sampling.top_p);
        Ok(sampling)
    }

    /// An iterator over the scales of the image that a request asks for.
    ///
    /// # Errors
    /// A request that does not fit the model.
    pub fn steps<'a>(
        &'a self,
        request: &Request,
    ) -> Result<impl Iterator<Item = Step> + use<'a>, ModelError> {
        if request.seconds.is_some() || request.frames.is_some() {
            let message = format!("the model `{}` generates images", self.model().name());
            let hint = "a length is for models of videos";
            return Err(ModelError::refused_with(message, hint));
        }
        let size = request.size_for(self.model())?;
        let plan = self.scales.plan(&size)?;
        let source = match (&request.init_image, plan.edits()) {
            (Some(image), true) => Some(self.source(image, &size)),
            (None, false) => None,
            (None, true) => return Err(needs_source(self.model())),
            (Some(_), false) => return Err(takes_no_source(self.model())),
        };
        let scales = plan.schedule().len();
        let shortcuts = request.shortcuts.resolve_for(self.model(), scales)?;
        let plan = plan.with_shortcuts(shortcuts.of_transformer());
        let sampling = self.sampling_plan(&self.sampling(request)?, &plan);
        let sampling = sampling.guided_until(shortcuts.guidance_until);
        let input = ImageInput {
            source,
            ..ImageInput::new(self.condition(request)?, vec![request.seed], sampling)
        };
        let count = plan.scales();
        let steps = self.run(&plan, input)?.enumerate();
        Ok(steps.map(move |(index, features)| Step {
            index,
            count,
            features,
        }))
    }

    /// The image that a request asks for.
    ///
    /// # Errors
    /// A request that does not fit the model, and pixels that are not numbers.
    pub fn generate(&self, request: &Request) -> Result<RgbImage, ModelError> {
        let last = self.steps(request)?.last();
        let last = last.ok_or_else(|| ModelError::refused("the schedule has no scale"))?;
        let image = self.decode(&last.features)?;
        // An edit has the size of its original.
        Ok(match &request.init_image {
            Some(original) => from_square(&image, original.dimensions().into()),
            None => image,
        })
    }

    /// The latent of the image that is edited, at a size of the model.
    fn source(&self, image: &RgbImage, size: &Size) -> Tensor<5> {
        let square = to_square(image, size.width as u32);
        let pixels = pixels::from_images(&[square], self.device());
        self.autoencoder.encode(pixels)
    }

    /// [`ScaleGenerator::blank_source`].
    pub fn blank_source(&self, plan: &ImagePlan) -> Option<Tensor<5>> {
        self.scales.blank_source(plan)
    }

    /// The first frame, `width` x `height` pixels, of the video of a prompt, by the rules of the model of videos.
    ///
    /// # Errors
    /// Those of [`ImageGenerator::generate`].
    pub fn first_frame(
        &self,
        rules: &FirstFrame,
        prompt: &str,
        seed: u64,
        size: [u32; 2],
    ) -> Result<RgbImage, ModelError> {
        let image = self.generate(&Request::prompt(rules.prompt(prompt)).seed(seed))?;
        Ok(rules.frame(&image, size))
    }

    /// The image of a feature map `[1, c, 1, h, w]`; of an edit the whole square, of which the original has the top left.
    ///
    /// # Errors
    /// Pixels that are not numbers.
    pub fn decode(&self, features: &Tensor<5>) -> Result<RgbImage, ModelError> {
        let pixels = self.autoencoder.decode(features.clone(), None);
        let images = pixels::to_images(pixels);
        let images = images.map_err(|e| ModelError::refused(e.to_string()))?;
        let image = images.into_iter().next();
        image.ok_or_else(|| ModelError::refused("there is no image to decode"))
    }
}
