//! The model that is measured, of whichever kind.

use std::time::Instant;

use anyhow::{Context as _, anyhow, bail};
use burn::tensor::{Device, Distribution, FloatDType, Tensor};
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::generate::{GenerateInput, generate};
use nextscale_bitwise::infinity::{Infinity, InfinityConfig, Plan, TextCondition};
use nextscale_bitwise::tokens::Patching;
use nextscale_bitwise::vae::{BsqVae, BsqVaeConfig};
use nextscale_text::TextEncoder;
use nextscale_tokenizer::schedule::infinity::{PixelBudget, RatioTemplate};
use nextscale_tokenizer::vqvae::VqVaeConfig;
use nextscale_tokenizer::{ScaleSchedule, VqVae};
use nextscale_var_core::var::{self, Var};

use super::BenchOptions;
use nextscale_models::bundle::{
    BlockStorage, Bundle, ClassBundle, Model, Sampling, cast, released,
};

/// Tokens of the made-up prompt of a size.
const PROMPT_TOKENS: usize = 12;

/// The sizes of Infinity for random weights: that of the smallest model of its training code, and 2B.
fn infinity(name: &str) -> Option<InfinityConfig> {
    match name {
        "infinity-125m" => Some(InfinityConfig::infinity_125m()),
        "infinity-2b" => Some(InfinityConfig::infinity_2b()),
        _ => None,
    }
}

/// The parts of a model, loaded.
pub(super) struct Subject {
    parts: Parts,
    pub sampling: Sampling,
}

#[allow(clippy::large_enum_variant)] // there is one of them
enum Parts {
    Text {
        text: Option<TextEncoder>,
        prompt: String,
        model: Infinity,
        vae: BsqVae,
        plan: Plan,
        patching: Patching,
    },
    Class {
        class: usize,
        model: Var,
        vae: VqVae,
        plan: var::Plan,
    },
}

/// One round's times, in seconds.
pub(super) struct Round {
    pub text: f64,
    pub scales: Vec<f64>,
    pub decode: f64,
    pub total: f64,
}

impl Subject {
    /// A size with random weights and sampling as in the official demos.
    pub(super) fn random(name: &str, device: &Device, dtype: FloatDType) -> anyhow::Result<Self> {
        if let Some(config) = infinity(name) {
            return Ok(Self::infinity(&config, device, dtype));
        }
        let Some(config) = released::var_config(name) else {
            bail!(
                "there is no size `{name}` for --random-weights: infinity-125m, infinity-2b, or var-d16, -d20, -d24, -d30, -d36"
            );
        };
        let vae = VqVaeConfig::released();
        let manifest = released::class_manifest(config.clone(), vae.clone());
        let parts = Parts::Class {
            class: 0,
            model: cast(config.init(device), dtype),
            vae: vae.init(device),
            plan: var::Plan::stepwise(&config, device),
        };
        Ok(Self {
            parts,
            sampling: manifest.sampling,
        })
    }

    /// An Infinity model with its 32-bit tokenizer, at 256x256 pixels.
    fn infinity(config: &InfinityConfig, device: &Device, dtype: FloatDType) -> Self {
        let template = RatioTemplate::nearest(1.0);
        let schedule = template.schedule(PixelBudget::M006);
        let reference = template.schedule(PixelBudget::M1).last();
        let parts = Parts::Text {
            text: None,
            prompt: String::new(),
            model: cast(config.init(device), dtype),
            vae: BsqVaeConfig::stride_16(config.code_dim).init(device),
            plan: Plan::stepwise(config, &schedule, reference, device),
            patching: Patching::Single,
        };
        let sampling = Sampling {
            cfg: 4.0,
            tau: 1.0,
            top_k: 900,
            top_p: 0.97,
        };
        Self { parts, sampling }
    }

    /// A model as `generate` takes it.
    pub(super) fn open(
        args: &BenchOptions,
        place: (&Device, FloatDType, BlockStorage),
    ) -> anyhow::Result<Self> {
        match Model::open(&args.model)? {
            Model::Text(bundle) => Self::prompted(&bundle, &args.prompt, place),
            Model::Class(bundle) => Self::classed(&bundle, &args.class, place),
            Model::Video(_) => anyhow::bail!(
                "`{}` makes videos: only models of pictures are timed",
                args.model
            ),
        }
    }

