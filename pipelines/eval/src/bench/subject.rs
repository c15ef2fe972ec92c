//! The model that is measured, of either architecture of images.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail};
use burn::tensor::{Device, Distribution, Tensor};
use nextscale_bitwise::infinity::{InfinityConfig, TextCondition};
use nextscale_bitwise::tokens::Patching;
use nextscale_bitwise::vae::BsqVaeConfig;
use nextscale_models::generator::{
    Condition, ImageAutoencoder, ImageGenerator, ImageInput, ImagePlan,
};
use nextscale_models::manifest::{Checksums, InfinityManifest};
use nextscale_models::prompt::PromptRules;
use nextscale_models::sampling::Sampling;
use nextscale_models::{Manifest, Model, ModelError, Placement, Size, released};
use nextscale_text::T5Config;
use nextscale_tokenizer::ScaleSchedule;
use nextscale_tokenizer::schedule::infinity::{PixelBudget, RatioTemplate};
use nextscale_tokenizer::vqvae::VqVaeConfig;

use super::BenchOptions;

/// Tokens of the made-up prompt of a size.
const PROMPT_TOKENS: usize = 12;

/// A loaded model, and what it generates.
pub(super) struct Subject {
    generator: ImageGenerator,
    size: Size,
    prompt: String,
    class: usize,
    pub sampling: Sampling,
}

/// One round's times, in seconds.
pub(super) struct Round {
    pub text: f64,
    pub scales: Vec<f64>,
    pub decode: f64,
    pub total: f64,
}

/// The description of a size for random weights, sampled as in the official demos.
fn described(name: &str) -> anyhow::Result<Manifest> {
    match name {
        "infinity-125m" => Ok(infinity(name, InfinityConfig::infinity_125m())),
        "infinity-2b" => Ok(infinity(name, InfinityConfig::infinity_2b())),
        _ => match released::var::config(name) {
            Some(config) => {
                let manifest = released::var::manifest(config, VqVaeConfig::released());
                Ok(Manifest::Var(manifest))
            }
            None => bail!(
                "there is no size `{name}` for --random-weights: infinity-125m, infinity-2b, or var-d16, -d20, -d24, -d30, -d36"
            ),
        },
    }
}

/// An Infinity model with its 32-bit tokenizer, at 256x256 pixels.
fn infinity(name: &str, transformer: InfinityConfig) -> Manifest {
    let template = RatioTemplate::nearest(1.0);
    let schedule = template.schedule(PixelBudget::M006);
    let reference = template.schedule(PixelBudget::M1).last();
    let size = Size {
        width: 256,
        height: 256,
        scales: schedule.scales().iter().map(|s| [s.h, s.w]).collect(),
        reference: Some([reference.h, reference.w]),
        known: None,
    };
    Manifest::Infinity(InfinityManifest {
        name: name.to_owned(),
        about: String::new(),
        text: T5Config::flan_t5_xl(),
        vae: BsqVaeConfig::stride_16(transformer.code_dim),
        transformer,
        patching: Patching::Single,
        sizes: vec![size],
        sampling: Sampling {
            cfg: 4.0,
            temperature: 1.0,
            top_k: 900,
            top_p: 0.97,
        },
        prompt: PromptRules::default(),
        fingerprints: Checksums::new(),
    })
}

impl Subject {
    /// A size with random weights.
    pub(super) fn random(name: &str, placement: &Placement) -> anyhow::Result<Self> {
        let generator = ImageGenerator::random(described(name)?, placement)?;
        Self::new(generator, String::new(), 0)
    }

    /// A model as `generate` takes it.
    pub(super) fn open(options: &BenchOptions, placement: &Placement) -> anyhow::Result<Self> {
        let model = Arc::new(Model::open(&options.model)?);
        let class = match model.manifest() {
            Manifest::Infinity(_) => 0,
            Manifest::Var(manifest) => manifest.class_names().find(&options.class)?,
            Manifest::InfinityStar(_) => bail!(
                "`{}` generates videos: only models of images are timed",
                options.model
            ),
        };
        let generator = ImageGenerator::load(&model, placement)?;
        Self::new(generator, options.prompt.clone(), class)
    }

