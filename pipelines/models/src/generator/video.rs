use std::mem::take;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use nextscale_tokenizer::ScaleSchedule;
use nextscale_var_core::sample_ranks::SampleRanks;
use nextscale_var_core::sampler::{Sampler, SamplerConfig};
use nextscale_var_core::shortcuts::Shortcuts;
use nextscale_video::InteractiveSession;
use nextscale_video::clips::{Clip, Plan};
use nextscale_video::generate::{
    GenerateInput, GenerateOptions, Generation, Step as Pass, generate_on_ranks,
};
use nextscale_video::infinity_star::InfinityStar;
use nextscale_video::pyramid::given_bits;

use super::ranks::Subject;
use crate::device::Placement;
use crate::error::ModelError;
use crate::manifest::InfinityStarManifest;
use crate::model::Model;
use crate::shortcuts::{ShortcutError, VideoShortcuts};
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
    /// Frames that it shows, by a decoder that makes `stride` of each latent frame but the first.
    pub fn frames(&self, stride: usize) -> usize {
        let latents = self.latent.dims()[2];
        let lone = usize::from(self.fresh);
        lone + (latents - lone) * stride - self.skip
    }

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
    shortcuts: VideoShortcuts,
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
            shortcuts: VideoShortcuts::default(),
        })
    }

    /// The same plan with what a run leaves out.
    ///
    /// # Errors
    /// A number that does not fit the scales or their passes.
    pub fn with_shortcuts(self, shortcuts: VideoShortcuts) -> Result<Self, ShortcutError> {
        shortcuts.check(self.size.scales.len())?;
        let passes = match shortcuts.repeats {
            Some(most) => self.passes.with_repeats(most),
            None => self.passes,
        };
        let most = passes.passes().map(|pass| pass.repetition + 1).max();
        shortcuts.check_passes(most.unwrap_or(0))?;
        Ok(Self {
            passes,
            shortcuts,
            ..self
        })
    }

    /// Its passes, in order, and the grid on which they end.
    pub(crate) fn clips_and_passes(&self) -> &Plan {
        &self.passes
    }

    /// What a run leaves out.
    pub fn shortcuts(&self) -> &VideoShortcuts {
        &self.shortcuts
    }

    /// What a pass leaves out, in a few words, and after the last one how many were run; none if nothing is left out.
    pub fn note(&self, step: &VideoStep) -> Option<String> {
        let pass = self.passes.passes().nth(step.index)?;
        let guided = !self.manifest.guidance.is_active() || pass.index < self.guided_scales();
        let mut notes = vec![];
        let share = self.shortcuts.share_of(pass.index, self.size.scales.len());
        if let Some(share) = share {
            notes.push(format!("{:.0} % of tokens", share * 100.0));
        }
        if !guided {
            notes.push("no guidance".to_owned());
        }
        if step.left_out > 0 {
            let all = pass.repetition + 1 + step.left_out;
            let run = pass.repetition + 1;
            notes.push(format!("converged in {run} of {all} passes"));
        }
        let (run, all) = (step.run, self.passes());
        if step.index + 1 + step.left_out == all && run < all {
            notes.push(format!("{run} of {all} passes in all"));
        }
        (!notes.is_empty()).then(|| notes.join(", "))
    }

    /// Scales, from the first of each clip, with guidance: all, or as many as are asked for.
    pub fn guided_scales(&self) -> usize {
        self.shortcuts.guidance_until.unwrap_or(usize::MAX)
    }

    /// Tokens of all of `depth` blocks whose outputs stand in for tokens that the largest clip leaves out.
    pub(crate) fn stand_ins(&self, depth: usize) -> usize {
        let scales = self.size.scales.len();
        let shortcuts = Shortcuts::new(scales, &self.shortcuts.keep_tokens);
        let of_clip = |clip: &Clip| {
            let first = clip.passes.iter().filter(|pass| pass.repetition == 0);
            let schedule = ScaleSchedule::new(first.map(|pass| pass.scale).collect());
            shortcuts.stand_ins(&schedule.expect("scales of a schedule, in order"), depth)
        };
        self.clips().iter().map(of_clip).max().unwrap_or(0)
    }

    /// Passes of the transformer, also those that a run leaves out because their scale has converged.
    pub fn passes(&self) -> usize {
        self.passes.passes().count()
    }

    /// The image and the clips, each with its passes.
    pub fn clips(&self) -> &[Clip] {
        self.passes.clips()
    }
}

