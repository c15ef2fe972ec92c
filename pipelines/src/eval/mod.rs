//! The `eval` subcommand: how well a tokenizer repaints, and how well a model paints what it is asked for.

mod motion;
mod pixels;
mod recall;
mod tokenizer;
mod tracking;
mod usage;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use burn::tensor::Device;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::data::IconSet;
use crate::device;
use crate::spec::DeviceChoice;

/// Arguments of `nextscale eval`.
#[derive(Debug, clap::Args)]
pub struct EvalArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Measure how well an auto-encoder repaints pictures that training never saw
    Tokenizer(tokenizer::TokenizerArgs),
    /// Measure how often a painted picture is recognised as what its prompt asks for
    Recall(recall::RecallArgs),
    /// Measure how often a video moves as its prompt says
    Motion(motion::MotionArgs),
}

/// What every measurement needs.
#[derive(Debug, clap::Args)]
struct Common {
    /// The data set, as `nextscale data build` made it
    #[arg(long, value_name = "DIR", default_value = "data/icons")]
    data: PathBuf,
    /// Seed of every choice
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Pictures at a time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = at_least_one())]
    batch: usize,
    /// Where to compute
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a contact sheet: original and painted pictures side by side
    #[arg(long, value_name = "FILE.png")]
    sheet: Option<PathBuf>,
}

impl Common {
    fn open(&self) -> anyhow::Result<(IconSet, Device)> {
        let set = IconSet::load(&self.data)
            .context("the data set cannot be used (`nextscale data build` makes one)")?;
        anyhow::ensure!(!set.is_empty(), "{} holds no picture", self.data.display());
        Ok((set, device::open(self.device)?))
    }

    /// Writes the JSON file and the contact sheet that were asked for.
    fn write(&self, report: &impl Serialize, pairs: &[Vec<u8>], size: usize) -> anyhow::Result<()> {
        if let Some(path) = &self.json {
            write_json(path, report)?;
        }
        match &self.sheet {
            Some(path) if !pairs.is_empty() => crate::sheet::save(pairs, size, 16, path),
            _ => Ok(()),
        }
    }
}

pub(crate) fn at_least_one() -> clap::builder::RangedU64ValueParser<usize> {
    clap::builder::RangedU64ValueParser::new().range(1..)
}

pub(crate) fn write_json(path: &Path, report: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(report)? + "\n";
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// A progress bar that is hidden where standard error is no terminal.
fn progress(length: usize) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Runs `nextscale eval`.
///
/// # Errors
/// When the model or the data set can't be used, or a file can't be written.
pub fn run(args: EvalArgs) -> anyhow::Result<()> {
    match args.what {
        What::Tokenizer(args) => tokenizer::run(&args),
        What::Recall(args) => recall::run(&args),
        What::Motion(args) => motion::run(&args),
    }
}
