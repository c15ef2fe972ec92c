//! `nextscale warm-up`: kernels of a card, compiled before they are needed, packed for other machines and unpacked there.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, ensure};
use clap::{Args, Subcommand};
use nextscale_eval::warm_up::{self, LENGTHS, Report, Shape, WarmUpOptions};
use nextscale_models::DEFAULT;
use nextscale_models::device::kernel_folder::{Usage, kernel_folder, usage};
use nextscale_models::device::{self, DeviceChoice, Dtype};
use nextscale_models::kernel_archive::{self, Target};

use crate::options::{at_least_one, choice, parse_number};
use crate::{bar, output};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct WarmUpArgs {
    #[command(subcommand)]
    command: Option<ArchiveCommand>,
    /// Model as for `generate` and `video`, or with --random-weights a size: infinity-125m, infinity-2b, infinity-8b,
    /// varedit-8b-512 or -1024, or var-d16 to var-d36
    #[arg(short, long, value_name = "NAME|PATH", default_value = DEFAULT)]
    model: String,
    /// Search this folder first for the files of released models
    #[arg(long, value_name = "DIR", conflicts_with = "random_weights")]
    models_dir: Option<PathBuf>,
    /// Take this size with random weights, without reading a checkpoint; the text encoder is left out
    #[arg(long)]
    random_weights: bool,
    /// Width in pixels [default: the model's]
    #[arg(short = 'W', long, value_name = "N", requires = "height")]
    width: Option<usize>,
    /// Height in pixels [default: the model's]
    #[arg(short = 'H', long, value_name = "N", requires = "width")]
    height: Option<usize>,
    /// Aspect ratio, for example 16:9; selects the nearest size of the model. Repeat for more sizes
    #[arg(long, value_name = "W:H", value_parser = parse_aspect, conflicts_with_all = ["width", "height"])]
    aspect: Vec<f64>,
    /// Lengths of prompts in tokens, about
    #[arg(long, value_name = "N[,N..]", value_delimiter = ',', value_parser = at_least_one(), default_values_t = LENGTHS)]
    prompt_tokens: Vec<usize>,
    /// Images generated at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one())]
    batch_size: usize,
    /// Length of a video in seconds [default: the model's]
    #[arg(long, value_name = "N", value_parser = parse_number)]
    seconds: Option<f64>,
    /// Compute device: auto, cpu, cuda or gpu, or cuda:N or gpu:N for the one of number N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Number type of the transformer's weights
    #[arg(long, value_parser = choice::<Dtype>(), default_value = "auto")]
    dtype: Dtype,
    /// Warm up the kernels that --deterministic takes, which are kept apart
    #[arg(long)]
    deterministic: bool,
}

#[derive(Debug, Subcommand)]
enum ArchiveCommand {
    /// Pack the kernels of this machine into a file, for machines with the same card, driver and program
    Export {
        /// Archive to write, for example kernels.tar
        file: PathBuf,
        /// The card that the kernels are for: auto, cuda, or cuda:N for its number
        #[arg(long, value_name = "DEVICE", default_value = "auto")]
        device: DeviceChoice,
    },
    /// Unpack the kernels of such a file
    Import {
        /// Archive
        file: PathBuf,
        /// The card that will use them: auto, cuda, or cuda:N for its number
        #[arg(long, value_name = "DEVICE", default_value = "auto")]
        device: DeviceChoice,
        /// Unpack kernels of another card, driver or program, too
        #[arg(long)]
        force: bool,
    },
}

pub(crate) fn run(args: WarmUpArgs) -> anyhow::Result<()> {
    match &args.command {
        Some(ArchiveCommand::Export { file, device }) => export(file, *device),
        Some(ArchiveCommand::Import {
            file,
            device,
            force,
        }) => import(file, *device, *force),
        None => warm_up(args),
    }
}

