//! `nextscale bench`: seconds a picture, part by part, and the memory it took.
//!
//! Every round paints one batch; rounds of warm-up are not counted. Shown are medians. Sizes can be measured with
//! random weights, so that speed can be compared without the checkpoint.

mod subject;

use std::path::PathBuf;
use std::time::Instant;

use burn::tensor::{Device, FloatDType};
use serde::Serialize;

use nextscale_models::bundle::DEFAULT;
use nextscale_models::device;
use nextscale_models::device::{DeviceChoice, Dtype};
use subject::{Round, Subject};

/// Arguments of `nextscale bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// A model as `generate` takes it, or with --random-weights a size: `infinity-125m` or `var-d16` to `var-d36`
    #[arg(short, long, value_name = "NAME|PATH", default_value = DEFAULT)]
    model: String,
    /// Measure this size with random weights: no file is read
    #[arg(long)]
    random_weights: bool,
    /// What to paint
    #[arg(short, long, default_value = "red apple")]
    prompt: String,
    /// What to paint with a class-conditional model, by name or number
    #[arg(long, default_value = "0")]
    class: String,
    /// Pictures painted together
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = crate::common::at_least_one())]
    batch: usize,
    /// Rounds that count
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = crate::common::at_least_one())]
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

/// Runs `nextscale bench`.
///
/// # Errors
/// When the model can't be used, or a picture is not a picture of numbers.
pub fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let device = device::open(args.device)?;
    let dtype = device::dtype(args.dtype, &device)?;
    let place = (&device, dtype, device::blocks(args.dtype));
    let start = Instant::now();
    let mut subject = match args.random_weights {
        true => Subject::random(&args.model, &device, dtype)?,
        false => Subject::open(args, place)?,
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
    let report = report(&subject, args, load, &rounds, &device, dtype);
    println!("{}", report.table());
    match &args.json {
        Some(path) => crate::common::write_json(path, &report),
        None => Ok(()),
    }
}

fn report(
    subject: &Subject,
    args: &BenchArgs,
    load: f64,
    rounds: &[Round],
    device: &Device,
    dtype: FloatDType,
) -> Report {
    let over = |part: &dyn Fn(&Round) -> f64| median(rounds.iter().map(part).collect());
    let grids = subject.schedule().scales().iter().enumerate();
    let scales: Vec<ScaleTime> = grids
        .map(|(k, grid)| ScaleTime {
            grid: [grid.h, grid.w],
            seconds: over(&|round| round.scales[k]),
        })
        .collect();
    let total = over(&|round| round.total);
    let painting = over(&|round| round.scales.iter().sum());
    let tokens = (subject.schedule().tokens() * args.batch) as f64;
    let cuda = *device != Device::flex();
    Report {
        model: args.model.clone(),
        device: match cuda {
            true => "cuda".to_owned(),
            false => format!("cpu, {}", device::cpu_features()),
        },
        dtype: format!("{dtype:?}").to_lowercase(),
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
