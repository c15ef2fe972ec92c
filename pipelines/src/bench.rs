//! `nextscale bench`: seconds a picture, part by part, and the memory it took.
//!
//! Every round paints one batch; rounds of warm-up are not counted. Shown are medians. A preset is measured with
//! random weights, so that speed can be compared without the checkpoint.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use burn::tensor::{Device, Distribution, FloatDType, Tensor};
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::generate::generate;
use nextscale_bitwise::infinity::{Infinity, InfinityConfig, Plan, TextCondition};
use nextscale_bitwise::tokens::Patching;
use nextscale_bitwise::vae::{BsqVae, BsqVaeConfig};
use nextscale_text::TextEncoder;
use nextscale_tokenizer::schedule::infinity::{PixelBudget, RatioTemplate};
use serde::Serialize;

use crate::bundle::{Bundle, DEFAULT, Sampling};
use crate::device;
use crate::spec::{DeviceChoice, Dtype};

/// Tokens of the made-up prompt of a preset.
const PROMPT_TOKENS: usize = 12;

/// The preset that is measured with random weights.
const LAYER12: &str = "infinity-125m";

/// Arguments of `nextscale bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// `default`, a model folder, or `infinity-125m` (256x256 pixels, random weights)
    #[arg(short, long, value_name = "NAME|PATH", default_value = DEFAULT)]
    model: String,
    /// What to paint
    #[arg(short, long, default_value = "red apple")]
    prompt: String,
    /// Pictures painted together
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = crate::eval::at_least_one())]
    batch: usize,
    /// Rounds that count
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = crate::eval::at_least_one())]
    rounds: usize,
    /// Rounds before them
    #[arg(long, value_name = "N", default_value_t = 1)]
    warmup: usize,
    /// How strongly the prompt counts; 1 turns guidance off [default: the model's, 4 for a preset]
    #[arg(long)]
    cfg_scale: Option<f64>,
    /// Where to compute
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Number type of the transformer's weights
    #[arg(long, value_enum, default_value_t = Dtype::Auto)]
    dtype: Dtype,
    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What was measured; times are medians over the rounds, in seconds.
#[derive(Debug, Serialize)]
struct Report {
    model: String,
    device: String,
    dtype: String,
    size: [usize; 2],
    batch: usize,
    rounds: usize,
    load: f64,
    text: Option<f64>,
    scales: Vec<ScaleTime>,
    decode: f64,
    /// One batch from prompt to pixels.
    total: f64,
    fastest: f64,
    seconds_a_picture: f64,
    /// Tokens of all scales and pictures over the time of all scales.
    tokens_a_second: f64,
    /// Largest resident size of this process so far, where the system tells.
    peak_memory_mib: Option<f64>,
}

#[derive(Debug, Serialize)]
struct ScaleTime {
    grid: [usize; 2],
    seconds: f64,
}

/// The parts of a model, loaded.
struct Subject {
    text: Option<TextEncoder>,
    prompt: String,
    model: Infinity,
    vae: BsqVae,
    plan: Plan,
    patching: Patching,
    sampling: Sampling,
}

/// One round's times, in seconds.
struct Round {
    text: f64,
    scales: Vec<f64>,
    decode: f64,
    total: f64,
}

/// Runs `nextscale bench`.
///
/// # Errors
/// When the model can't be used, or a picture is not a picture of numbers.
pub fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let device = device::open(args.device)?;
    let dtype = device::dtype(args.dtype, &device)?;
    let start = Instant::now();
    let mut subject = match args.model.as_str() {
        LAYER12 => Subject::layer12(&device, dtype),
        name => Subject::open(name, &args.prompt, &device, dtype)?,
    };
    subject.sampling.cfg = args.cfg_scale.unwrap_or(subject.sampling.cfg);
    let load = start.elapsed().as_secs_f64();
    let mut rounds = Vec::new();
    for index in 0..args.warmup + args.rounds {
        let round = subject.round(args.batch, index as u64, &device)?;
        if index >= args.warmup {
            rounds.push(round);
        }
    }
    let report = subject.report(args, load, &rounds, &device, dtype);
    super::cli::print(&report.table())?;
    match &args.json {
        Some(path) => crate::eval::write_json(path, &report),
        None => Ok(()),
    }
}

impl Subject {
    /// The 125M model of the reference's training code with its 32-bit tokenizer, at 256x256 pixels.
    fn layer12(device: &Device, dtype: FloatDType) -> Self {
        let config = InfinityConfig::infinity_125m();
        let template = RatioTemplate::nearest(1.0);
        let schedule = template.schedule(PixelBudget::M006);
        let reference = template.schedule(PixelBudget::M1).last();
        Self {
            text: None,
            prompt: String::new(),
            model: crate::bundle::cast(config.init(device), dtype),
            vae: BsqVaeConfig::stride_16(config.code_dim).init(device),
            plan: Plan::stepwise(&config, &schedule, reference, device),
            patching: Patching::Single,
            sampling: Sampling {
                cfg: 4.0,
                tau: 1.0,
                top_k: 900,
                top_p: 0.97,
            },
        }
    }