/// How much of a story is told before a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Told {
    /// It is no story, or all of the plan is told by this prompt.
    #[default]
    Whole,
    /// This is the first prompt: the image and the first clip.
    Nothing,
    /// So many frames: this prompt adds the last clip of the plan.
    Frames(usize),
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
    /// The latent of the frames that the video starts with, by [`encode_frames`](super::encode_frames).
    pub given: Option<Tensor<5>>,
    /// The number of this prompt of a story, from 0, and of all its prompts.
    pub turn: (usize, usize),
    /// Of a story by a model that is not interactive, what is told so far, of which `given` are the last frames.
    pub told: Told,
    /// For an interactive model: what it remembers of earlier turns ([`VideoSteps::into_session`]). It starts with the given
    /// frames.
    pub session: Option<InteractiveSession>,
    /// What other processes do.
    pub ranks: SampleRanks,
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
            told: Told::default(),
            session: None,
            ranks: SampleRanks::default(),
        }
    }

    /// What an interactive model remembers; given frames start it again.
    fn take_session(&mut self) -> Option<InteractiveSession> {
        let starts = self.turn.0 == 0 || self.session.is_none();
        match self.given.take() {
            Some(latent) if starts => Some(InteractiveSession::new(latent)),
            _ => self.session.take(),
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
    /// Passes after it that are left out, because its scale has converged; the number of the next one grows by so many more.
    pub left_out: usize,
    /// Passes that were run so far, with it.
    pub run: usize,
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

    /// Refuses processes that cannot generate the videos of a plan together.
    ///
    /// # Errors
    /// Heads that they cannot share evenly; a card, or tokens that are left out, where they share tokens.
    pub fn check_ranks(&self, plan: &VideoPlan, ranks: &SampleRanks) -> Result<(), ModelError> {
        Subject {
            model: &plan.manifest.name,
            heads: plan.manifest.transformer.kv_heads,
            device: &self.device,
            is_whole: plan.shortcuts.keep_tokens.is_empty(),
        }
        .check(ranks)
    }

    /// Starts a run for one prompt: an iterator over its passes.
    pub fn steps(&self, plan: &VideoPlan, mut input: VideoInput) -> VideoSteps<'_> {
        let manifest = &plan.manifest;
        let (sampler, mut options) = sampler_and_options(manifest, input.seed);
        options.guided_scales = plan.shortcuts.guidance_until;
        options.keep_tokens = plan.shortcuts.keep_tokens.clone();
        options.converge = plan.shortcuts.converge;
        let clips = match input.told {
            Told::Nothing => plan.clips().len().min(2),
            _ => plan.clips().len(),
        };
        let before = match input.told {
            Told::Frames(frames) => Some((frames, vec![])),
            _ => None,
        };
        let (mut session, mut conditions) = (None, vec![]);
        if let Some(scale) = manifest.semantic_scale {
            session = input.take_session();
            let grid = plan.size.scales[scale];
            conditions.extend(session.iter().flat_map(|session| session.conditions(grid)));
        } else if let Some(latent) = input.given {
            options.forced = given_bits(&plan.passes, manifest.transformer.bits, latent);
        }
        let run = GenerateInput {
            plan: &plan.passes,
            text: input.prompt,
            negative: input.negative,
            conditions,
            options,
            sampler,
        };
        VideoSteps {
            run: generate_on_ranks(&self.transformer, run, input.ranks),
            plan: plan.clone(),
            session,
            turn: input.turn,
            clips,
            before,
            passes: 0,
            ended: false,
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
    /// The image and the clips that are generated.
    clips: usize,
    /// Of a story, the number of frames before this prompt, and the latents of the last of them, which are given.
    before: Option<(usize, Vec<Tensor<5>>)>,
    /// Passes that were run.
    passes: usize,
    /// Whether the last clip is finished.
    ended: bool,
}

impl VideoSteps<'_> {
    /// What an interactive model remembers for the next turn.
    pub fn into_session(self) -> Option<InteractiveSession> {
        self.session
    }

    /// Passes of the image and the clips that are generated, also those that are left out because their scale has converged.
    pub fn passes(&self) -> usize {
        let clips = &self.plan.clips()[..self.clips];
        clips.iter().map(|clip| clip.passes.len()).sum()
    }

    /// What has to be decoded for a finished clip; none if it is one that was shown before this prompt.
    fn finish_clip(&mut self, pass: &Pass) -> Option<VideoLatent> {
        let manifest = &self.plan.manifest;
        let (fps, stride) = (manifest.fps, manifest.vae.frame_stride());
        let features = pass.features.clone();
        let new = features.dims()[2] * stride;
        // With the frames before it, which the decoder needs again but which are not shown again.
        let added = |first, latent: Tensor<5>, last| VideoLatent {
            fps,
            first,
            fresh: true,
            skip: 1 + (latent.dims()[2] - 1) * stride - new,
            last,
            latent,
        };
        let (turn, turns) = self.turn;
        let last_turn = turn + 1 >= turns;
        if let Some(session) = &mut self.session {
            return Some(added(turn * new, session.advance(features), last_turn));
        }
        let is_last = pass.pass.clip + 1 == self.clips;
        let last = is_last && last_turn;
        self.ended = is_last;
        if let Some((shown, latents)) = &mut self.before {
            latents.push(features);
            return is_last.then(|| added(*shown, Tensor::cat(take(latents), 2), last));
        }
        Some(VideoLatent {
            latent: features,
            fps,
            first: match pass.pass.first_frame {
                0 => 0,
                latents => 1 + (latents - 1) * stride,
            },
            fresh: pass.pass.clip == 0,
            skip: 0,
            last,
        })
    }
}

impl Iterator for VideoSteps<'_> {
    /// A pass, or the error that the transformer gives no numbers.
    type Item = Result<VideoStep, ModelError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let pass = self.run.next()?;
        if !is_finite(&pass) {
            let message = "the transformer gives no numbers (NaN): its weights are damaged, or overflow in this --dtype";
            return Some(Err(ModelError::refused(message)));
        }
        self.passes += 1;
        let finished = pass.ends_clip.then(|| self.finish_clip(&pass)).flatten();
        Some(Ok(VideoStep {
            index: pass.k,
            features: pass.features,
            left_out: pass.left_out,
            run: self.passes,
            finished,
        }))
    }
}

/// Logits that are NaN or infinite would silently become bits. One of them makes the sum not finite.
fn is_finite(pass: &Pass) -> bool {
    let sum = |logits: &Tensor<3>| logits.clone().sum().into_scalar::<f32>();
    pass.raw.as_ref().map(sum).is_none_or(f32::is_finite)
}
