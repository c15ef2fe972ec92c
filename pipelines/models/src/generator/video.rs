use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use image::RgbImage;
use nextscale_var_core::sampler::{Sampler, SamplerConfig};
use nextscale_video::clips::Plan;
use nextscale_video::conv3d::FrameCache;
use nextscale_video::generate::{
    Condition, GenerateInput, GenerateOptions, Generation, Step as Pass, generate,
};
use nextscale_video::infinity_star::InfinityStar;
use nextscale_video::pyramid::given_bits;
use nextscale_video::vae::DecodeStream;
use nextscale_video::{InfinityStarVae, InteractiveSession};

use crate::device::Placement;
use crate::error::ModelError;
use crate::manifest::InfinityStarManifest;
use crate::model::Model;
use crate::pixels;
use crate::size::Size;

/// The latent of a part of a video. A video is one part or several, in order.
#[derive(Debug, Clone)]
pub struct VideoLatent {
    /// `[1, c, t, h, w]`, f32.
    pub latent: Tensor<5>,
    /// Frames per second.
    pub fps: usize,
    /// Index in the video, from 0, of the first frame of this part that is shown.
    pub first: usize,
    /// Whether the decoder starts afresh, instead of continuing from the part before.
    pub fresh: bool,
    /// Number of decoded frames to drop at the start of this part.
    pub skip: usize,
    /// Whether it ends the video.
    pub last: bool,
}

impl VideoLatent {
    /// A preview of an unfinished clip `[1, c, t, h, w]`: its first frame.
    pub fn first_frame_of(clip: &Tensor<5>, fps: usize) -> Self {
        Self {
            latent: clip.clone().slice_dim(2, 0..1),
            fps,
            first: 0,
            fresh: true,
            skip: 0,
            last: true,
        }
    }
}

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

/// The transformer of a model of videos: conditions to latents, pass by pass and clip by clip.
#[derive(Debug)]
pub struct VideoScaleGenerator {
    transformer: InfinityStar,
    device: Device,
}

/// A size and a length made ready, with the settings of the run.
#[derive(Debug, Clone)]
pub struct VideoPlan {
    /// The model's description, with the user's guidance and temperatures in it.
    pub manifest: InfinityStarManifest,
    /// The size of a frame.
    pub size: Size,
    passes: Plan,
}

impl VideoPlan {
    /// Makes a video of `frames` frames ready; one turn for an interactive model.
    ///
    /// # Errors
    /// A size that does not belong to the model.
    pub fn new(
        manifest: InfinityStarManifest,
        size: Size,
        frames: usize,
    ) -> Result<Self, ModelError> {
        let passes = manifest.plan(&size, frames);
        let passes = passes.map_err(|flaw| flaw.of(&manifest.name))?;
        Ok(Self {
            manifest,
            size,
            passes,
        })
    }

    /// Passes of the transformer.
    pub fn passes(&self) -> usize {
        self.passes.passes().count()
    }
}

/// What one prompt of a run of videos needs besides the plan.
#[derive(Debug, Clone)]
pub struct VideoInput {
    /// Features of the prompt, `[1, l, c]`.
    pub prompt: Tensor<3>,
    /// Features of the negative prompt, `[1, l, c]`; the model's unconditional prompt if absent.
    pub negative: Option<Tensor<3>>,
    /// The seed of the video.
    pub seed: u64,
    /// The latent of the frames that the video starts with, by [`encode_frames`].
    pub given: Option<Tensor<5>>,
    /// For an interactive model: the number of this turn, from 0, and of all turns.
    pub turn: (usize, usize),
    /// For an interactive model: what it remembers of earlier turns ([`VideoSteps::into_session`]). It starts with the given
    /// frames.
    pub session: Option<InteractiveSession>,
}

impl VideoInput {
    /// A video of a prompt alone.
    pub fn new(prompt: Tensor<3>, seed: u64) -> Self {
        Self {
            prompt,
            negative: None,
            seed,
            given: None,
            turn: (0, 1),
            session: None,
        }
    }
}

/// One finished pass.
#[derive(Debug, Clone)]
pub struct VideoStep {
    /// Its number, from 0.
    pub index: usize,
    /// The running feature map of its clip, `[1, c, t, h, w]`.
    pub features: Tensor<5>,
    /// What to decode, if the pass ends a clip.
    pub finished: Option<VideoLatent>,
}

impl VideoScaleGenerator {
    /// Loads the transformer of a model of videos.
    ///
    /// # Errors
    /// A model of images, a damaged file, and weights that are not those of the description.
    pub fn load(model: &Arc<Model>, placement: &Placement) -> Result<Self, ModelError> {
        Ok(Self {
            transformer: model.load_infinity_star(placement)?,
            device: placement.device.clone(),
        })
    }