    fn open(name: &str, prompt: &str, device: &Device, dtype: FloatDType) -> anyhow::Result<Self> {
        let bundle = Bundle::open(name)?;
        let manifest = bundle.manifest();
        let size = manifest.sizes.first().context("the model has no size")?;
        let schedule = size.schedule().map_err(anyhow::Error::msg)?;
        let reference = size.reference().unwrap_or(schedule.last());
        Ok(Self {
            text: Some(bundle.text_encoder(device)?),
            prompt: manifest.prompt.apply(prompt),
            model: bundle.transformer(device, dtype)?,
            vae: bundle.vae(device)?,
            plan: Plan::stepwise(&manifest.transformer, &schedule, reference, device),
            patching: manifest.patching,
            sampling: manifest.sampling.clone(),
        })
    }

    fn condition(&self, batch: usize, device: &Device) -> anyhow::Result<TextCondition> {
        let Some(encoder) = &self.text else {
            let [_, channels] = self.model.cfg_uncond.dims();
            let shape = [batch, PROMPT_TOKENS, channels];
            let features = Tensor::random(shape, Distribution::Normal(0.0, 0.2), device);
            return Ok(TextCondition::new(features, vec![PROMPT_TOKENS; batch]));
        };
        let features = encoder.encode(&vec![self.prompt.as_str(); batch])?;
        Ok(TextCondition::new(features.features, features.lens))
    }

    /// Paints one batch.
    fn round(&self, batch: usize, seed: u64, device: &Device) -> anyhow::Result<Round> {
        let started = Instant::now();
        let wait = || -> anyhow::Result<f64> {
            device
                .sync()
                .map_err(|e| anyhow::anyhow!("the device failed: {e:?}"))?;
            Ok(started.elapsed().as_secs_f64())
        };
        let text = self.condition(batch, device)?;
        let mut last = wait()?;
        let mut round = Round {
            text: last,
            scales: Vec::new(),
            decode: 0.0,
            total: 0.0,
        };
        let seeds: Vec<u64> = (0..batch as u64).map(|i| seed + i).collect();
        let scales = self.plan.schedule().len();
        let (sampler, options) = self.sampling.start(&seeds, scales);
        let bsq = Bsq::new(self.vae.bits);
        let mut features = None;
        for scale in generate(
            &self.model,
            &bsq,
            &self.plan,
            self.patching,
            &text,
            None,
            options,
            sampler,
        ) {
            let now = wait()?;
            round.scales.push(now - last);
            last = now;
            features = Some(scale.features);
        }
        let features = features.context("the schedule has no scale")?;
        let pixels = self.vae.decode(features).into_data();
        let sum: f32 = pixels.iter::<f32>().sum();
        anyhow::ensure!(sum.is_finite(), "the picture is not made of numbers");
        round.total = wait()?;
        round.decode = round.total - last;
        Ok(round)
    }

    fn report(
        &self,
        args: &BenchArgs,
        load: f64,
        rounds: &[Round],
        device: &Device,
        dtype: FloatDType,
    ) -> Report {
        let over = |part: &dyn Fn(&Round) -> f64| median(rounds.iter().map(part).collect());
        let grids = self.plan.schedule().scales().iter().enumerate();
        let scales: Vec<ScaleTime> = grids
            .map(|(k, grid)| ScaleTime {
                grid: [grid.h, grid.w],
                seconds: over(&|round| round.scales[k]),
            })
            .collect();
        let total = over(&|round| round.total);
        let painting = over(&|round| round.scales.iter().sum());
        let last = self.patching.cells(self.plan.schedule()).last();
        let tokens = (self.plan.schedule().tokens() * args.batch) as f64;
        let cuda = *device != Device::flex();
        Report {
            model: args.model.clone(),
            device: match cuda {
                true => "cuda".to_owned(),
                false => format!("cpu, {}", device::cpu_features()),
            },
            dtype: format!("{dtype:?}").to_lowercase(),
            size: [last.w * self.vae.stride, last.h * self.vae.stride],
            batch: args.batch,
            rounds: rounds.len(),
            load,
            text: self.text.is_some().then(|| over(&|round| round.text)),
            scales,
            decode: over(&|round| round.decode),
            total,
            fastest: rounds.iter().map(|r| r.total).fold(f64::INFINITY, f64::min),
            seconds_a_picture: total / args.batch as f64,
            tokens_a_second: tokens / painting,
            peak_memory_mib: peak_memory_mib(),
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

/// The high-water mark of the resident set, as Linux counts it.
fn peak_memory_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

impl Report {
    fn table(&self) -> String {
        let [w, h] = self.size;
        let mut text = format!(
            "{} at {w}x{h}, batch {}, {}, {}; median of {} rounds\n",
            self.model, self.batch, self.dtype, self.device, self.rounds
        );
        let mut row =
            |name: String, seconds: f64| text += &format!("{name:<16} {seconds:>9.4} s\n");
        row("load".into(), self.load);
        if let Some(seconds) = self.text {
            row("text".into(), seconds);
        }
        for (k, scale) in self.scales.iter().enumerate() {
            let [h, w] = scale.grid;
            row(format!("scale {} ({h}x{w})", k + 1), scale.seconds);
        }
        row("decode".into(), self.decode);
        row("total".into(), self.total);
        row("fastest".into(), self.fastest);
        row("a picture".into(), self.seconds_a_picture);
        text += &format!("{:<16} {:>9.0}", "tokens a second", self.tokens_a_second);
        if let Some(mib) = self.peak_memory_mib {
            text += &format!("\n{:<16} {mib:>9.0} MiB", "peak memory");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
    }
}
