//! `decode`: latents to images.

use std::sync::Arc;

use nextscale_models::generator::ImageAutoencoder;
use nextscale_models::{Architecture, Model, pixels};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::latent_types::latent;
use crate::artifact::{Artifact, ArtifactType, Kind};
use crate::error::PipelineError;
use crate::setup::Setup;
use crate::stage::{Context, Input, Output, Ports, Stage};
use crate::stage_params::StageParams;

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

impl StageParams for DecodeParams {
    const STAGE: &'static str = "decode";
}

/// The stage.
pub(crate) struct Decode {
    params: DecodeParams,
    model: Arc<Model>,
    autoencoder: Option<ImageAutoencoder>,
}

impl Decode {
    pub(crate) fn new(params: DecodeParams, setup: &Setup) -> Result<Self, PipelineError> {
        let model = setup.image_model(params.model.as_deref())?;
        if params.tile == Some(true) && model.architecture() == Architecture::Var {
            let message = "images of classes are too small to be decoded in strips";
            return Err(setup.refuse("tile", message).hint("drop `tile`").into());
        }
        let autoencoder = None;
        Ok(Self {
            params,
            model,
            autoencoder,
        })
    }
}

impl Stage for Decode {
    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![("latent", latent(&self.model))],
            output: Some(ArtifactType::new(Kind::Image)),
        }
    }

    fn resolved(&self) -> serde_json::Value {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn load(&mut self, context: &Context) -> Result<(), PipelineError> {
        let autoencoder = ImageAutoencoder::load(&self.model, &context.device)?;
        self.autoencoder = Some(autoencoder);
        Ok(())
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let latent = input.artifacts.first();
        let (Some(Artifact::Latent(latent)), Some(autoencoder)) = (latent, &self.autoencoder)
        else {
            return Err(input.context.failed("its input is not a latent"));
        };
        let decoded = autoencoder.decode(latent.clone(), self.params.tile);
        let images = pixels::to_images(decoded).map_err(|e| input.context.failed(e))?;
        for image in images {
            out.send(input, Artifact::Image(Arc::new(image)))?;
        }
        Ok(())
    }
}
