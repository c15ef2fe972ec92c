//! `decode`: latents to images.

use std::sync::Arc;

use nextscale_models::generator::ImageAutoencoder;
use nextscale_models::resize::from_square;
use nextscale_models::{Architecture, BlockStorage, Model, pixels};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::latent_types::latent;
use crate::artifact::{Artifact, Kind};
use crate::error::PipelineError;
use crate::setup::Setup;
use crate::stage::{Context, Input, Output, Ports, Stage};
use crate::stage_params::StageParams;

/// Decodes latents to images.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecodeParams {
    /// The model whose auto-encoder is used, instead of the pipeline's.
    pub model: Option<String>,
    /// Decode large images in strips, with less memory and more time: always, never, or, if absent, from about 2 million
    /// pixels on.
    pub tile: Option<bool>,
}

impl StageParams for DecodeParams {
    const STAGE: &'static str = "decode";
}

pub(crate) struct Decode {
    tile: Option<bool>,
    model: Arc<Model>,
    autoencoder: Option<Arc<ImageAutoencoder>>,
}

impl Decode {
    pub(crate) fn new(params: DecodeParams, setup: &Setup) -> Result<Self, PipelineError> {
        let model = setup.image_model(params.model.as_deref())?;
        if params.tile == Some(true) && model.architecture() == Architecture::Var {
            let message = "images of classes are too small to be decoded in strips";
            return Err(setup.refuse("tile", message).hint("drop `tile`").into());
        }
        Ok(Self {
            tile: params.tile,
            model,
            autoencoder: None,
        })
    }
}

impl Stage for Decode {
    fn ports(&self) -> Ports {
        Ports::one("latent", latent(&self.model), Kind::Image)
    }

    fn load(&mut self, context: &Context) -> Result<(), PipelineError> {
        let placement = context.placement(BlockStorage::Loaded);
        let autoencoder = context.parts.image_autoencoder(&self.model, &placement)?;
        self.autoencoder = Some(autoencoder);
        Ok(())
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let latent = input.artifacts.first();
        let (Some(Artifact::Latent(latent)), Some(autoencoder)) = (latent, &self.autoencoder)
        else {
            return Err(input.context.failed("its input is not a latent"));
        };
        let decoded = autoencoder.decode(latent.features.clone(), self.tile);
        let images = pixels::to_images(decoded).map_err(|e| input.context.failed(e))?;
        for image in images {
            let image = match latent.original_size {
                Some(size) => from_square(&image, size),
                None => image,
            };
            out.send(input, Artifact::Image(Arc::new(image)))?;
        }
        Ok(())
    }
}
