//! `nextscale bench`: seconds a picture, part by part, and the memory it took.
//!
//! Every round paints one batch; rounds of warm-up are not counted. Shown are medians. Sizes can be measured with
//! random weights, so that speed can be compared without the checkpoint.

mod subject;

use std::time::Instant;

use serde::Serialize;

use nextscale_models::device::{self, DeviceChoice, Dtype};
use nextscale_models::{ModelError, Placement};
use subject::{Round, Subject};

/// What to measure.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// A model as `generate` takes it, or with random weights a size: `infinity-125m`, `infinity-2b`, `var-d16` to `var-d36`.
    pub model: String,
    /// Measure this size with random weights: no file is read.
    pub random_weights: bool,
    /// The prompt.
    pub prompt: String,
    /// The class of a class-conditional model, by name or number.
    pub class: String,
    /// Images generated at once, at least 1.
    pub batch: usize,
    /// Rounds that count, at least 1.
    pub rounds: usize,
    /// Rounds before them.
    pub warmup: usize,
    /// Guidance scale; the model's if absent.
    pub cfg_scale: Option<f64>,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Number type of the transformer's weights.
    pub dtype: Dtype,
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
    /// Rounds that count.
    pub rounds: usize,
    /// Loading the model.
    pub load: f64,
    /// Encoding the prompt; none for classes.
    pub text: Option<f64>,
    /// Each scale.
    pub scales: Vec<ScaleTime>,
    /// Decoding.
    pub decode: f64,
    /// One batch from prompt to pixels.
    pub total: f64,
    /// The fastest round.
    pub fastest: f64,
    /// The total over the batch.
    pub seconds_a_picture: f64,
    /// Tokens of all scales and images over the time of all scales.
    pub tokens_a_second: f64,
    /// Largest resident size of this process so far, where the system reports it.
    pub peak_memory_mib: Option<f64>,
}

/// The time of one scale.
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
/// When the model can't be used, or a picture is not a picture of numbers.
pub fn run(args: &BenchOptions) -> anyhow::Result<Report> {
    let placement = Placement::open(args.device, args.dtype)?;
    let start = Instant::now();
    let mut subject = match args.random_weights {
        true => Subject::random(&args.model, &placement)?,
        false => Subject::open(args, &placement)?,
    };
    subject.sampling.cfg = args.cfg_scale.unwrap_or(subject.sampling.cfg);
    let load = start.elapsed().as_secs_f64();
    let mut rounds = Vec::new();
    for index in 0..args.warmup + args.rounds {
        let round = subject.round(args.batch, index as u64, &placement.device)?;
        if index >= args.warmup {
            rounds.push(round);
        }
    }
    Ok(report(&subject, args, load, &rounds, &placement)?)
}

fn report(
    subject: &Subject,
    args: &BenchOptions,
    load: f64,
    rounds: &[Round],
    placement: &Placement,
) -> Result<Report, ModelError> {
    let over = |part: &dyn Fn(&Round) -> f64| median(rounds.iter().map(part).collect());
    let schedule = subject.schedule()?;
    let grids = schedule.scales().iter().enumerate();
    let scales: Vec<ScaleTime> = grids
        .map(|(k, grid)| ScaleTime {
            grid: [grid.h, grid.w],
            seconds: over(&|round| round.scales[k]),
        })
        .collect();
    let total = over(&|round| round.total);
    let painting = over(&|round| round.scales.iter().sum());
    let tokens = (schedule.tokens() * args.batch) as f64;
    Ok(Report {
        model: args.model.clone(),
        device: if device::is_cpu(&placement.device) {
            format!("cpu, {}", device::cpu_features())
        } else {
            "cuda".to_owned()
        },
        dtype: format!("{:?}", placement.dtype).to_lowercase(),
        size: subject.size(),
        batch: args.batch,
        rounds: rounds.len(),
        load,
        text: subject.has_text().then(|| over(&|round| round.text)),
        scales,
        decode: over(&|round| round.decode),
        total,
        fastest: rounds.iter().map(|r| r.total).fold(f64::INFINITY, f64::min),
        seconds_a_picture: total / args.batch as f64,
        tokens_a_second: tokens / painting,
        peak_memory_mib: peak_memory_mib(),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
    }
}
