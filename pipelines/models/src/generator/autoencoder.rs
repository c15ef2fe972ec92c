use burn::tensor::Tensor;
use nextscale_bitwise::vae::BsqVae;
use nextscale_tokenizer::pyramid::Encoded;
use nextscale_tokenizer::{Codes, Pyramid, ScaleSchedule, VqVae};

use crate::device::Placement;
use crate::error::ModelError;
use crate::manifest::Manifest;
use crate::memory::TILED_DECODE_PIXELS;
use crate::model::Model;

/// Pixels of a strip.
const STRIP_PIXELS: usize = 1 << 18;

/// The auto-encoder of a model of images: pixels to latents and codes, and back.
#[derive(Debug)]
pub enum ImageAutoencoder {
    /// Infinity's, whose codes are bits.
    Bsq(Box<BsqVae>),
    /// VAR's, whose codes are rows of a codebook.
    Vq(Box<VqVae>),
}

impl ImageAutoencoder {
    /// Loads the auto-encoder of a model, with weights of f32; on a card its decoder multiplies in f16, unless the placement is
    /// of f32.
    ///
    /// # Errors
    /// A model of videos, a damaged file, and weights that are not those of the description.
    pub fn load(model: &Model, placement: &Placement) -> Result<Self, ModelError> {
        match model.manifest() {
            Manifest::Infinity(_) => Ok(Self::Bsq(Box::new(model.load_bsq_vae(placement)?))),
            Manifest::Var(_) => Ok(Self::Vq(Box::new(model.load_vq_vae(placement)?))),
            Manifest::InfinityStar(_) => Err(model.is_not_of_images()),
        }
    }

    /// The latent `[b, c, 1, h, w]` of pixels `[b, 3, s h, s w]` in [-1, 1].
    pub fn encode(&self, pixels: Tensor<4>) -> Tensor<5> {
        match self {
            Self::Bsq(vae) => vae.encode(pixels),
            Self::Vq(vae) => vae.encode(pixels),
        }
    }

    /// The codes of a latent at every scale of the auto-encoder's schedule, and their sum.
    pub fn quantize(&self, latent: Tensor<5>, schedule: &ScaleSchedule) -> Encoded {
        match self {
            Self::Bsq(vae) => Pyramid::plain(&vae.quantizer()).encode(latent, schedule),
            Self::Vq(vae) => vae.pyramid().encode(latent, schedule),
        }
    }

    /// The codes of pixels `[b, 3, s h, s w]` at every scale of the auto-encoder's schedule.
    pub fn codes(&self, pixels: Tensor<4>, schedule: &ScaleSchedule) -> Vec<Codes> {
        self.quantize(self.encode(pixels), schedule).codes
    }

    /// The pixels `[b, 3, s h, s w]` of a latent, about [-1, 1]. With `tiled`, or without it if the image is large, an
    /// Infinity latent is decoded in strips: less memory, the same result.
    pub fn decode(&self, latent: Tensor<5>, tiled: Option<bool>) -> Tensor<4> {
        match self {
            Self::Bsq(vae) => {
                let [_, _, _, h, w] = latent.dims();
                let (height, width) = (h * vae.stride, w * vae.stride);
                if tiled.unwrap_or(height * width >= TILED_DECODE_PIXELS) {
                    vae.decode_strips(latent, (STRIP_PIXELS / width).max(16))
                } else {
                    vae.decode(latent)
                }
            }
            Self::Vq(vae) => vae.decode(latent),
        }
    }
}
