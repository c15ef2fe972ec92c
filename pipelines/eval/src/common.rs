//! What the measurements have in common: options, progress, and how results are written.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use burn::tensor::Device;
use indicatif::{ProgressBar, ProgressStyle};
use nextscale_data::IconSet;
use nextscale_models::device::{self, DeviceChoice};
use serde::Serialize;

/// What every measurement needs.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// The data set, as `nextscale data build` made it
    #[arg(long, value_name = "DIR", default_value = "data/icons")]
    pub(crate) data: PathBuf,
    /// Seed of every choice
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Pictures at a time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = at_least_one())]
    pub(crate) batch: usize,
    /// Where to compute
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    pub(crate) device: DeviceChoice,
    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a contact sheet: original and painted pictures side by side
    #[arg(long, value_name = "FILE.png")]
    pub(crate) sheet: Option<PathBuf>,
}

impl Common {
    pub(crate) fn open(&self) -> anyhow::Result<(IconSet, Device)> {
        let set = IconSet::load(&self.data)
            .context("the data set cannot be used (`nextscale data build` makes one)")?;
        anyhow::ensure!(!set.is_empty(), "{} holds no picture", self.data.display());
        Ok((set, device::open(self.device)?))
    }

    /// Writes the JSON file and the contact sheet that were asked for.
    pub(crate) fn write(
        &self,
        report: &impl Serialize,
        pairs: &[Vec<u8>],
        size: usize,
    ) -> anyhow::Result<()> {
        if let Some(path) = &self.json {
            write_json(path, report)?;
        }
        match &self.sheet {
            Some(path) if !pairs.is_empty() => {
                nextscale_data::contact_sheet::save(pairs, size, 16, path)
            }
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
pub(crate) fn progress(length: usize) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
