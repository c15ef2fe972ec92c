use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use image::RgbImage;
use nextscale_video::conv3d::FrameCache;
use nextscale_video::vae::DecodeStream;
use nextscale_video::{InfinityStarVae, InfinityStarVaeConfig};

use super::video::VideoLatent;
use crate::device::{Placement, reserve_pages};
use crate::error::ModelError;
use crate::memory::decoder_map_bytes;
use crate::model::Model;
use crate::pixels;

/// Consecutive frames of a video, as they come from the decoder. A stage of frames takes such a chunk and sends one of the
/// same length.
#[derive(Debug, Clone)]
pub struct Frames {
    /// The frames, all of one size.
    pub images: Vec<RgbImage>,
    /// Frames per second.
    pub fps: usize,
    /// Index in the video, from 0, of the first of them.
    pub first: usize,
    /// Whether the last of them ends the video.
    pub last: bool,
}

/// The latent of given frames, drawn from what the auto-encoder makes of them, chunk by chunk.
pub fn encode_frames(
    vae: &InfinityStarVae,
    frames: &[RgbImage],
    seed: u64,
    device: &Device,
) -> Tensor<5> {
    let mut stream = vae.encode_stream();
    let chunk = 2 * vae.frame_stride;
    let (first, rest) = frames.split_at(frames.len().min(1 + chunk));
    let chunks = std::iter::once(first).chain(rest.chunks(chunk));
    let moments = chunks.map(|frames| stream.push(pixels::from_frames(frames, device)));
    let moments = Tensor::cat(moments.collect(), 2);
    vae.latent(vae.posterior(moments).sample(seed))
}

/// The decoder of a model of videos: latents to frames, a few at a time.
#[derive(Debug)]
pub struct VideoDecoder {
    vae: Arc<InfinityStarVae>,
    config: InfinityStarVaeConfig,
    soft_start: bool,
    /// What the decoder remembers of the video that it is in.
    cache: FrameCache,
}

impl VideoDecoder {
    /// Loads the auto-encoder of a model of videos, with weights of f32; on a card its decoder multiplies in f16, unless the
    /// placement is of f32.
    ///
    /// # Errors
    /// A model of images, a damaged file, and weights that are not those of the description.
    pub fn load(model: &Model, placement: &Placement) -> Result<Self, ModelError> {
        Self::with(model, Arc::new(model.load_infinity_star_vae(placement)?))
    }

    /// The decoder of a model with its auto-encoder, which others may use at the same time.
    ///
    /// # Errors
    /// A model of images.
    pub fn with(model: &Model, vae: Arc<InfinityStarVae>) -> Result<Self, ModelError> {
        Ok(Self {
            soft_start: model.infinity_star()?.soft_start,
            config: model.infinity_star()?.vae.clone(),
            vae,
            cache: FrameCache::new(),
        })
    }

    /// The auto-encoder.
    pub fn vae(&self) -> &InfinityStarVae {
        &self.vae
    }

    /// Decodes a part of a video. `frames` gets a few frames at a time, in their order, and may end the work with an error.
    ///
    /// # Errors
    /// Pixels that are not numbers, and what `frames` returns.
    pub fn decode<E: From<ModelError>>(
        &mut self,
        part: &VideoLatent,
        mut frames: impl FnMut(Frames) -> Result<(), E>,
    ) -> Result<(), E> {
        let cache = if part.fresh {
            FrameCache::new()
        } else {
            std::mem::take(&mut self.cache)
        };
        let latents = part.latent.dims()[2];
        let lone = usize::from(cache.is_at_start());
        let total = lone + (latents - lone) * self.vae.frame_stride;
        // The first decoded frame is softer than the others: the second one is shown instead.
        let soft = self.soft_start && part.first == 0 && part.skip == 0;
        let [_, _, _, h, w] = part.latent.dims();
        let pixels = h * w * self.vae.stride * self.vae.stride;
        reserve_pages(
            &part.latent.device(),
            decoder_map_bytes(&self.config, pixels),
        );
        let mut stream = DecodeStream::resume(&self.vae, cache);
        let mut done = 0;
        for pixels in stream.push_all(part.latent.clone()) {
            let images = pixels::to_frames(pixels);
            let mut images = images.map_err(|e| ModelError::refused(e.to_string()))?;
            if soft && done == 0 && images.len() > 1 {
                images[0] = images[1].clone();
            }
            let from = done;
            done += images.len();
            images.drain(..part.skip.saturating_sub(from).min(done - from));
            if images.is_empty() {
                continue;
            }
            frames(Frames {
                first: part.first + from.max(part.skip) - part.skip,
                fps: part.fps,
                last: part.last && done == total,
                images,
            })?;
        }
        self.cache = stream.into_cache();
        Ok(())
    }

    /// Decodes a preview, which is no part of the video that the decoder is in.
    ///
    /// # Errors
    /// As [`VideoDecoder::decode`].
    pub fn preview<E: From<ModelError>>(
        &mut self,
        part: &VideoLatent,
        frames: impl FnMut(Frames) -> Result<(), E>,
    ) -> Result<(), E> {
        let before = std::mem::take(&mut self.cache);
        let done = self.decode(part, frames);
        self.cache = before;
        done
    }
}
