//! `decode-video`: the latents of videos to frames, a few at a time.

use std::sync::Arc;

use burn::tensor::Tensor;
use image::RgbImage;
use nextscale_video::InfinityStarVae;
use nextscale_video::conv3d::FrameCache;
use nextscale_video::vae::DecodeStream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::decode::to_image;
use super::latent_types::video_latent;
use crate::artifact::{Artifact, ArtifactType, Frames, Kind, VideoLatent};
use crate::error::PipelineError;
use crate::setup::Setup;
use crate::stage::{Context, Input, Output, Ports, Stage};
use crate::stage_params::StageParams;
use nextscale_models::bundle::StarBundle;

/// Decodes the latents of videos to frames, which go to the next stage in small chunks, so that memory does not grow with
/// the length of the video.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecodeVideoParams {
    /// The model whose auto-encoder is used, instead of the pipeline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl StageParams for DecodeVideoParams {
    const STAGE: &'static str = "decode-video";
}

/// The stage.
pub(crate) struct DecodeVideo {
    params: DecodeVideoParams,
    bundle: Arc<StarBundle>,
    vae: Option<InfinityStarVae>,
    /// What the decoder remembers of the video that it is in.
    cache: FrameCache,
}

impl DecodeVideo {
    pub(crate) fn new(params: DecodeVideoParams, setup: &Setup) -> Result<Self, PipelineError> {
        let bundle = setup.video_model(params.model.as_deref())?;
        Ok(Self {
            params,
            bundle,
            vae: None,
            cache: FrameCache::new(),
        })
    }

    /// Decodes a part of a video, sending on what is ready.
    fn decode(
        &mut self,
        part: &VideoLatent,
        vae: &InfinityStarVae,
        input: &Input,
        out: &mut Output,
    ) -> Result<(), PipelineError> {
        let cache = match part.fresh {
            true => FrameCache::new(),
            false => std::mem::take(&mut self.cache),
        };
        let [_, _, latents, _, _] = part.latent.dims();
        let lone = usize::from(cache.is_at_start());
        let total = lone + (latents - lone) * vae.frame_stride;
        let soft = self.bundle.manifest().soft_start && part.first == 0 && part.skip == 0;
        let mut stream = DecodeStream::resume(vae, cache);
        let mut done = 0;
        for pixels in stream.push_all(part.latent.clone()) {
            input.context.cancel.check()?;
            let mut images = pictures(pixels).map_err(|e| input.context.failed(e))?;
            if soft && done == 0 && images.len() > 1 {
                images[0] = images[1].clone();
            }
            let from = done;
            done += images.len();
            images.drain(..part.skip.saturating_sub(from).min(done - from));
            if images.is_empty() {
                continue;
            }
            let frames = Frames {
                first: part.first + from.max(part.skip) - part.skip,
                fps: part.fps,
                last: part.last && done == total,
                images,
            };
            out.send(input, Artifact::Frames(Arc::new(frames)))?;
        }
        self.cache = stream.into_cache();
        Ok(())
    }
}

/// Pixels `[1, 3, t, h, w]` in [-1, 1] to pictures of 8 bits, cut off as the released models do it.
fn pictures(pixels: Tensor<5>) -> Result<Vec<RgbImage>, &'static str> {
    let [_, c, t, h, w] = pixels.dims();
    let one = |i: usize| to_image(pixels.clone().slice_dim(2, i..i + 1).reshape([1, c, h, w]));
    (0..t).map(one).collect()
}

impl Stage for DecodeVideo {
    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![("latent", video_latent(&self.bundle))],
            output: Some(ArtifactType::new(Kind::Frames)),
        }
    }

    fn resolved(&self) -> serde_json::Value {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn load(&mut self, context: &Context) -> Result<(), PipelineError> {
        self.vae = Some(self.bundle.vae(&context.device)?);
        Ok(())
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let Some(Artifact::VideoLatent(part)) = input.artifacts.first() else {
            return Err(input.context.failed("its input is no video latent"));
        };
        let Some(vae) = self.vae.take() else {
            return Err(input.context.failed("it was not loaded"));
        };
        let before = input.preview.map(|_| std::mem::take(&mut self.cache));
        let done = self.decode(part, &vae, input, out);
        if let Some(before) = before {
            // A preview is no part of the video.
            self.cache = before;
        }
        self.vae = Some(vae);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::NOT_NUMBERS;
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn pixels_that_are_no_numbers_are_refused() {
        let mut pixels = Tensor::<5>::zeros([1, 3, 2, 2, 2], &Device::flex());
        assert_eq!(pictures(pixels.clone()).unwrap().len(), 2);
        pixels = pixels / 0.0;
        assert_eq!(pictures(pixels).unwrap_err(), NOT_NUMBERS);
    }
}
