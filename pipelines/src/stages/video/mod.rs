//! `text-to-video`: text features to the latents of videos, pass by pass and clip by clip.

mod condition;
mod first_frame;
pub(super) mod length;
pub(super) mod params;

use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Tensor;
use nextscale_video::generate::{Condition, GenerateInput, Step as FinishedPass, generate};
use nextscale_video::infinity_star::InfinityStar;
use nextscale_video::{GenerateOptions, InfinityStarVae, InteractiveSession, Plan};

use self::condition::VideoCondition;
use self::length::VideoLength;
use self::params::{TextToVideoParams, guidance_scale, resolve};
use super::latent_types::{video_latent, with_fingerprint};
use super::sampling::check_fingerprint;
use super::size::{SizeRequest, nearest_shape};
use crate::artifact::{Artifact, ArtifactType, Kind, Message, Step, Text, VideoLatent};
use crate::error::PipelineError;
use crate::setup::Setup;
use crate::stage::{Context, Event, Input, Output, Ports, Stage};
use nextscale_models::bundle::{BlockStorage, Size, StarBundle, StarManifest, TEXT};

/// The stage.
pub(crate) struct TextToVideo {
    params: TextToVideoParams,
    blocks: BlockStorage,
    bundle: Arc<StarBundle>,
    size: Size,
    frames: usize,
    /// The model's settings with those of the user over them.
    manifest: StarManifest,
    condition: VideoCondition,
    loaded: Option<Loaded>,
    story: Option<InteractiveSession>,
}

struct Loaded {
    model: InfinityStar,
    plan: Plan,
    /// Needed if the condition has to be encoded.
    vae: Option<InfinityStarVae>,
}

impl TextToVideo {
    pub(crate) fn new(params: TextToVideoParams, setup: &Setup) -> Result<Self, PipelineError> {
        let bundle = setup.video_model(params.model.as_deref())?;
        let fingerprint = bundle.fingerprint();
        check_fingerprint(
            params.fingerprint.as_deref(),
            fingerprint.as_deref(),
            bundle.name(),
            setup,
        )?;
        let manifest = resolve(&params, bundle.manifest(), setup)?;
        let frames = VideoLength::of(&params).resolve(&manifest, setup)?;
        let mut condition = VideoCondition::new(&params, &manifest, frames, setup)?;
        let wanted = SizeRequest {
            width: params.width,
            height: params.height,
            aspect: params.aspect.as_deref(),
            pixels: None,
        };
        let size = match condition.shape() {
            Some(ratio) if wanted.is_empty() => nearest_shape(&manifest.sizes, ratio),
            _ => wanted.pick(&manifest.sizes, bundle.name(), setup)?,
        };
        condition.fit(&manifest, &size, setup)?;
        Ok(Self {
            blocks: setup.blocks(params.stream)?,
            params,
            bundle,
            size,
            frames,
            manifest,
            condition,
            loaded: None,
            story: None,
        })
    }

    /// Generation options and conditions for one prompt: an image and clips, or a turn of a story.
    fn options(
        &mut self,
        input: &Input,
        vae: Option<&InfinityStarVae>,
        plan: &Plan,
    ) -> Result<(GenerateOptions, Vec<Condition>), PipelineError> {
        let (_, mut options) = self.manifest.start(input.sample.seed);
        let Some(given) = self.condition.frames(input, &self.size)? else {
            return Ok((options, vec![]));
        };
        let Some(vae) = vae else {
            return Err(input.context.failed("its auto-encoder was not loaded"));
        };
        let Some(scale) = self.manifest.semantic_scale else {
            let latent = given.encode(vae, input.sample.seed, &input.context.device);
            let bits = self.manifest.transformer.bits;
            options.forced = nextscale_video::pyramid::given_bits(plan, bits, latent);
            return Ok((options, vec![]));
        };
        if input.sample.turn == 0 || self.story.is_none() {
            let latent = given.encode(vae, input.sample.seed, &input.context.device);
            self.story = Some(InteractiveSession::new(latent));
        }
        let grid = self.size.scales[scale];
        let conditions = self.story.as_ref().map(|story| story.conditions(grid));
        Ok((options, conditions.into_iter().flatten().collect()))
    }

    /// What the decoder needs for a finished clip.
    fn part(&mut self, pass: FinishedPass, plan: &Plan, input: &Input) -> VideoLatent {
        let (fps, stride) = (self.manifest.fps, self.manifest.vae.frame_stride());
        let clips = plan.clips().len();
        if let Some(story) = &mut self.story {
            let new = pass.features.dims()[2] * stride;
            let latent = story.advance(pass.features);
            return VideoLatent {
                fps,
                first: input.sample.turn * new,
                fresh: true,
                skip: 1 + (latent.dims()[2] - 1) * stride - new,
                last: input.sample.turn + 1 >= input.sample.story.len(),
                latent,
            };
        }
        VideoLatent {
            latent: pass.features,
            fps,
            first: match pass.pass.first_frame {
                0 => 0,
                latents => 1 + (latents - 1) * stride,
            },
            fresh: pass.pass.clip == 0,
            skip: 0,
            last: pass.pass.clip + 1 == clips,
        }
    }

    /// A preview of the clip that a pass belongs to: its first frame.
    fn preview(&self, pass: &FinishedPass, step: Step, input: &Input) -> Message {
        let latent = VideoLatent {
            latent: pass.features.clone().slice_dim(2, 0..1),
            fps: self.manifest.fps,
            first: 0,
            fresh: true,
            skip: 0,
            last: true,
        };
        Message {
            sample: input.sample.clone(),
            preview: Some(step),
            artifact: Artifact::VideoLatent(latent),
        }
    }

