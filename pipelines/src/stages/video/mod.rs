//! `text-to-video`: text features to the latents of videos, pass by pass and clip by clip.

mod condition;
pub(super) mod length;
pub(super) mod params;

use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Tensor;
use nextscale_models::device::{memory, release};
use nextscale_models::generator::{
    Told, VideoDecoder, VideoInput, VideoPlan, VideoScaleGenerator, VideoStep, VideoSteps,
    encode_frames,
};
use nextscale_models::memory::MemoryEstimate;
use nextscale_models::{BlockStorage, Model};
use nextscale_var_core::sample_ranks::SampleRanks;
use nextscale_video::clips::Clip;
use nextscale_video::{InfinityStarVae, InteractiveSession};

use self::condition::VideoCondition;
use self::length::VideoLength;
use self::params::{TextToVideoParams, resolve};
use super::latent_types::{latent, text_features};
use super::size::{SizeRequest, nearest_shape};
use crate::artifact::{Artifact, ArtifactType, ClipStep, Kind, Message, Step, Text, VideoLatent};
use crate::error::PipelineError;
use crate::per_scale::PerScale;
use crate::setup::Setup;
use crate::stage::{Context, Event, Input, Output, Ports, Stage};

pub(crate) struct TextToVideo {
    params: TextToVideoParams,
    blocks: BlockStorage,
    model: Arc<Model>,
    /// Size, passes and settings: those of the model with those of the user over them.
    plan: VideoPlan,
    /// What became of the aspect ratio that was asked for.
    size_notice: Option<String>,
    frames: usize,
    /// Whether each prompt continues the video of those before it.
    tells_story: bool,
    condition: VideoCondition,
    estimate: Option<MemoryEstimate>,
    loaded: Option<Loaded>,
    /// What an interactive model remembers from turn to turn.
    session: Option<InteractiveSession>,
    /// What another model has to remember of a story.
    told: Option<ToldStory>,
}

/// A story up to a prompt.
struct ToldStory {
    /// The latent that ends with its last frames, from where a decoder can start.
    latent: Tensor<5>,
    frames: usize,
}

struct Loaded {
    generator: Arc<VideoScaleGenerator>,
    /// To encode the frames that the video starts with, if there are any.
    vae: Option<Arc<InfinityStarVae>>,
    ranks: SampleRanks,
}

impl TextToVideo {
    pub(crate) fn new(params: TextToVideoParams, setup: &Setup) -> Result<Self, PipelineError> {
        let model = setup.video_model(params.model.as_deref())?;
        setup.check_fingerprint(params.fingerprint.as_ref(), &model)?;
        let manifest = resolve(&params, model.infinity_star()?, setup)?;
        let length = VideoLength::of(&params, setup);
        let frames = length.resolve(&manifest, setup)?;
        VideoLength::check_prompts(&manifest, frames, setup)?;
        let mut condition = VideoCondition::new(&params, &manifest, frames, setup)?;
        let wanted = SizeRequest {
            width: params.width,
            height: params.height,
            aspect: params.aspect.as_deref(),
            pixels: None,
        };
        let size = match condition.shape() {
            Some(ratio) if wanted.is_empty() => nearest_shape(&manifest.sizes, ratio),
            _ => wanted.pick(&manifest.sizes, model.name(), setup)?,
        };
        condition.fit(&manifest, &size, setup)?;
        let shortcuts = params.shortcuts(&manifest, size.scales.len(), setup)?;
        let size_notice = wanted.notice(&size);
        let plan = VideoPlan::new(manifest, size, frames)?.with_shortcuts(shortcuts);
        let plan = plan.map_err(|e| setup.refuse(e.key, e.message))?;
        Ok(Self {
            size_notice,
            blocks: setup.blocks(params.stream)?,
            params,
            model,
            plan,
            frames,
            tells_story: length.story,
            condition,
            estimate: None,
            loaded: None,
            session: None,
            told: None,
        })
    }

    fn is_interactive(&self) -> bool {
        self.plan.manifest.semantic_scale.is_some()
    }

    /// The latent of the frames that the video of a sample starts with; none later in an interactive session.
    fn given(&self, loaded: &Loaded, input: &Input) -> Result<Option<Tensor<5>>, PipelineError> {
        if self.is_interactive() && input.sample.turn > 0 && self.session.is_some() {
            return Ok(None);
        }
        let Some(frames) = self.condition.frames(input, &self.plan.size)? else {
            return Ok(None);
        };
        let Some(vae) = &loaded.vae else {
            return Err(input.context.failed("its auto-encoder was not loaded"));
        };
        let device = &input.context.device;
        Ok(Some(encode_frames(vae, &frames, input.sample.seed, device)))
    }

