//! `nextscale bench`: the speed of a model, in figures.

use std::path::PathBuf;

use clap::Args;
use nextscale_eval::bench::{self, BenchOptions, Report};
use nextscale_models::DEFAULT;
use nextscale_models::device::{DeviceChoice, Dtype};

use crate::options::{at_least_one, choice};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Model as for `generate`, or with --random-weights a size: infinity-125m, infinity-2b, infinity-8b, or var-d16 to
    /// var-d36
    #[arg(short, long, value_name = "NAME|PATH", default_value = DEFAULT)]
    model: String,
    /// Measure this size with random weights, without reading a checkpoint
    #[arg(long)]
    random_weights: bool,
    /// Width in pixels [default: the model's]
    #[arg(short = 'W', long, value_name = "N", requires = "height")]
    width: Option<usize>,
    /// Height in pixels [default: the model's]
    #[arg(short = 'H', long, value_name = "N", requires = "width")]
    height: Option<usize>,
    /// Prompt
    #[arg(short, long, default_value = "red apple")]
    prompt: String,
    /// Class name or number, for class-conditional models
    #[arg(long, default_value = "0")]
    class: String,
    /// Images generated at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one())]
    batch: usize,
    /// Measured rounds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least_one())]
    rounds: usize,
    /// Warm-up rounds before them
    #[arg(long, value_name = "N", default_value_t = 1)]
    warmup: usize,
    /// Guidance scale; 1 (with classes 0) turns guidance off [default: the model's, 4 for a preset]
    #[arg(long, value_name = "N")]
    cfg_scale: Option<f64>,
    /// Compute device: auto, cpu, cuda, or cuda:N for a card's number
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Number type of the transformer's weights
    #[arg(long, value_parser = choice::<Dtype>(), default_value = "auto")]
    dtype: Dtype,
    /// Fix which kernels a card takes: slower, and the same bytes on every card of one kind
    #[arg(long)]
    deterministic: bool,
    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(args: BenchArgs) -> anyhow::Result<()> {
    let report = bench::run(&BenchOptions {
        model: args.model,
        size: args.width.zip(args.height).map(Into::into),
        random_weights: args.random_weights,
        prompt: args.prompt,
        class: args.class,
        batch: args.batch,
        rounds: args.rounds,
        warmup: args.warmup,
        cfg_scale: args.cfg_scale,
        device: args.device,
        dtype: args.dtype,
        deterministic: args.deterministic,
    })?;
    output::print(&table(&report))?;
    match &args.json {
        Some(path) => output::write_json(path, &report),
        None => Ok(()),
    }
}

fn table(report: &Report) -> String {
    let [w, h] = report.size;
    let mut text = format!(
        "{} at {w}x{h}, batch {}, {}, {}; median of {} rounds\n",
        report.model, report.batch, report.dtype, report.device, report.rounds
    );
    let mut row = |name: String, seconds: f64| text += &format!("{name:<16} {seconds:>9.4} s\n");
    row("load".into(), report.load);
    if let Some(seconds) = report.text {
        row("text".into(), seconds);
    }
    for (k, scale) in report.scales.iter().enumerate() {
        let [h, w] = scale.grid;
        row(format!("scale {} ({h}x{w})", k + 1), scale.seconds);
    }
    row("decode".into(), report.decode);
    row("total".into(), report.total);
    row("fastest".into(), report.fastest);
    row("per image".into(), report.seconds_per_image);
    text += &format!("{:<16} {:>9.0}", "tokens/s", report.tokens_per_second);
    if let Some(mib) = report.peak_memory_mib {
        text += &format!("\n{:<16} {mib:>9.0} MiB", "peak memory");
    }
    if let Some(mib) = report.device_memory_mib {
        text += &format!("\n{:<16} {mib:>9.0} MiB", "card memory");
    }
    text
}
