//! `nextscale train plot`: the curves of runs.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use nextscale_curves::{Log, PlotOptions, Plotted, X, plot};

/// Arguments of `nextscale train plot`.
#[derive(Debug, Args)]
pub(super) struct PlotArgs {
    /// Folders of runs
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// File to write, ending with .svg or .png
    #[arg(short, long, value_name = "FILE", default_value = "curves.svg")]
    output: PathBuf,
    /// What the curves are drawn over
    #[arg(long, value_enum, default_value_t = Axis::Steps)]
    over: Axis,
    /// Draw the loss on a logarithmic axis
    #[arg(long)]
    log: bool,
    /// Size of the page in pixels
    #[arg(long, value_name = "WxH", value_parser = size, default_value = "1200x900")]
    size: [u32; 2],
}

/// The horizontal axis.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Axis {
    /// Optimiser steps
    Steps,
    /// Seconds of training
    Seconds,
    /// Images or clips
    Examples,
}

fn size(text: &str) -> anyhow::Result<[u32; 2]> {
    let both = text
        .split_once('x')
        .ok_or_else(|| anyhow!("use WIDTHxHEIGHT, such as 1200x900"));
    let (width, height) = both?;
    Ok([width.parse()?, height.parse()?])
}

pub(super) fn run(args: &PlotArgs) -> anyhow::Result<()> {
    let logs = args.runs.iter().map(|run| Log::read(run));
    let logs = logs.collect::<Result<Vec<Log>, _>>()?;
    let [width, height] = args.size;
    let options = PlotOptions {
        x: match args.over {
            Axis::Steps => X::Steps,
            Axis::Seconds => X::Seconds,
            Axis::Examples => X::Examples,
        },
        log_loss: args.log,
        width,
        height,
        ..PlotOptions::default()
    };
    let Plotted {
        panels,
        skipped_lines,
        ..
    } = plot(&logs, &options, &args.output)?;
    eprintln!("{}: {}", args.output.display(), panels.join(", "));
    if skipped_lines > 0 {
        eprintln!("{skipped_lines} lines that were cut off are left out");
    }
    Ok(())
}