    /// What a prompt of a story continues: the latent of the last frames before it, and how much is told.
    fn continued(
        &self,
        before: &ToldStory,
        loaded: &Loaded,
        input: &Input,
    ) -> Result<(Tensor<5>, Told), PipelineError> {
        let Some(vae) = &loaded.vae else {
            return Err(input.context.failed("its auto-encoder was not loaded"));
        };
        let mut decoder = VideoDecoder::with(&self.model, vae.clone())?;
        let part = VideoLatent {
            latent: before.latent.clone(),
            fps: self.plan.manifest.fps,
            first: 0,
            fresh: true,
            skip: 0,
            last: true,
        };
        let mut images = vec![];
        decoder.decode(&part, |frames| {
            images.extend(frames.images);
            Ok::<_, PipelineError>(())
        })?;
        let last = images.len() - self.plan.manifest.condition_frames();
        let device = &input.context.device;
        let given = encode_frames(vae, &images[last..], input.sample.seed, device);
        Ok((given, Told::Frames(before.frames)))
    }

    /// Runs through the passes of one prompt: reports each, sends previews where they are asked for, and every finished clip.
    fn generate(
        &mut self,
        text: &Text,
        loaded: &Loaded,
        input: &Input,
        out: &mut Output,
    ) -> Result<(), PipelineError> {
        let (context, sample) = (&input.context, &input.sample);
        let is_story = !self.is_interactive() && !sample.story.is_empty();
        let before = self.told.take().filter(|_| is_story && sample.turn > 0);
        let (given, told) = match &before {
            Some(before) => {
                let (given, told) = self.continued(before, loaded, input)?;
                (Some(given), told)
            }
            None => {
                let given = self.given(loaded, input)?;
                let whole = given.as_ref().is_some_and(|latent| latent.dims()[2] > 1);
                let told = if is_story && !whole {
                    Told::Nothing
                } else {
                    Told::Whole
                };
                (given, told)
            }
        };
        let request = VideoInput {
            negative: text.negative.clone(),
            given,
            told,
            turn: (sample.turn, sample.story.len()),
            session: self.session.take(),
            ranks: loaded.ranks.clone(),
            ..VideoInput::new(text.prompt.clone(), sample.seed)
        };
        let mut steps: VideoSteps = loaded.generator.steps(&self.plan, request);
        let scales = steps.passes();
        let (mut parts, mut frames) = (vec![], 0);
        let (mut start, mut last) = (Instant::now(), None);
        for step in &mut steps {
            context.cancel.check()?;
            let step = step.map_err(|e| context.failed(e))?;
            if let Some(part) = step.finished.as_ref().filter(|_| is_story) {
                frames = part.first + part.frames(self.plan.manifest.vae.frame_stride());
                parts.push(part.latent.clone());
            }
            let position = Step {
                scale: step.index + 1,
                scales,
            };
            (context.observer)(Event::Scale {
                clip: clip_step(self.plan.clips(), step.index),
                note: self.plan.note(&step),
                stage: context.stage.clone(),
                sample: sample.clone(),
                step: position,
                took: start.elapsed(),
            });
            if position.scale + step.left_out == scales {
                last = Some((step, position));
                break;
            }
            self.send(step, position, input, out)?;
            start = Instant::now();
        }
        self.session = steps.into_session();
        self.told = (!parts.is_empty()).then(|| ToldStory {
            latent: Tensor::cat(parts, 2),
            frames,
        });
        let Some((step, position)) = last else {
            return Ok(());
        };
        // The decoder gets the memory that the passes needed.
        release(&context.device);
        self.send(step, position, input, out)
    }

    fn send(
        &self,
        step: VideoStep,
        position: Step,
        input: &Input,
        out: &mut Output,
    ) -> Result<(), PipelineError> {
        if !input.context.sends() {
            return Ok(());
        }
        if let Some(part) = step.finished {
            return out.send(input, Artifact::VideoLatent(part));
        }
        if input.context.settings.preview.is_none() {
            return Ok(());
        }
        let latent = VideoLatent::first_frame_of(&step.features, self.plan.manifest.fps);
        out.message(Message {
            sample: input.sample.clone(),
            preview: Some(position),
            artifact: Artifact::VideoLatent(latent),
        })
    }
}

