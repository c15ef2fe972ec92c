//! The model of videos that is measured, and one timed round of it.

use std::cell::RefCell;
use std::sync::Arc;

use burn::tensor::{Distribution, Tensor};
use nextscale_models::device::memory;
use nextscale_models::generator::{
    ImageGenerator, PromptEncoder, VideoDecoder, VideoInput, VideoPlan, VideoScaleGenerator,
    encode_frames,
};
use nextscale_models::{Model, Placement};

use super::clock::Clock;
use super::subject::PROMPT_TOKENS;
use crate::error::EvalError;

/// A loaded model of videos and what it generates.
pub(super) struct ClipSubject {
    /// None if its features are random.
    encoder: Option<PromptEncoder>,
    passes: VideoScaleGenerator,
    decoder: RefCell<VideoDecoder>,
    /// What generates first frames, for a model that does not.
    images: Option<ImageGenerator>,
    pub plan: VideoPlan,
    pub frames: usize,
    pub prompt: String,
}

/// The times of one round, in seconds.
#[derive(Default)]
pub(super) struct ClipRound {
    pub text: f64,
    /// The first frame, generated and encoded.
    pub first_frame: f64,
    /// Of all passes, clip after clip.
    pub passes: Vec<f64>,
    /// The chunks of the decoder: their clip, their number of frames and their time.
    pub chunks: Vec<(usize, usize, f64)>,
    pub total: f64,
    /// The most bytes of a card's memory.
    pub card: Option<u64>,
}

impl ClipSubject {
    /// Loads a model for a plan; without files its weights and its text features are random.
    pub fn load(
        model: &Arc<Model>,
        placement: &Placement,
        (plan, frames): (VideoPlan, usize),
        prompt: String,
    ) -> Result<Self, EvalError> {
        let device = &placement.device;
        let estimate = model.estimate_video(&plan, placement).in_one_thread();
        estimate.check(memory(device))?;
        estimate.reserve_pages(device, true);
        let images = match &plan.manifest.first_frame {
            None => None,
            Some(rules) => {
                let model = Arc::new(Model::open(&rules.model)?);
                Some(ImageGenerator::load(&model, placement)?)
            }
        };
        let encoder = if model.has_files() {
            Some(PromptEncoder::load(model, device)?)
        } else {
            None
        };
        Ok(Self {
            encoder,
            passes: VideoScaleGenerator::load(model, placement)?,
            decoder: RefCell::new(VideoDecoder::load(model, placement)?),
            images,
            plan,
            frames,
            prompt,
        })
    }

    /// Whether there is a text encoder, and whether first frames come from another model.
    pub fn parts(&self) -> (bool, bool) {
        (self.encoder.is_some(), self.images.is_some())
    }

    /// The times of `count` rounds after `warmup` that are not counted, and the most bytes of a card's memory in all of
    /// them.
    pub fn rounds(
        &self,
        warmup: usize,
        count: usize,
    ) -> Result<(Vec<ClipRound>, Option<u64>), EvalError> {
        let rounds = (0..warmup + count).map(|index| self.round(index as u64));
        let mut rounds = rounds.collect::<Result<Vec<_>, _>>()?;
        let card = rounds.iter().filter_map(|round| round.card).max();
        Ok((rounds.split_off(warmup), card))
    }

    /// Generates one video, and decodes each clip when it is finished.
    fn round(&self, seed: u64) -> Result<ClipRound, EvalError> {
        let mut clock = Clock::start(self.passes.device());
        let mut round = ClipRound::default();
        let mut input = VideoInput::new(self.text()?, seed);
        round.text = clock.lap()?;
        input.given = self.first_frame(seed)?;
        round.first_frame = clock.lap()?;
        let mut clip = 0;
        for step in self.passes.steps(&self.plan, input) {
            let finished = step?.finished;
            round.passes.push(clock.lap()?);
            let Some(part) = finished else { continue };
            let mut decoder = self.decoder.borrow_mut();
            decoder.decode::<EvalError>(&part, |frames| {
                let count = frames.images.len();
                round.chunks.push((clip, count, clock.lap()?));
                Ok(())
            })?;
            clip += 1;
        }
        round.total = clock.elapsed;
        round.card = clock.card;
        Ok(round)
    }

    /// Features of the prompt, `[1, l, c]`.
    fn text(&self) -> Result<Tensor<3>, EvalError> {
        let Some(encoder) = &self.encoder else {
            let channels = self.plan.manifest.transformer.text_channels;
            let spread = Distribution::Normal(0.0, 0.2);
            let shape = [1, PROMPT_TOKENS, channels];
            return Ok(Tensor::random(shape, spread, self.passes.device()));
        };
        Ok(encoder.encode(&self.prompt, self.frames)?.features)
    }

    /// The latent of the frame that another model generates.
    fn first_frame(&self, seed: u64) -> Result<Option<Tensor<5>>, EvalError> {
        let (Some(images), Some(rules)) = (&self.images, &self.plan.manifest.first_frame) else {
            return Ok(None);
        };
        let size = [self.plan.size.width as u32, self.plan.size.height as u32];
        let image = images.first_frame(rules, &self.prompt, seed, size)?;
        let decoder = self.decoder.borrow();
        let latent = encode_frames(decoder.vae(), &[image], seed, self.passes.device());
        Ok(Some(latent))
    }
}