    fn new(generator: ImageGenerator, prompt: String, class: usize) -> anyhow::Result<Self> {
        let model = generator.model();
        let sampling = match model.manifest() {
            Manifest::Infinity(manifest) => manifest.sampling.clone(),
            _ => model.var()?.sampling.clone(),
        };
        Ok(Self {
            size: model.default_size()?,
            generator,
            prompt,
            class,
            sampling,
        })
    }

    fn plan(&self) -> Result<&ImagePlan, ModelError> {
        self.generator.plan(self.size.width, self.size.height)
    }

    /// The transformer's schedule.
    pub(super) fn schedule(&self) -> Result<&ScaleSchedule, ModelError> {
        self.plan().map(ImagePlan::schedule)
    }

    /// Width and height of an image.
    pub(super) fn size(&self) -> [usize; 2] {
        [self.size.width, self.size.height]
    }

    /// Whether a text encoder takes its part of the time.
    pub(super) fn has_text(&self) -> bool {
        self.generator.has_text_encoder()
    }

    /// Generates one batch.
    pub(super) fn round(&self, batch: usize, seed: u64, device: &Device) -> anyhow::Result<Round> {
        let plan = self.plan()?;
        let mut clock = Clock::start(device);
        let condition = self.condition(batch, device)?;
        if matches!(condition, Condition::Text { .. }) {
            clock.text = clock.lap()?;
        }
        let seeds = (0..batch as u64).map(|i| seed + i).collect();
        let sampling = self.generator.sampling_plan(&self.sampling, plan);
        let input = ImageInput::new(condition, seeds, sampling);
        let last = clock.scales(self.generator.run(plan, input)?)?;
        let pixels = match self.generator.autoencoder() {
            ImageAutoencoder::Bsq(vae) => vae.decode(last),
            ImageAutoencoder::Vq(vae) => vae.decode(last),
        };
        let sum: f32 = pixels.into_data().iter::<f32>().sum();
        anyhow::ensure!(sum.is_finite(), "the image is not made of numbers");
        let decode = clock.lap()?;
        Ok(Round {
            text: clock.text,
            total: clock.last,
            decode,
            scales: clock.scales,
        })
    }

    fn condition(&self, batch: usize, device: &Device) -> anyhow::Result<Condition> {
        if let Manifest::Var(_) = self.generator.model().manifest() {
            return Ok(Condition::Classes(vec![self.class; batch]));
        }
        if self.has_text() {
            let prompts = vec![self.prompt.as_str(); batch];
            return Ok(self.generator.encode(&prompts, "")?);
        }
        let channels = self.generator.model().infinity()?.transformer.text_channels;
        let shape = [batch, PROMPT_TOKENS, channels];
        let features = Tensor::random(shape, Distribution::Normal(0.0, 0.2), device);
        Ok(Condition::Text {
            prompts: TextCondition::new(features, vec![PROMPT_TOKENS; batch]),
            negative: None,
        })
    }
}

/// Seconds since the start, and of each part.
struct Clock<'a> {
    device: &'a Device,
    started: Instant,
    last: f64,
    text: f64,
    scales: Vec<f64>,
}

impl<'a> Clock<'a> {
    fn start(device: &'a Device) -> Self {
        Self {
            device,
            started: Instant::now(),
            last: 0.0,
            text: 0.0,
            scales: Vec::new(),
        }
    }

    /// Seconds since the last lap, once the device has done its work.
    fn lap(&mut self) -> anyhow::Result<f64> {
        let synced = self.device.sync();
        synced.map_err(|e| anyhow!("the device failed: {e:?}"))?;
        let now = self.started.elapsed().as_secs_f64();
        let took = now - self.last;
        self.last = now;
        Ok(took)
    }

    /// Runs through all scales, one lap each; returns the last one's feature map.
    fn scales(&mut self, all: impl Iterator<Item = Tensor<5>>) -> anyhow::Result<Tensor<5>> {
        let mut last = None;
        for features in all {
            let took = self.lap()?;
            self.scales.push(took);
            last = Some(features);
        }
        last.context("the schedule has no scale")
    }
}