/// Where a pass of a video is, counted from 0 over all clips.
fn clip_step(clips: &[Clip], mut index: usize) -> Option<ClipStep> {
    for (clip, passes) in (1..).zip(clips.iter().map(|clip| clip.passes.len())) {
        if index < passes {
            return Some(ClipStep {
                clip,
                clips: clips.len(),
                pass: index + 1,
                passes,
            });
        }
        index -= passes;
    }
    None
}

impl Stage for TextToVideo {
    fn ports(&self) -> Ports {
        let text = text_features(&self.model, Some(self.frames));
        let mut inputs = vec![("text", text)];
        if matches!(self.condition, VideoCondition::Wired) {
            inputs.push(("image", ArtifactType::new(Kind::Image)));
        }
        Ports {
            inputs,
            output: Some(latent(&self.model)),
        }
    }

    fn resolved(&self) -> Option<serde_json::Value> {
        let shortcuts = self.plan.shortcuts();
        let shares = &shortcuts.keep_tokens;
        let params = TextToVideoParams {
            fingerprint: self.model.fingerprint(),
            seconds: None,
            frames: Some(self.frames),
            width: Some(self.plan.size.width),
            height: Some(self.plan.size.height),
            aspect: None,
            cfg_scale: Some(self.plan.manifest.guidance.scale()),
            temperature: Some(self.plan.manifest.clip_temperature),
            image_temperature: Some(self.plan.manifest.image_temperature),
            fast: false,
            guidance_until: shortcuts.guidance_until,
            keep_tokens: (!shares.is_empty()).then(|| PerScale::Each(shares.clone())),
            repeats: shortcuts.repeats,
            converge: shortcuts.converge,
            ..self.params.clone()
        };
        serde_json::to_value(params).ok()
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let passes = self.plan.passes();
        let mut parameters = vec![
            ("Steps", passes.to_string()),
            ("Sampler", "next-scale".to_owned()),
            ("CFG scale", self.plan.manifest.guidance.scale().to_string()),
            (
                "Temperature",
                self.plan.manifest.clip_temperature.to_string(),
            ),
            (
                "Image temperature",
                self.plan.manifest.image_temperature.to_string(),
            ),
            ("Frames", self.frames.to_string()),
            ("FPS", self.plan.manifest.fps.to_string()),
            ("Model", self.plan.manifest.name.clone()),
        ];
        if let Some(print) = self.model.fingerprint() {
            parameters.push(("Model hash", print[..10].to_owned()));
        }
        parameters
    }

    fn prepare(&mut self, context: &Context) -> Result<(), PipelineError> {
        let placement = context.placement(self.blocks);
        let estimate = self.model.estimate_video(&self.plan, &placement);
        let estimate = estimate.releasing_text_encoder(!context.settings.keep_loaded);
        let estimate = estimate.shared_by(context.settings.together.count());
        let needed = estimate.times(context.copies);
        let notices = self.model.notices().iter().cloned();
        let size = self.size_notice.take();
        for message in notices.chain(needed.notice()).chain(size) {
            context.warn(message);
        }
        needed.check(memory(&context.device))?;
        self.estimate = Some(estimate);
        Ok(())
    }

    fn load(&mut self, context: &Context) -> Result<(), PipelineError> {
        if let Some(estimate) = &self.estimate {
            estimate.reserve_pages(&context.device, false);
        }
        self.condition.load(context)?;
        let placement = context.placement(self.blocks);
        let vae = match self.condition {
            VideoCondition::None if !self.tells_story => None,
            _ => Some(context.parts.video_autoencoder(&self.model, &placement)?),
        };
        let generator = context
            .parts
            .video_scale_generator(&self.model, &placement)?;
        let ranks = context.sample_ranks(self.plan.manifest.guidance.is_active())?;
        generator.check_ranks(&self.plan, &ranks)?;
        self.loaded = Some(Loaded {
            generator,
            vae,
            ranks,
        });
        Ok(())
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let Some(Artifact::Text(text)) = input.artifacts.first() else {
            return Err(input.context.failed("its input is not text"));
        };
        let Some(loaded) = self.loaded.take() else {
            return Err(input.context.failed("it was not loaded"));
        };
        let done = self.generate(text, &loaded, input, out);
        self.loaded = Some(loaded);
        done
    }
}
