//! The image that a model edits by instruction.
//!
//! It lies at the top left of a white square, which the model edits as a whole; the decoder crops the result to it again.

use burn::tensor::{Device, Tensor};
use image::RgbImage;
use nextscale_models::generator::ImageAutoencoder;
use nextscale_models::resize::to_square;
use nextscale_models::{Model, Size, pixels};

use super::image_params::TextToImageParams;
use super::inpaint::EditParams;
use crate::error::PipelineError;
use crate::media::read_image;
use crate::setup::Setup;

/// An image in its square, at the size of the model.
pub(super) struct SourceImage {
    square: RgbImage,
    /// Width and height of the image itself.
    pub original_size: [u32; 2],
}

impl SourceImage {
    /// The image that the parameters name, for a model that edits one; nothing for others.
    pub(super) fn new(
        params: &TextToImageParams,
        model: &Model,
        size: &Size,
        setup: &Setup,
    ) -> Result<Option<Self>, PipelineError> {
        if !model.edits_by_instruction() {
            return Ok(None);
        }
        let name = model.name();
        let Some(edit) = &params.edit else {
            let message = format!("the model `{name}` edits an image, and none is given");
            let hint = "give one: `nextscale edit --init-image FILE --prompt \"add glasses\"`, or `edit: { image: FILE }` in YAML";
            return Err(setup.refuse("model", message).hint(hint).into());
        };
        if edit.has_part() {
            let message = format!("the model `{name}` edits the whole image by instruction");
            let hint = "leave out the mask, the box, the sides to extend and `invert`: the prompt says what changes";
            return Err(setup.refuse("edit", message).hint(hint).into());
        }
        let image = read_image(&edit.image).map_err(|e| setup.refuse_error("edit", &e))?;
        Ok(Some(Self {
            original_size: image.dimensions().into(),
            square: to_square(&image, size.width as u32),
        }))
    }

    /// Its latent.
    pub(super) fn latent(&self, autoencoder: &ImageAutoencoder, device: &Device) -> Tensor<5> {
        autoencoder.encode(pixels::from_images(
            std::slice::from_ref(&self.square),
            device,
        ))
    }
}

impl EditParams {
    /// Whether a part of the image is named.
    fn has_part(&self) -> bool {
        let Self {
            mask,
            region,
            outpaint,
            invert,
            ..
        } = self;
        mask.is_some() || region.is_some() || outpaint.is_some() || *invert
    }
}
