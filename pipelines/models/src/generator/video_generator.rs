use std::cell::RefCell;
use std::sync::Arc;

use burn::tensor::Tensor;
use image::RgbImage;

use super::image::ImageGenerator;
use super::prompt_encoder::PromptEncoder;
use super::request::{Clip, Request, Step, Subject, takes_prompts};
use super::video::{
    VideoInput, VideoLatent, VideoPlan, VideoScaleGenerator, VideoStep, VideoSteps,
};
use super::video_decoder::{VideoDecoder, encode_frames};
use crate::device::{Placement, memory};
use crate::error::ModelError;
use crate::manifest::InfinityStarManifest;
use crate::model::Model;
use crate::resize::crop_to_cover;

/// A loaded model of videos.
pub struct VideoGenerator {
    model: Arc<Model>,
    encoder: PromptEncoder,
    passes: VideoScaleGenerator,
    decoder: RefCell<VideoDecoder>,
    /// What generates first frames, for a model that does not.
    images: Option<ImageGenerator>,
}

impl VideoGenerator {
    /// Loads a model of videos.
    ///
    /// # Errors
    /// A model of images, damaged files, more memory than the device has.
    pub fn load(model: &Arc<Model>, placement: &Placement) -> Result<Self, ModelError> {
        let manifest = model.infinity_star()?;
        let (size, frames) = (model.default_size()?, manifest.frames.default);
        let plan = VideoPlan::new(manifest.clone(), size, frames)?;
        let estimate = model.estimate_video(&plan, placement).in_one_thread();
        estimate.check(memory(&placement.device))?;
        estimate.reserve_pages(&placement.device, true);
        let images = match &manifest.first_frame {
            None => None,
            Some(rules) => {
                let model = Arc::new(Model::open(&rules.model)?);
                Some(ImageGenerator::load(&model, placement)?)
            }
        };
        Ok(Self {
            encoder: PromptEncoder::load(model, &placement.device)?,
            passes: VideoScaleGenerator::load(model, placement)?,
            decoder: RefCell::new(VideoDecoder::load(model, placement)?),
            images,
            model: Arc::clone(model),
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The text encoder.
    pub fn encoder(&self) -> &PromptEncoder {
        &self.encoder
    }

    /// The plan of a request: its size, its length and the settings that it changes.
    fn plan(&self, request: &Request) -> Result<(VideoPlan, usize), ModelError> {
        let mut manifest = self.model.infinity_star()?.clone();
        if manifest.semantic_scale.is_some() {
            return Err(ModelError::refused_with(
                format!("the model `{}` continues a given video", self.model.name()),
                "use a pipeline with a `text-to-video` stage",
            ));
        }
        let frames = manifest.length(request.seconds, request.frames)?;
        let size = request.size_for(&self.model)?;
        request.check_ranges()?;
        if let Some(scale) = request.cfg_scale {
            manifest.guidance = manifest.guidance.with_scale(scale);
        }
        if let Some(temperature) = request.temperature {
            manifest.clip_temperature = temperature;
        }
        let shortcuts = request.shortcuts.resolve_video(size.scales.len())?;
        let plan = VideoPlan::new(manifest, size, frames)?;
        Ok((plan.with_shortcuts(shortcuts)?, frames))
    }

    /// The frames that the video of a request starts with.
    fn given(
        &self,
        request: &Request,
        prompt: &str,
        plan: &VideoPlan,
    ) -> Result<Option<RgbImage>, ModelError> {
        let size = [plan.size.width as u32, plan.size.height as u32];
        Ok(match (&request.init_image, &plan.manifest.first_frame) {
            (Some(image), Some(rules)) => Some(rules.frame(image, size)),
            (Some(image), None) => Some(crop_to_cover(image, size[0], size[1])),
            (None, Some(rules)) => match &self.images {
                Some(images) => Some(images.first_frame(rules, prompt, request.seed, size)?),
                None => None,
            },
            (None, None) => None,
        })
    }

    fn run(&self, request: &Request) -> Result<(VideoSteps<'_>, VideoPlan), ModelError> {
        let Subject::Prompt(prompt) = &request.subject else {
            return Err(takes_prompts(&self.model));
        };
        let (plan, frames) = self.plan(request)?;
        let features = |prompt: &str| -> Result<_, ModelError> {
            Ok(self.encoder.encode(prompt, frames)?.features)
        };
        let mut input = VideoInput::new(features(prompt)?, request.seed);
        if !request.negative_prompt.trim().is_empty() {
            input.negative = Some(features(&request.negative_prompt)?);
        }
        if let Some(image) = self.given(request, prompt, &plan)? {
            let decoder = self.decoder.borrow();
            let device = self.passes.device();
            let latent = encode_frames(decoder.vae(), &[image], request.seed, device);
            input.given = Some(latent);
        }
        Ok((self.passes.steps(&plan, input), plan))
    }

    /// An iterator over the passes of the video that a request asks for. Where a scale converges, the numbers of the passes that it
    /// leaves out are missing.
    ///
    /// # Errors
    /// A request that does not fit the model.
    pub fn steps<'a>(
        &'a self,
        request: &Request,
    ) -> Result<impl Iterator<Item = Result<Step, ModelError>> + use<'a>, ModelError> {
        let (steps, plan) = self.run(request)?;
        let count = plan.passes();
        let step = move |VideoStep {
                             index, features, ..
                         }| Step {
            index,
            count,
            features,
        };
        Ok(steps.map(move |result| result.map(step)))
    }

    /// The video that a request asks for.
    ///
    /// # Errors
    /// A request that does not fit the model, and pixels that are not numbers.
    pub fn generate(&self, request: &Request) -> Result<Clip, ModelError> {
        self.generate_watched(request, &mut |_| ())
    }

    /// As [`VideoGenerator::generate`]; `on_pass` gets the number of each finished pass, from 0, whose frames are decoded.
    ///
    /// # Errors
    /// As [`VideoGenerator::generate`].
    pub fn generate_watched(
        &self,
        request: &Request,
        on_pass: &mut dyn FnMut(usize),
    ) -> Result<Clip, ModelError> {
        let (steps, plan) = self.run(request)?;
        let mut decoder = self.decoder.borrow_mut();
        let mut frames = vec![];
        for step in steps {
            let step = step?;
            if let Some(part) = step.finished {
                decoder.decode::<ModelError>(&part, |mut part| {
                    frames.append(&mut part.images);
                    Ok(())
                })?;
            }
            on_pass(step.index);
        }
        let fps = plan.manifest.fps;
        Ok(Clip { frames, fps })
    }

    /// The first frame of the clip with a running feature map `[1, c, t, h, w]`.
    ///
    /// # Errors
    /// Pixels that are not numbers.
    pub fn decode_first_frame(&self, features: &Tensor<5>) -> Result<RgbImage, ModelError> {
        let InfinityStarManifest { fps, .. } = *self.model.infinity_star()?;
        let part = VideoLatent::first_frame_of(features, fps);
        let mut first = None;
        let mut decoder = self.decoder.borrow_mut();
        decoder.preview::<ModelError>(&part, |mut part| {
            first = Some(part.images.remove(0));
            Ok(())
        })?;
        first.ok_or_else(|| ModelError::refused("there is no frame to decode"))
    }
}
