//! `decode`: latents to images.

use std::sync::Arc;

use burn::tensor::Tensor;
use image::RgbImage;
use nextscale_bitwise::vae::BsqVae;
use nextscale_tokenizer::VqVae;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::latent_types::{bit_latent, codebook_latent};
use crate::artifact::{Artifact, ArtifactType, Kind};
use crate::error::PipelineError;
use crate::setup::Setup;
use crate::stage::{Context, Input, Output, Ports, Stage};
use crate::stage_params::StageParams;
use nextscale_models::bundle::Model;

/// The error for pixels that are NaN or infinite.
pub(super) const NOT_NUMBERS: &str = "the picture is not made of numbers (NaN): the weights are damaged, or overflow in this --dtype";

/// Decodes latents to images.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecodeParams {
    /// The model whose auto-encoder is used, instead of the pipeline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Decode large images in strips, with less memory and more time: always, never, or, if absent, from about 2 million
    /// pixels on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tile: Option<bool>,
}

/// Pixels from which on pictures are decoded in strips.
pub(crate) const LARGE: usize = 2_000_000;
/// Pixels of a strip.
const STRIP: usize = 1 << 18;

impl StageParams for DecodeParams {
    const STAGE: &'static str = "decode";
}

/// The stage.
pub(crate) struct Decode {
    params: DecodeParams,
    model: Model,
    vae: Option<Decoder>,
}

/// The auto-encoder of either kind.
enum Decoder {
    Bits(Box<BsqVae>),
    Codebook(Box<VqVae>),
}

impl Decoder {
    /// Pixels of a latent, in strips if that is asked for or the picture is large.
    fn decode(&self, latent: Tensor<5>, tile: Option<bool>) -> Tensor<4> {
        match self {
            Self::Bits(vae) => {
                let [_, _, _, h, w] = latent.dims();
                let (height, width) = (h * vae.stride, w * vae.stride);
                match tile.unwrap_or(height * width >= LARGE) {
                    true => vae.decode_strips(latent, (STRIP / width).max(16)),
                    false => vae.decode(latent),
                }
            }
            Self::Codebook(vae) => vae.decode(latent),
        }
    }
}

impl Decode {
    pub(crate) fn new(params: DecodeParams, setup: &Setup) -> Result<Self, PipelineError> {
        let model = setup.image_model(params.model.as_deref())?;
        if params.tile == Some(true) && matches!(model, Model::Class(_)) {
            let message = "pictures of classes are too small to be decoded in strips";
            return Err(setup.refuse("tile", message).hint("drop `tile`").into());
        }
        let vae = None;
        Ok(Self { params, model, vae })
    }
}

/// Pixels `[1, 3, h, w]` in [-1, 1] to 8 bits, cut off as the released models do it.
///
/// The error says what is wrong: pixels that are no numbers would become black without a word.
pub(super) fn to_image(pixels: Tensor<4>) -> Result<RgbImage, &'static str> {
    let [_, _, h, w] = pixels.dims();
    let rows = pixels.permute([0, 2, 3, 1]); // [1, h, w, 3]
    let values = rows.into_data().convert::<f32>();
    if !values.iter::<f32>().all(f32::is_finite) {
        return Err(NOT_NUMBERS);
    }
    let bytes = values
        .iter::<f32>()
        .map(|x| ((x + 1.0) / 2.0 * 255.0) as u8);
    RgbImage::from_raw(w as u32, h as u32, bytes.collect()).ok_or("the picture has a wrong size")
}

impl Stage for Decode {
    fn ports(&self) -> Ports {
        let latent = match &self.model {
            Model::Text(bundle) => bit_latent(bundle),
            Model::Class(bundle) => codebook_latent(bundle),
            Model::Video(_) => ArtifactType::new(Kind::Latent), // refused by `new`
        };
        let inputs = vec![("latent", latent)];
        let output = Some(ArtifactType::new(Kind::Image));
        Ports { inputs, output }
    }

    fn resolved(&self) -> serde_json::Value {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn load(&mut self, context: &Context) -> Result<(), PipelineError> {
        self.vae = Some(match &self.model {
            Model::Text(bundle) => Decoder::Bits(Box::new(bundle.vae(&context.device)?)),
            Model::Class(bundle) => Decoder::Codebook(Box::new(bundle.vae(&context.device)?)),
            Model::Video(_) => return Err(context.failed("its model makes videos")),
        });
        Ok(())
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let (Some(Artifact::Latent(latent)), Some(vae)) = (input.artifacts.first(), &self.vae)
        else {
            return Err(input.context.failed("its input is no latent"));
        };
        let image = to_image(vae.decode(latent.clone(), self.params.tile));
        let image = image.map_err(|e| input.context.failed(e))?;
        out.send(input, Artifact::Image(Arc::new(image)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn pixels_are_cut_off_to_bytes() {
        let pixels = Tensor::<4>::from_floats(
            [[[[-1.0, 1.0]], [[0.0, 0.999]], [[-0.5, 0.5]]]],
            &Device::flex(),
        );
        let image = to_image(pixels).unwrap();
        assert_eq!(image.dimensions(), (2, 1));
        assert_eq!(image.as_raw(), &[0, 127, 63, 255, 254, 191]);
        let damaged = Tensor::<4>::full([1, 3, 2, 2], f32::NAN, &Device::flex());
        assert!(to_image(damaged).unwrap_err().contains("NaN"));
    }
}
