//! `nextscale study`: the claims about next-scale prediction, measured.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::ensure;
use clap::{Args, Subcommand};
use nextscale_models::device::{self, DeviceChoice};
use nextscale_study::cost::{self, CostOptions, ModelSize};
use nextscale_study::paradigms::{self, ParadigmsOptions};
use nextscale_study::report::Report;
use nextscale_study::scaling::{self, ScalingOptions, VarSize};
use nextscale_study::watch::{Event, Watch};
use nextscale_study::zero_shot::{self, ZeroShotOptions};

use crate::options::at_least_one;
use crate::{bar, output, signal};

#[derive(Debug, Subcommand)]
pub(crate) enum StudyCommand {
    /// Count operations and measure seconds against resolution: VAR, raster autoregression, diffusion
    Cost(CostArgs),
    /// Train VAR at several sizes, and fit power laws of test loss and token error against size and compute
    Scaling(ScalingArgs),
    /// Train VAR, raster autoregression and diffusion of one size for one time, and compare quality and cost
    Paradigms(ParadigmsArgs),
    /// In-paint, out-paint and edit held-out images with a model of classes, and measure the errors
    ZeroShot(ZeroShotArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ParadigmsArgs {
    /// Folder of the report, with the runs in it; the same command goes on where it was stopped
    #[arg(
        short,
        long,
        value_name = "DIR",
        default_value = "runs/study-paradigms"
    )]
    output: PathBuf,
    /// A few minutes: small models that have hardly begun, and few images
    #[arg(long)]
    quick: bool,
    /// Folder of a data set of squares of 16, 32, 64 or 128 pixels; one without classes is divided into its categories
    #[arg(long, value_name = "DIR", default_value = "data/fashion-mnist")]
    data: PathBuf,
    /// Minutes of training for each of the three transformers [default: 10]
    #[arg(long, value_name = "MINUTES")]
    minutes: Option<f64>,
    /// Minutes of training for each of the two tokenizers [default: 6]
    #[arg(long, value_name = "MINUTES")]
    tokenizer_minutes: Option<f64>,
    /// Minutes of training for the classifier whose features the images are compared in [default: 3]
    #[arg(long, value_name = "MINUTES")]
    classifier_minutes: Option<f64>,
    /// Size of VAR and DiT, width x blocks, the width a multiple of 32, the blocks an even number; raster autoregression has half as many blocks more [default: 128x6]
    #[arg(long, value_name = "CxD")]
    size: Option<WidthAndDepth>,
    /// Images that each of them generates [default: 2000]
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    count: Option<usize>,
    /// Steps of diffusion [default: 25]
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    steps: Option<usize>,
    /// Weights of guidance to choose from, 1 for none
    #[arg(long, value_name = "W,..", value_delimiter = ',', default_values_t = [1.0, 1.5, 2.0, 3.0])]
    guidance: Vec<f64>,
    /// Seed
    #[arg(short, long, default_value_t = 1)]
    seed: u64,
    /// Compute device: auto, cpu, cuda or gpu, or cuda:N or gpu:N for the one of number N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

#[derive(Debug, Args)]
pub(crate) struct ZeroShotArgs {
    /// Folder of the report
    #[arg(
        short,
        long,
        value_name = "DIR",
        default_value = "runs/study-zero-shot"
    )]
    output: PathBuf,
    /// A model of classes: a name or a folder
    #[arg(short, long, value_name = "NAME|PATH")]
    model: String,
    /// Folder of a data set with the model's classes and images of its size
    #[arg(long, value_name = "DIR", default_value = "data/fashion-mnist")]
    data: PathBuf,
    /// Held-out images
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = at_least_one())]
    count: usize,
    /// Seed
    #[arg(short, long, default_value_t = 1)]
    seed: u64,
    /// Compute device: auto, cpu, cuda or gpu, or cuda:N or gpu:N for the one of number N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

