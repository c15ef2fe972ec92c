//! A loaded model: prompt in, scales out, image or video back.
//!
//! [`Generator`] is the whole. Its parts are public, because a pipeline runs them in threads of their own: [`PromptEncoder`],
//! [`ScaleGenerator`] and [`ImageAutoencoder`] for images, [`VideoScaleGenerator`] and [`VideoDecoder`] for videos.

mod autoencoder;
mod image;
mod input;
mod prompt_encoder;
mod ranks;
mod request;
mod scale_generator;
mod video;
mod video_decoder;
mod video_generator;

use std::sync::Arc;

use ::image::RgbImage;
pub use autoencoder::ImageAutoencoder;
pub use image::ImageGenerator;
pub use input::{Condition, ImageInput};
pub use prompt_encoder::{EncodedPrompt, PromptEncoder};
pub use request::{Clip, Generated, Request, Step};
pub use scale_generator::{ImagePlan, ScaleGenerator, Steps};
pub use video::{
    Told, VideoInput, VideoLatent, VideoPlan, VideoScaleGenerator, VideoStep, VideoSteps,
};
pub use video_decoder::{Frames, VideoDecoder, encode_frames};
pub use video_generator::VideoGenerator;

use crate::device::{DeviceChoice, Dtype, Placement};
use crate::error::ModelError;
use crate::manifest::Architecture;
use crate::model::Model;

/// A loaded model of any architecture.
///
/// ```no_run
/// use nextscale_models::{Generator, Request};
///
/// let model = Generator::open("infinity-2b")?;
/// let image = model.generate(&Request::prompt("a red apple").seed(7))?.image()?;
/// image.save("apple.png").expect("a folder that can be written to");
/// # Ok::<(), nextscale_models::ModelError>(())
/// ```
#[allow(clippy::large_enum_variant)] // one for each loaded model
pub enum Generator {
    /// A model of images.
    Image(ImageGenerator),
    /// A model of videos.
    Video(VideoGenerator),
}

impl Generator {
    /// Opens a model by name ([`Model::open`]) and loads it: on the first CUDA card in bf16 if there is one, else on the CPU in
    /// f32.
    ///
    /// # Errors
    /// No such model, missing or damaged files, more memory than the device has.
    pub fn open(name: &str) -> Result<Self, ModelError> {
        let placement = Placement::open(DeviceChoice::Auto, Dtype::Auto)?;
        Self::load(&Arc::new(Model::open(name)?), &placement)
    }

    /// Loads an opened model.
    ///
    /// # Errors
    /// Damaged files, more memory than the device has.
    pub fn load(model: &Arc<Model>, placement: &Placement) -> Result<Self, ModelError> {
        match model.architecture() {
            Architecture::Infinity | Architecture::Var => {
                ImageGenerator::load(model, placement).map(Self::Image)
            }
            Architecture::InfinityStar => VideoGenerator::load(model, placement).map(Self::Video),
        }
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        match self {
            Self::Image(generator) => generator.model(),
            Self::Video(generator) => generator.model(),
        }
    }

    /// Generates what a request asks for.
    ///
    /// # Errors
    /// A request that does not fit the model: a class instead of a prompt, a size or length that it does not generate.
    pub fn generate(&self, request: &Request) -> Result<Generated, ModelError> {
        match self {
            Self::Image(generator) => generator.generate(request).map(Generated::Image),
            Self::Video(generator) => generator.generate(request).map(Generated::Video),
        }
    }

    /// The visible loop: an iterator over the scales of an image, coarse to fine, or the passes of a video. Dropping it early
    /// stops the work.
    ///
    /// # Errors
    /// As [`Generator::generate`].
    pub fn steps<'a>(
        &'a self,
        request: &Request,
    ) -> Result<Box<dyn Iterator<Item = Result<Step, ModelError>> + 'a>, ModelError> {
        match self {
            Self::Image(generator) => Ok(Box::new(generator.steps(request)?.map(Ok))),
            Self::Video(generator) => Ok(Box::new(generator.steps(request)?)),
        }
    }

    /// The image of a scale: a preview, or after the last scale the result. Of a pass of a video it is the first frame of its
    /// clip.
    ///
    /// # Errors
    /// Pixels that are not numbers.
    pub fn decode(&self, step: &Step) -> Result<RgbImage, ModelError> {
        match self {
            Self::Image(generator) => generator.decode(&step.features),
            Self::Video(generator) => generator.decode_first_frame(&step.features),
        }
    }
}