    fn generate(
        &mut self,
        text: &Text,
        loaded: &Loaded,
        input: &Input,
        out: &mut Output,
    ) -> Result<(), PipelineError> {
        let Loaded { model, plan, vae } = loaded;
        let (options, conditions) = self.options(input, vae.as_ref(), plan)?;
        let (sampler, _) = self.manifest.start(input.sample.seed);
        let Text { prompt, negative } = text.clone();
        let context = &input.context;
        let scales = plan.passes().count();
        let mut start = Instant::now();
        let run = GenerateInput {
            plan,
            text: prompt,
            negative,
            conditions,
            options,
            sampler,
        };
        for pass in generate(model, run) {
            context.cancel.check()?;
            check_finite(&pass, context)?;
            let step = Step {
                scale: pass.k + 1,
                scales,
            };
            (context.observer)(Event::Scale {
                stage: context.stage.clone(),
                sample: input.sample.clone(),
                step,
                took: start.elapsed(),
            });
            if pass.ends_clip {
                let part = self.part(pass, plan, input);
                out.send(input, Artifact::VideoLatent(part))?;
            } else if context.settings.preview.is_some() {
                out.message(self.preview(&pass, step, input))?;
            }
            start = Instant::now();
        }
        Ok(())
    }
}

/// Refuses logits that are NaN or infinite, which would silently become bits.
fn check_finite(pass: &FinishedPass, context: &Context) -> Result<(), PipelineError> {
    // One such logit makes the sum NaN or infinite.
    let finite = |logits: &Tensor<3>| logits.clone().sum().into_scalar::<f32>().is_finite();
    if pass.raw.as_ref().is_none_or(finite) {
        return Ok(());
    }
    Err(context.failed(
        "the transformer returns NaN: its weights are damaged, or overflow in this --dtype",
    ))
}

impl Stage for TextToVideo {
    fn ports(&self) -> Ports {
        let config = &self.manifest.transformer;
        let text = ArtifactType::new(Kind::Text).constraint("channels", config.text_channels);
        let print = self.bundle.fingerprint_of(TEXT);
        let mut text = with_fingerprint(text, "the text encoder", print);
        if self.manifest.duration_tag {
            text = text.constraint("frames", self.frames);
        }
        let mut inputs = vec![("text", text)];
        if matches!(self.condition, VideoCondition::Wired) {
            inputs.push(("image", ArtifactType::new(Kind::Image)));
        }
        Ports {
            inputs,
            output: Some(video_latent(&self.bundle)),
        }
    }

    fn resolved(&self) -> serde_json::Value {
        let params = TextToVideoParams {
            fingerprint: self.bundle.fingerprint(),
            seconds: None,
            frames: Some(self.frames),
            width: Some(self.size.width),
            height: Some(self.size.height),
            aspect: None,
            cfg_scale: Some(guidance_scale(self.manifest.guidance)),
            temperature: Some(self.manifest.clip_temperature),
            image_temperature: Some(self.manifest.image_temperature),
            ..self.params.clone()
        };
        serde_json::to_value(params).unwrap_or_default()
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let passes = self.manifest.plan(&self.size, self.frames);
        let passes = passes.map_or(0, |plan| plan.passes().count());
        let mut parameters = vec![
            ("Steps", passes.to_string()),
            ("Sampler", "next-scale".to_owned()),
            (
                "CFG scale",
                guidance_scale(self.manifest.guidance).to_string(),
            ),
            ("Temperature", self.manifest.clip_temperature.to_string()),
            (
                "Image temperature",
                self.manifest.image_temperature.to_string(),
            ),
            ("Frames", self.frames.to_string()),
            ("FPS", self.manifest.fps.to_string()),
            ("Model", self.manifest.name.clone()),
        ];
        if let Some(print) = self.bundle.fingerprint() {
            parameters.push(("Model hash", print[..10].to_owned()));
        }
        parameters
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v))
            .collect()
    }

    fn prepare(&mut self, context: &Context) -> Result<(), PipelineError> {
        let guided = self.manifest.guidance.is_active();
        let (dtype, device) = (context.dtype, &context.device);
        let blocks = self.blocks;
        let estimate = self
            .bundle
            .estimate(&self.size, self.frames, guided, dtype, device, blocks);
        let estimate = estimate.map_err(|e| context.failed(e))?;
        let estimate = estimate.apart(!context.settings.keep_loaded);
        if let Some(message) = estimate.notice() {
            (context.observer)(Event::Warning { message });
        }
        Ok(estimate.check(nextscale_models::device::memory(device))?)
    }

    fn load(&mut self, context: &Context) -> Result<(), PipelineError> {
        let plan = self.manifest.plan(&self.size, self.frames);
        let plan = plan.map_err(|e| context.failed(e))?;
        let (dtype, device, blocks) = (context.dtype, &context.device, self.blocks);
        self.condition.load(context)?;
        let vae = match self.condition {
            VideoCondition::None => None,
            _ => Some(self.bundle.vae(device)?),
        };
        self.loaded = Some(Loaded {
            model: self.bundle.transformer(device, dtype, blocks)?,
            plan,
            vae,
        });
        Ok(())
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let Some(Artifact::Text(text)) = input.artifacts.first() else {
            return Err(input.context.failed("its input is not text"));
        };
        if input.sample.story.len() > 1 && self.manifest.semantic_scale.is_none() {
            let message = format!(
                "the model `{}` makes a video of one prompt, not of a story",
                self.bundle.name()
            );
            let hint = "name an interactive one, such as infinitystar-interact";
            return Err(PipelineError::refused_with(message, hint));
        }
        let Some(loaded) = self.loaded.take() else {
            return Err(input.context.failed("it was not loaded"));
        };
        let done = self.generate(text, &loaded, input, out);
        self.loaded = Some(loaded);
        done
    }
}