    /// The device of the transformer.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Starts a run for one prompt: an iterator over its passes.
    pub fn steps(&self, plan: &VideoPlan, input: VideoInput) -> VideoSteps<'_> {
        let manifest = &plan.manifest;
        let VideoInput {
            prompt,
            negative,
            seed,
            given,
            turn,
            mut session,
        } = input;
        let (sampler, mut options) = sampler_and_options(manifest, seed);
        let mut conditions: Vec<Condition> = vec![];
        match manifest.semantic_scale {
            None => {
                session = None;
                if let Some(latent) = given {
                    let bits = manifest.transformer.bits;
                    options.forced = given_bits(&plan.passes, bits, latent);
                }
            }
            Some(scale) => {
                if let Some(latent) = given.filter(|_| turn.0 == 0 || session.is_none()) {
                    session = Some(InteractiveSession::new(latent));
                }
                if let Some(session) = &session {
                    conditions.extend(session.conditions(plan.size.scales[scale]));
                }
            }
        }
        let input = GenerateInput {
            plan: &plan.passes,
            text: prompt,
            negative,
            conditions,
            options,
            sampler,
        };
        let run = generate(&self.transformer, input);
        VideoSteps {
            run,
            plan: plan.clone(),
            session,
            turn,
        }
    }
}

/// The sampler for a seed, and guidance and temperatures.
fn sampler_and_options(manifest: &InfinityStarManifest, seed: u64) -> (Sampler, GenerateOptions) {
    let (image, clips) = (manifest.image_temperature, manifest.clip_temperature);
    if image == 0.0 || clips == 0.0 {
        let options = GenerateOptions::new(manifest.guidance, 1.0, 1.0);
        return (Sampler::greedy(), options);
    }
    // The generator divides by the temperatures itself; these models are sampled without top-k and top-p.
    let config = SamplerConfig {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
    };
    let options = GenerateOptions::new(manifest.guidance, image, clips);
    (Sampler::new(config, &[seed]), options)
}

/// A run of one prompt: an iterator over its passes.
pub struct VideoSteps<'a> {
    run: Generation<'a>,
    plan: VideoPlan,
    session: Option<InteractiveSession>,
    turn: (usize, usize),
}

impl VideoSteps<'_> {
    /// What an interactive model remembers for the next turn.
    pub fn into_session(self) -> Option<InteractiveSession> {
        self.session
    }

    /// What has to be decoded for a finished clip.
    fn finish_clip(&mut self, pass: &Pass) -> VideoLatent {
        let manifest = &self.plan.manifest;
        let (fps, stride) = (manifest.fps, manifest.vae.frame_stride());
        let features = pass.features.clone();
        if let Some(session) = &mut self.session {
            let new = features.dims()[2] * stride;
            let latent = session.advance(features);
            let (turn, turns) = self.turn;
            return VideoLatent {
                fps,
                first: turn * new,
                fresh: true,
                skip: 1 + (latent.dims()[2] - 1) * stride - new,
                last: turn + 1 >= turns,
                latent,
            };
        }
        VideoLatent {
            latent: features,
            fps,
            first: match pass.pass.first_frame {
                0 => 0,
                latents => 1 + (latents - 1) * stride,
            },
            fresh: pass.pass.clip == 0,
            skip: 0,
            last: pass.pass.clip + 1 == self.plan.passes.clips().len(),
        }
    }
}

impl Iterator for VideoSteps<'_> {
    /// A pass, or the error that the transformer gives no numbers.
    type Item = Result<VideoStep, ModelError>;

    fn next(&mut self) -> Option<Self::Item> {
        let pass = self.run.next()?;
        if !is_finite(&pass) {
            let message = "the transformer gives no numbers (NaN): its weights are damaged, or overflow in this --dtype";
            return Some(Err(ModelError::refused(message)));
        }
        let finished = pass.ends_clip.then(|| self.finish_clip(&pass));
        Some(Ok(VideoStep {
            index: pass.k,
            features: pass.features,
            finished,
        }))
    }
}

/// Logits that are NaN or infinite would silently become bits. One of them makes the sum not finite.
fn is_finite(pass: &Pass) -> bool {
    let sum = |logits: &Tensor<3>| logits.clone().sum().into_scalar::<f32>();
    pass.raw.as_ref().map(sum).is_none_or(f32::is_finite)
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
    vae: InfinityStarVae,
    soft_start: bool,
    /// What the decoder remembers of the video that it is in.
    cache: FrameCache,
}

impl VideoDecoder {
    /// Loads the auto-encoder of a model of videos, in f32.
    ///
    /// # Errors
    /// A model of images, a damaged file, and weights that are not those of the description.
    pub fn load(model: &Model, device: &Device) -> Result<Self, ModelError> {
        Ok(Self {
            soft_start: model.infinity_star()?.soft_start,
            vae: model.load_infinity_star_vae(device)?,
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
