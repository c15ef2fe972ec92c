//! `nextscale bench`: the speed of a model, in figures.

use std::path::PathBuf;

use clap::Args;
use nextscale_eval::bench::{self, BenchOptions, ClipTimes, ImageReport, Report, VideoReport};
use nextscale_models::DEFAULT;
use nextscale_models::device::{DeviceChoice, Dtype};

use crate::image_options::ShortcutOptions;
use crate::options::{at_least_one, choice, parse_number};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Model as for `generate` or `video`, or with --random-weights a size: infinity-125m, infinity-2b, infinity-8b,
    /// varedit-8b-512 or -1024, var-d16 to var-d36, infinitystar-8b-480p or infinitystar-8b-720p
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
    /// Length of a video in seconds; 0 for a single image [default: the model's]
    #[arg(long, allow_hyphen_values = true, value_parser = parse_number)]
    seconds: Option<f64>,
    /// Length of a video in frames instead of seconds
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    frames: Option<usize>,
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
    #[command(flatten)]
    shortcuts: ShortcutOptions,
    /// Compute device: auto, cpu, cuda or gpu, or cuda:N or gpu:N for the one of number N
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
        seconds: args.seconds,
        frames: args.frames,
        prompt: args.prompt,
        class: args.class,
        batch: args.batch,
        rounds: args.rounds,
        warmup: args.warmup,
        cfg_scale: args.cfg_scale,
        shortcuts: args.shortcuts.choice()?,
        device: args.device,
        dtype: args.dtype,
        deterministic: args.deterministic,
    })?;
    output::print(&match &report {
        Report::Image(report) => image_table(report),
        Report::Video(report) => video_table(report),
    })?;
    match &args.json {
        Some(path) => output::write_json(path, &report),
        None => Ok(()),
    }
}

fn image_table(report: &ImageReport) -> String {
    let [w, h] = report.size;
    let title = format!(
        "{} at {w}x{h}, batch {}, {}, {}; median of {} rounds",
        report.model, report.batch, report.dtype, report.device, report.rounds
    );
    let mut table = Table::new(16, title);
    table.seconds("load", Some(report.load));
    table.seconds("text", report.text);
    for (k, scale) in report.scales.iter().enumerate() {
        let [h, w] = scale.grid;
        table.seconds(&format!("scale {} ({h}x{w})", k + 1), Some(scale.seconds));
    }
    table.seconds("decode", Some(report.decode));
    table.seconds("total", Some(report.total));
    table.seconds("fastest", Some(report.fastest));
    table.seconds("per image", Some(report.seconds_per_image));
    table.row("tokens/s", format!("{:>9.0}", report.tokens_per_second));
    table.memory(report.peak_memory_mib, report.device_memory_mib)
}

fn video_table(report: &VideoReport) -> String {
    let [w, h] = report.size;
    let title = format!(
        "{} at {w}x{h}, {} frames, {}, {}; median of {} rounds",
        report.model, report.frames, report.dtype, report.device, report.rounds
    );
    let mut table = Table::new(32, title);
    table.seconds("load", Some(report.load));
    table.seconds("text", report.text);
    table.seconds("first frame", report.first_frame);
    for (index, clip) in report.clips.iter().enumerate() {
        clip_rows(&mut table, index + 1, clip);
    }
    table.seconds("decode", Some(report.decode));
    table.seconds("total", Some(report.total));
    table.seconds("fastest", Some(report.fastest));
    table.row("frames/s", format!("{:>9.2}", report.frames_per_second));
    table.row("tokens/s", format!("{:>9.0}", report.tokens_per_second));
    table.memory(report.peak_memory_mib, report.device_memory_mib)
}

/// The scales of a clip, with the sum of the passes over each, then the chunks of the decoder.
fn clip_rows(table: &mut Table, clip: usize, times: &ClipTimes) {
    let scales = times.passes.chunk_by(|a, b| a.grid == b.grid);
    for (k, passes) in scales.enumerate() {
        let [t, h, w] = passes[0].grid;
        let times = match passes.len() {
            1 => String::new(),
            count => format!(" x {count}"),
        };
        let name = format!("clip {clip} scale {} ({t}x{h}x{w}){times}", k + 1);
        let seconds = passes.iter().map(|pass| pass.seconds).sum();
        table.seconds(&name, Some(seconds));
    }
    for (k, chunk) in times.chunks.iter().enumerate() {
        let unit = if chunk.frames == 1 { "frame" } else { "frames" };
        let name = format!("clip {clip} chunk {} ({} {unit})", k + 1, chunk.frames);
        table.seconds(&name, Some(chunk.seconds));
    }
}

/// Rows of a name and a value.
struct Table {
    /// Letters of the names.
    width: usize,
    text: String,
}

impl Table {
    fn new(width: usize, title: String) -> Self {
        let text = title;
        Self { width, text }
    }

    fn row(&mut self, name: &str, value: String) {
        self.text += &format!("\n{name:<width$} {value}", width = self.width);
    }

    fn seconds(&mut self, name: &str, seconds: Option<f64>) {
        if let Some(seconds) = seconds {
            self.row(name, format!("{seconds:>9.4} s"));
        }
    }

    /// The table, ended by the memory of the host and of the card.
    fn memory(mut self, host: Option<f64>, card: Option<f64>) -> String {
        for (name, mib) in [("peak memory", host), ("card memory", card)] {
            if let Some(mib) = mib {
                self.row(name, format!("{mib:>9.0} MiB"));
            }
        }
        self.text
    }
}