#[derive(Debug, Args)]
pub(crate) struct ScalingArgs {
    /// Folder of the report, with the runs in it; the same command goes on where it was stopped
    #[arg(short, long, value_name = "DIR", default_value = "runs/study-scaling")]
    output: PathBuf,
    /// A few minutes: three small models that see few images
    #[arg(long)]
    quick: bool,
    /// Folder of a data set of 32x32 pixels with classes
    #[arg(long, value_name = "DIR", default_value = "data/fashion-mnist")]
    data: PathBuf,
    /// Folder of the run of a tokenizer with a codebook [default: one is trained]
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// Sizes of the transformers: width x blocks; heads have 32 channels [default: 32x2 to 160x9]
    #[arg(long, value_name = "CxD,..", value_delimiter = ',')]
    sizes: Vec<WidthAndDepth>,
    /// Images that each transformer sees
    #[arg(long, value_name = "N", default_value_t = 60_000)]
    images: u64,
    /// Seed
    #[arg(short, long, default_value_t = 1)]
    seed: u64,
    /// Compute device: auto, cpu, cuda or gpu, or cuda:N or gpu:N for the one of number N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

/// A size on the command line.
#[derive(Debug, Clone, Copy)]
struct WidthAndDepth(VarSize);

impl FromStr for WidthAndDepth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Option<Vec<usize>> = text.split('x').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[width, depth]) if depth > 0 && width > 0 && width % 32 == 0 => {
                Ok(Self(VarSize { width, depth }))
            }
            _ => Err("give width x blocks, the width a multiple of 32: 64x5".to_owned()),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct CostArgs {
    /// Folder of the report; the same command goes on where it was stopped
    #[arg(short, long, value_name = "DIR", default_value = "runs/study-cost")]
    output: PathBuf,
    /// A minute or two: a small model and small sides, without the sizes of the paper
    #[arg(long)]
    quick: bool,
    /// Sizes of the transformers: width x blocks x heads
    #[arg(long, value_name = "CxDxH,..", value_delimiter = ',', default_values = ["128x4x4", "384x6x6"])]
    sizes: Vec<Size>,
    /// Sides of the latent
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_values_t = [4, 8, 12, 16, 24, 32, 48], value_parser = side)]
    sides: Vec<usize>,
    /// Steps of diffusion for an image
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = at_least_one())]
    steps: usize,
    /// Seconds that the two runs of a point may take; what takes longer is counted only
    #[arg(long, value_name = "SECONDS", default_value_t = 120.0)]
    limit: f64,
    /// Leave out VAR-d16, LlamaGen-L and DiT-XL/2 at 256x256
    #[arg(long)]
    no_paper_sizes: bool,
    /// Compute device: auto, cpu, cuda or gpu, or cuda:N or gpu:N for the one of number N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

/// A size on the command line.
#[derive(Debug, Clone, Copy)]
struct Size(ModelSize);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Option<Vec<usize>> = text.split('x').map(|part| part.parse().ok()).collect();
        let Some(&[width, depth, heads]) = numbers.as_deref() else {
            return Err("give width x blocks x heads, such as 128x4x4".to_owned());
        };
        let head = width.checked_div(heads).unwrap_or(0);
        if depth == 0 || head == 0 || width % heads != 0 || head % 4 != 0 {
            return Err("each head needs a multiple of 4 channels, and all the same".to_owned());
        }
        Ok(Self(ModelSize {
            width,
            depth,
            heads,
        }))
    }
}

fn side(text: &str) -> Result<usize, String> {
    let side = text.parse().ok().filter(|side| (1..=128).contains(side));
    side.ok_or_else(|| "a side is a number from 1 to 128".to_owned())
}

pub(crate) fn run(command: StudyCommand) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    let _runtime = signal::runtime(move || asked.store(true, Ordering::Relaxed))?;
    match command {
        StudyCommand::Cost(args) => cost_of(&args, &stop),
        StudyCommand::Scaling(args) => scaling_of(&args, &stop),
        StudyCommand::Paradigms(args) => paradigms_of(&args, &stop),
        StudyCommand::ZeroShot(args) => zero_shot_of(&args, &stop),
    }
}

fn cost_of(args: &CostArgs, stop: &AtomicBool) -> anyhow::Result<()> {
    let device = device::open(args.device)?;
    let options = CostOptions {
        command: command_line(),
        out: args.output.clone(),
        device_name: args.device.to_string(),
        device,
        sizes: args.sizes.iter().map(|size| size.0).collect(),
        sides: args.sides.clone(),
        steps: args.steps,
        limit: args.limit,
        paper_sizes: !args.no_paper_sizes,
    };
    let options = if args.quick {
        CostOptions {
            sizes: vec![args.sizes[0].0],
            sides: vec![4, 6, 8, 12, 16],
            limit: args.limit.min(10.0),
            paper_sizes: false,
            ..options
        }
    } else {
        options
    };
    let report = watched(stop, |watch| cost::run(&options, watch));
    tell(&report?, args.output.display())
}

