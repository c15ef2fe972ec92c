//! `decode-video`: the latents of videos to frames, a few at a time.

use std::sync::Arc;

use nextscale_models::generator::{Frames, VideoDecoder};
use nextscale_models::{BlockStorage, Model};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::latent_types::latent;
use crate::artifact::{Artifact, Kind};
use crate::error::PipelineError;
use crate::setup::Setup;
use crate::stage::{Context, Input, Output, Ports, Stage};
use crate::stage_params::StageParams;

/// Decodes the latents of videos to frames, which go to the next stage in small chunks, so that memory does not grow with
/// the length of the video.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecodeVideoParams {
    /// The model whose auto-encoder is used, instead of the pipeline's.
    pub model: Option<String>,
}

impl StageParams for DecodeVideoParams {
    const STAGE: &'static str = "decode-video";
}

pub(crate) struct DecodeVideo {
    model: Arc<Model>,
    decoder: Option<VideoDecoder>,
}

impl DecodeVideo {
    pub(crate) fn new(params: DecodeVideoParams, setup: &Setup) -> Result<Self, PipelineError> {
        let model = setup.video_model(params.model.as_deref())?;
        let decoder = None;
        Ok(Self { model, decoder })
    }
}

impl Stage for DecodeVideo {
    fn ports(&self) -> Ports {
        Ports::one("latent", latent(&self.model), Kind::Frames)
    }

    fn load(&mut self, context: &Context) -> Result<(), PipelineError> {
        let placement = context.placement(BlockStorage::Loaded);
        self.decoder = Some(context.parts.video_decoder(&self.model, &placement)?);
        Ok(())
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let latent = input.artifacts.first();
        let (Some(Artifact::VideoLatent(part)), Some(decoder)) = (latent, &mut self.decoder) else {
            return Err(input.context.failed("its input is not a video latent"));
        };
        let send = |frames: Frames| {
            input.context.cancel.check()?;
            out.send(input, Artifact::Frames(Arc::new(frames)))
        };
        if input.preview.is_some() {
            decoder.preview(part, send)
        } else {
            decoder.decode(part, send)
        }
    }
}
