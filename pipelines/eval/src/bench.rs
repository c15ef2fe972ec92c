//! `nextscale bench`: seconds per image, part by part, and the memory that it took.
//!
//! Every round generates one batch; warm-up rounds are not counted. Times are medians over the rounds.

mod subject;

use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Device;
use nextscale_models::device::{self, DeviceChoice, Dtype};
use nextscale_models::generator::ImageGenerator;
use nextscale_models::{Manifest, Model, Placement};
use nextscale_tokenizer::ScaleSchedule;
use serde::Serialize;

use self::subject::{Prompt, Round, Subject};
use crate::error::EvalError;
use crate::random;

/// What to measure.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// A model as for `generate`, or with random weights a size: `infinity-125m`, `infinity-2b`, `infinity-8b`, `var-d16` to
    /// `var-d36`.
    pub model: String,
    /// Width and height in pixels; the model's default size if absent.
    pub size: Option<[usize; 2]>,
    /// Measure this size with random weights, without reading a file.
    pub random_weights: bool,
    /// The prompt.
    pub prompt: String,
    /// The class of a class-conditional model, by name or number.
    pub class: String,
    /// Images generated at once, at least 1.
    pub batch: usize,
    /// Measured rounds, at least 1.
    pub rounds: usize,
    /// Warm-up rounds before them.
    pub warmup: usize,
    /// Guidance scale; the model's if absent.
    pub cfg_scale: Option<f64>,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Number type of the transformer's weights.
    pub dtype: Dtype,
    /// Fix which kernels a card takes.
    pub deterministic: bool,
}

/// What was measured; times are medians over the rounds, in seconds.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The model or size.
    pub model: String,
    /// Where it was computed.
    pub device: String,
    /// Number type of the weights.
    pub dtype: String,
    /// Width and height in pixels.
    pub size: [usize; 2],
    /// Images generated at once.
    pub batch: usize,
    /// Measured rounds.
    pub rounds: usize,
    /// Loading the model.
    pub load: f64,
    /// Encoding the prompts; `None` for classes and random weights.
    pub text: Option<f64>,
    /// Each scale.
    pub scales: Vec<ScaleTime>,
    /// Decoding.
    pub decode: f64,
    /// One batch from prompt to pixels.
    pub total: f64,
    /// The fastest round.
    pub fastest: f64,
    /// The total divided by the batch.
    #[serde(rename = "seconds_a_picture")]
    pub seconds_per_image: f64,
    /// Tokens of all scales and images divided by the time of all scales.
    #[serde(rename = "tokens_a_second")]
    pub tokens_per_second: f64,
    /// Peak resident memory of this process so far, where the system reports it.
    pub peak_memory_mib: Option<f64>,
    /// Memory of the card that the process has taken, which it keeps for its next images.
    pub device_memory_mib: Option<f64>,
}

/// The time of one scale, the device's work included.
#[derive(Debug, Serialize)]
pub struct ScaleTime {
    /// Rows and columns.
    pub grid: [usize; 2],
    /// Median over the rounds.
    pub seconds: f64,
}

/// Measures a model.
///
/// # Errors
/// The model cannot be used, or the pixels of an image are not finite.
pub fn run(options: &BenchOptions) -> Result<Report, EvalError> {
    if options.deterministic {
        device::use_deterministic_kernels()?;
    }
    let placement = Placement::open(options.device, options.dtype)?;
    let start = Instant::now();
    let generator = load(options, &placement)?;
    let size = match options.size {
        Some([width, height]) => generator.model().size(width, height)?,
        None => generator.model().default_size()?,
    };
    let plan = generator.plan(size.width, size.height)?;
    let load = start.elapsed().as_secs_f64();
    let mut sampling = generator.model().sampling()?.clone();
    sampling.cfg = options.cfg_scale.unwrap_or(sampling.cfg);
    let subject = Subject {
        prompt: prompt(options, generator.model())?,
        sampling: generator.sampling_plan(&sampling, &plan),
        generator: &generator,
        plan: &plan,
        batch: options.batch,
    };
    let rounds = subject.rounds(options.warmup, options.rounds)?;
    let median_of = |part: &dyn Fn(&Round) -> f64| median(rounds.iter().map(part).collect());
    let total = median_of(&|round| round.total);
    let tokens = (plan.schedule().tokens() * options.batch) as f64;
    Ok(Report {
        model: options.model.clone(),
        device: describe(&placement.device),
        dtype: format!("{:?}", placement.dtype).to_lowercase(),
        size: [size.width, size.height],
        batch: options.batch,
        rounds: rounds.len(),
        load,
        text: matches!(subject.prompt, Prompt::Text(_)).then(|| median_of(&|round| round.text)),
        scales: scale_times(plan.schedule(), &rounds),
        decode: median_of(&|round| round.decode),
        total,
        fastest: rounds.iter().map(|r| r.total).fold(f64::INFINITY, f64::min),
        seconds_per_image: total / options.batch as f64,
        tokens_per_second: tokens / median_of(&|round| round.scales.iter().sum()),
        peak_memory_mib: peak_memory_mib(),
        device_memory_mib: device::reserved_memory(&placement.device).map(mib),
    })
}

fn scale_times(schedule: &ScaleSchedule, rounds: &[Round]) -> Vec<ScaleTime> {
    let scales = schedule.scales().iter().enumerate();
    scales
        .map(|(k, scale)| ScaleTime {
            grid: [scale.h, scale.w],
            seconds: median(rounds.iter().map(|round| round.scales[k]).collect()),
        })
        .collect()
}

fn load(options: &BenchOptions, placement: &Placement) -> Result<ImageGenerator, EvalError> {
    Ok(if options.random_weights {
        ImageGenerator::random(random::manifest(&options.model)?, placement)?
    } else {
        ImageGenerator::load(&Arc::new(Model::open(&options.model)?), placement)?
    })
}

fn prompt(options: &BenchOptions, model: &Model) -> Result<Prompt, EvalError> {
    Ok(match model.manifest() {
        Manifest::Var(_) if options.random_weights => Prompt::Class(0),
        Manifest::Var(manifest) => Prompt::Class(manifest.class_names().find(&options.class)?),
        _ if options.random_weights => {
            Prompt::RandomText(model.infinity()?.transformer.text_channels)
        }
        _ => Prompt::Text(options.prompt.clone()),
    })
}

fn describe(device: &Device) -> String {
    if device::is_cpu(device) {
        format!("cpu, {}", device::cpu_features())
    } else {
        "cuda".to_owned()
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        (values[middle - 1] + values[middle]) / 2.0
    } else {
        values[middle]
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 20) as f64
}

/// Peak resident memory, as Linux counts it.
fn peak_memory_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
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