fn warm_up(args: WarmUpArgs) -> anyhow::Result<()> {
    let shape = match args.width.zip(args.height) {
        Some(size) => Shape::Pixels(size.into()),
        None if args.aspect.is_empty() => Shape::Default,
        None => Shape::Aspects(args.aspect),
    };
    let options = WarmUpOptions {
        model: args.model,
        models_dir: args.models_dir,
        random_weights: args.random_weights,
        shape,
        prompt_tokens: args.prompt_tokens,
        batch: args.batch_size,
        seconds: args.seconds,
        device: args.device,
        dtype: args.dtype,
        deterministic: args.deterministic,
    };
    let bar = bar::items("warming up");
    let report = warm_up::run(&options, &mut |at| bar::show(&bar, at.done, at.total));
    bar.finish_and_clear();
    match report? {
        Some(report) => output::print(&summary(&options.model, &report)),
        None => output::print(
            "only a CUDA card needs a warm-up: nothing that is compiled elsewhere is kept",
        ),
    }
}

fn summary(model: &str, report: &Report) -> String {
    let sizes: Vec<String> = report
        .sizes
        .iter()
        .map(|[w, h]| format!("{w}x{h}"))
        .collect();
    let new = report.after.bytes.saturating_sub(report.before.bytes);
    format!(
        "{model} at {}: warm after {:.1} s\n{}, {} of them new",
        sizes.join(", "),
        report.seconds,
        contents(&report.folder, report.after),
        mib(new),
    )
}

/// What a folder holds, in words.
fn contents(folder: &Path, usage: Usage) -> String {
    let files = if usage.files == 1 { "file" } else { "files" };
    format!(
        "{} in {} {files} in {}",
        mib(usage.bytes),
        usage.files,
        folder.display()
    )
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn export(file: &Path, device: DeviceChoice) -> anyhow::Result<()> {
    let usage = kernel_archive::export(&folder()?, file, target(device)?)?;
    output::print(&format!(
        "{}: {} in {} files",
        file.display(),
        mib(usage.bytes),
        usage.files
    ))
}

fn import(file: &Path, device: DeviceChoice, force: bool) -> anyhow::Result<()> {
    let folder = folder()?;
    let imported = kernel_archive::import(file, &folder, &target(device)?, force)?;
    if let Some(unfit) = &imported.unfit {
        let warning = format!("warning: `{}` {unfit}", file.display());
        eprintln!("{}", output::escaped(&warning));
    }
    output::print(&contents(&folder, usage(&folder)))
}

/// This program and the card that a choice means.
fn target(device: DeviceChoice) -> anyhow::Result<Target> {
    let card = device::card_of(device)?;
    Ok(Target::here(card.as_ref().map(|(_, card)| card))?)
}

fn folder() -> anyhow::Result<PathBuf> {
    kernel_folder().ok_or_else(|| {
        anyhow!("there is no folder of kernels: set XDG_CACHE_HOME or HOME to a folder")
    })
}

/// Parses `16:9` as the ratio of width to height.
fn parse_aspect(text: &str) -> anyhow::Result<f64> {
    let wrong = "write width:height, for example 16:9";
    let (width, height) = text.split_once(':').context(wrong)?;
    let ratio =
        parse_number(width.trim()).context(wrong)? / parse_number(height.trim()).context(wrong)?;
    ensure!(ratio.is_finite() && ratio > 0.0, wrong);
    Ok(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aspects() {
        assert_eq!(parse_aspect("16:9").unwrap(), 16.0 / 9.0);
        assert_eq!(parse_aspect("1 : 2.5").unwrap(), 0.4);
        for bad in ["", "16", "16:", "x:9", "1:0", "0:1", "-1:2", "nan:1"] {
            let error = parse_aspect(bad).unwrap_err().to_string();
            assert!(error.contains("width:height"), "{bad}: {error}");
        }
    }

    #[test]
    fn what_was_done_is_told() {
        let usage = |files, bytes| Usage { files, bytes };
        let report = Report {
            sizes: vec![[64, 64], [96, 64]],
            seconds: 61.24,
            folder: "kernels".into(),
            before: usage(1, 1 << 20),
            after: usage(2, 3 << 20),
        };
        assert_eq!(
            summary("default", &report),
            "default at 64x64, 96x64: warm after 61.2 s\n3.0 MiB in 2 files in kernels, 2.0 MiB of them new"
        );
    }
}
