use std::sync::Arc;

use image::RgbImage;

use super::image::ImageGenerator;
use super::request::Request;
use crate::device::Placement;
use crate::error::ModelError;
use crate::first_frame::FirstFrame;
use crate::model::Model;
use crate::resize::contain;

/// Generates the first frames of videos for models that do not generate their own.
pub struct FirstFrameGenerator {
    rules: FirstFrame,
    generator: ImageGenerator,
}

impl FirstFrameGenerator {
    /// Loads the model of images that the rules name.
    ///
    /// # Errors
    /// Those of [`ImageGenerator::load`].
    pub fn load(
        rules: &FirstFrame,
        model: &Arc<Model>,
        placement: &Placement,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            rules: rules.clone(),
            generator: ImageGenerator::load(model, placement)?,
        })
    }

    /// The first frame, `width` x `height` pixels, of the video of a prompt.
    ///
    /// # Errors
    /// Those of [`ImageGenerator::generate`].
    pub fn generate(
        &self,
        prompt: &str,
        seed: u64,
        size: [u32; 2],
    ) -> Result<RgbImage, ModelError> {
        let request = Request::prompt(self.rules.prompt(prompt)).seed(seed);
        let image = self.generator.generate(&request)?;
        let FirstFrame {
            size: share,
            background,
            ..
        } = &self.rules;
        Ok(contain(&image, size, *share, *background))
    }
}