    fn prompted(
        bundle: &Bundle,
        prompt: &str,
        (device, dtype, blocks): (&Device, FloatDType, BlockStorage),
    ) -> anyhow::Result<Self> {
        let manifest = bundle.manifest();
        let size = manifest.sizes.first().context("the model has no size")?;
        let schedule = size.schedule().map_err(anyhow::Error::msg)?;
        let reference = size.reference().unwrap_or(schedule.last());
        let parts = Parts::Text {
            text: Some(bundle.text_encoder(device)?),
            prompt: manifest.prompt.apply(prompt),
            model: bundle.transformer(device, dtype, blocks)?,
            vae: bundle.vae(device)?,
            plan: Plan::stepwise(&manifest.transformer, &schedule, reference, device),
            patching: manifest.patching,
        };
        let sampling = manifest.sampling.clone();
        Ok(Self { parts, sampling })
    }

    fn classed(
        bundle: &ClassBundle,
        class: &str,
        (device, dtype, blocks): (&Device, FloatDType, BlockStorage),
    ) -> anyhow::Result<Self> {
        let manifest = bundle.manifest();
        let parts = Parts::Class {
            class: manifest
                .class(class)
                .map_err(|(message, _)| anyhow!(message))?,
            model: bundle.transformer(device, dtype, blocks)?,
            vae: bundle.vae(device)?,
            plan: var::Plan::stepwise(&manifest.transformer, device),
        };
        let sampling = manifest.sampling.clone();
        Ok(Self { parts, sampling })
    }

    /// The transformer's schedule.
    pub(super) fn schedule(&self) -> &ScaleSchedule {
        match &self.parts {
            Parts::Text { plan, .. } => plan.schedule(),
            Parts::Class { plan, .. } => plan.schedule(),
        }
    }

    /// Width and height of a picture.
    pub(super) fn size(&self) -> [usize; 2] {
        let (cells, stride) = match &self.parts {
            Parts::Text {
                plan,
                patching,
                vae,
                ..
            } => (patching.cells(plan.schedule()), vae.stride),
            Parts::Class { plan, vae, .. } => (plan.schedule().clone(), vae.stride),
        };
        [cells.last().w * stride, cells.last().h * stride]
    }

    /// Whether a text encoder takes its part of the time.
    pub(super) fn has_text(&self) -> bool {
        matches!(&self.parts, Parts::Text { text: Some(_), .. })
    }

    /// Paints one batch.
    pub(super) fn round(&self, batch: usize, seed: u64, device: &Device) -> anyhow::Result<Round> {
        let mut clock = Clock::start(device);
        let seeds: Vec<u64> = (0..batch as u64).map(|i| seed + i).collect();
        let scales = self.schedule().len();
        let pixels = match &self.parts {
            Parts::Text {
                model,
                vae,
                plan,
                patching,
                ..
            } => {
                let text = self.condition(batch, device)?;
                clock.text = clock.lap()?;
                let (sampler, options) = self.sampling.start(&seeds, scales);
                let bsq = Bsq::new(vae.bits);
                let input = GenerateInput {
                    quantizer: &bsq,
                    plan,
                    patching: *patching,
                    text,
                    negative: None,
                    options,
                    sampler,
                };
                let all = generate(model, input);
                vae.decode(clock.scales(all.map(|scale| scale.features))?)
            }
            Parts::Class {
                class,
                model,
                vae,
                plan,
            } => {
                let (sampler, options) = self.sampling.start_classes(&seeds, scales);
                let classes = vec![*class; batch];
                let pyramid = vae.pyramid();
                let all = var::generate(
                    model,
                    var::GenerateInput {
                        pyramid,
                        plan,
                        labels: &classes,
                        options,
                        sampler,
                    },
                );
                vae.decode(clock.scales(all.map(|scale| scale.features))?)
            }
        };
        let sum: f32 = pixels.into_data().iter::<f32>().sum();
        anyhow::ensure!(sum.is_finite(), "the picture is not made of numbers");
        let decode = clock.lap()?;
        Ok(Round {
            text: clock.text,
            total: clock.last,
            decode,
            scales: clock.scales,
        })
    }

    fn condition(&self, batch: usize, device: &Device) -> anyhow::Result<TextCondition> {
        let Parts::Text {
            text,
            prompt,
            model,
            ..
        } = &self.parts
        else {
            bail!("a class-conditional model has no prompt");
        };
        let Some(encoder) = text else {
            let [_, channels] = model.cfg_uncond.dims();
            let shape = [batch, PROMPT_TOKENS, channels];
            let features = Tensor::random(shape, Distribution::Normal(0.0, 0.2), device);
            return Ok(TextCondition::new(features, vec![PROMPT_TOKENS; batch]));
        };
        let features = encoder.encode(&vec![prompt.as_str(); batch])?;
        Ok(TextCondition::new(features.features, features.lens))
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
