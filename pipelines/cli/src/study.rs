//! `nextscale study`: the claims about next-scale prediction, measured.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Subcommand};
use nextscale_models::device::{self, DeviceChoice};
use nextscale_study::cost::{self, CostOptions, Event, ModelSize, Watch};
use nextscale_study::report::Report;

use crate::options::at_least_one;
use crate::{bar, output, signal};

#[derive(Debug, Subcommand)]
pub(crate) enum StudyCommand {
    /// Count operations and measure seconds against resolution: VAR, raster autoregression, diffusion
    Cost(CostArgs),
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
    let bar = bar::items("study");
    let mut observe = |Event { what, done, all }: Event<'_>| {
        bar.set_message(what.to_owned());
        bar::show(&bar, done, all);
    };
    let watch = Watch {
        observe: &mut observe,
        stop,
    };
    let report = cost::run(&options, watch);
    bar.finish_and_clear();
    tell(&report?, args.output.display())
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