fn scaling_of(args: &ScalingArgs, stop: &AtomicBool) -> anyhow::Result<()> {
    let sizes: Vec<VarSize> = args.sizes.iter().map(|size| size.0).collect();
    let sizes = match (sizes.is_empty(), args.quick) {
        (false, _) => sizes,
        (true, true) => VarSize::DEFAULT[..3].to_vec(),
        (true, false) => VarSize::DEFAULT.to_vec(),
    };
    let options = ScalingOptions {
        command: command_line(),
        out: args.output.clone(),
        device: args.device,
        data: args.data.clone(),
        tokenizer: args.tokenizer.clone(),
        tokenizer_minutes: if args.quick { 0.5 } else { 10.0 },
        sizes,
        images: if args.quick {
            args.images.min(3200)
        } else {
            args.images
        },
        seed: args.seed,
    };
    let report = watched(stop, |watch| scaling::run(&options, watch));
    tell(&report?, args.output.display())
}

fn paradigms_of(args: &ParadigmsArgs, stop: &AtomicBool) -> anyhow::Result<()> {
    // What is not given, in full or quickly.
    let or = |full: f64, quick: f64| if args.quick { quick } else { full };
    let size = args.size.map_or_else(
        || VarSize::new(or(128.0, 64.0) as usize, or(6.0, 2.0) as usize),
        |size| size.0,
    );
    ensure!(
        size.depth.is_multiple_of(2),
        "--size: {} blocks are no even number, and raster autoregression has half as many more",
        size.depth
    );
    let options = ParadigmsOptions {
        command: command_line(),
        out: args.output.clone(),
        device: args.device,
        data: args.data.clone(),
        tokenizer_minutes: args.tokenizer_minutes.unwrap_or_else(|| or(6.0, 0.4)),
        classifier_minutes: args.classifier_minutes.unwrap_or_else(|| or(3.0, 0.3)),
        minutes: args.minutes.unwrap_or_else(|| or(10.0, 0.5)),
        width: size.width,
        depth: size.depth,
        count: args.count.unwrap_or_else(|| or(2000.0, 256.0) as usize),
        steps: args.steps.unwrap_or_else(|| or(25.0, 10.0) as usize),
        guidance: args.guidance.clone(),
        seed: args.seed,
    };
    let report = watched(stop, |watch| paradigms::run(&options, watch));
    tell(&report?, args.output.display())
}

fn zero_shot_of(args: &ZeroShotArgs, stop: &AtomicBool) -> anyhow::Result<()> {
    let options = ZeroShotOptions {
        command: command_line(),
        out: args.output.clone(),
        device: args.device,
        model: args.model.clone(),
        data: args.data.clone(),
        count: args.count,
        seed: args.seed,
    };
    let report = watched(stop, |watch| zero_shot::run(&options, watch));
    tell(&report?, args.output.display())
}

/// Runs a study with a bar.
fn watched<T>(stop: &AtomicBool, study: impl FnOnce(Watch<'_>) -> T) -> T {
    let bar = bar::items("study");
    let mut observe = |Event { what, done, all }: Event<'_>| {
        bar.set_message(what.to_owned());
        bar::show(&bar, done, all);
    };
    let done = study(Watch {
        observe: &mut observe,
        stop,
    });
    bar.finish_and_clear();
    done
}

/// The tables on standard output, and where the rest is.
fn tell(report: &Report, folder: std::path::Display<'_>) -> anyhow::Result<()> {
    for section in &report.sections {
        for table in &section.tables {
            output::print(&format!(
                "{}: {}\n\n{}\n",
                section.title,
                table.title,
                table.text()
            ))?;
        }
    }
    output::print(&format!("the report: {folder}/report.html"))
}

/// The command as it was given, for the report.
fn command_line() -> String {
    let arguments = std::env::args().skip(1);
    let arguments: Vec<String> = std::iter::once("nextscale".to_owned())
        .chain(arguments)
        .collect();
    arguments.join(" ")
}
