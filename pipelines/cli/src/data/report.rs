//! `nextscale data check`: what a recipe finds.

use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use nextscale_data::{DataKind, OwnRecipe, Report, check_own, contact_sheet};
use serde_json::json;

use super::own::{Videos, named};
use super::sizes;
use crate::{bar, output};

/// Arguments of `nextscale data check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Recipe of your own images or videos
    config: PathBuf,
    /// Write some of the images, as training would see them, as a PNG file
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Largest side of a tile of the sheet in pixels.
const TILE: usize = 192;
/// Images in a row of the sheet.
const COLUMNS: usize = 6;
/// Names in a list.
const NAMES: usize = 5;

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<()> {
    ensure!(
        DataKind::of(&args.config)?.is_own(),
        "`{}` is no recipe of own images or videos: its files are pinned by checksums, which `nextscale data build` verifies",
        args.config.display()
    );
    let recipe = OwnRecipe::load(&args.config)?;
    let sizes = sizes::of(&recipe)?;
    let report = bar::during(|progress| check_own(&recipe, &sizes, &Videos, progress))?;
    if let Some(path) = &args.sheet {
        let images: Vec<_> = report
            .samples
            .iter()
            .map(|(_, image)| image.clone())
            .collect();
        let sides = report.buckets.iter().flat_map(|(size, _)| size);
        let tile = sides.copied().max().unwrap_or(TILE).min(TILE);
        contact_sheet::save_fitted(&images, tile, COLUMNS, path)?;
    }
    if args.json {
        return output::print(&serde_json::to_string_pretty(&as_json(&report))?);
    }
    output::print(&table(&report))
}

/// The report as lines of a table.
fn table(report: &Report) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row("found", report.found.to_string());
    row(
        "usable",
        format!("{}, {} held out", report.usable, report.held_out),
    );
    let size = |[width, height]: [u32; 2]| format!("{width}x{height}");
    let all = &report.originals;
    row(
        "sizes",
        format!(
            "{} to {}, median {}",
            size(all.smallest),
            size(all.largest),
            size(all.median)
        ),
    );
    for ([width, height], count) in &report.buckets {
        row(&format!("{width}x{height}"), count.to_string());
    }
    for (class, count) in &report.classes {
        row(&format!("class {class}"), count.to_string());
    }
    let captions = &report.captions;
    if captions.count > 0 {
        row(
            "captions",
            format!(
                "{}, {} different; {} to {} words, median {}",
                captions.count,
                captions.distinct,
                captions.least_words,
                captions.most_words,
                captions.median_words
            ),
        );
    }
    if captions.empty > 0 {
        row("empty captions", captions.empty.to_string());
    }
    let mut listed = |name: &str, files: &[String]| {
        if !files.is_empty() {
            row(name, list(files));
        }
    };
    listed("no caption", &report.without_caption);
    listed("no image", &report.captions_without_image);
    listed("enlarged", &report.upscaled);
    let groups: Vec<String> = report
        .duplicates
        .iter()
        .map(|group| group.join(" = "))
        .collect();
    listed("duplicates", &groups);
    row("data set", format!("{:.1} MB", report.bytes as f64 / 1e6));
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = rows
        .iter()
        .map(|(name, value)| format!("{name:>width$}  {value}"));
    let mut text = lines.collect::<Vec<_>>().join("\n");
    for (what, skipped) in [
        ("unreadable", &report.unreadable),
        ("too small", &report.too_small),
    ] {
        if !skipped.is_empty() {
            text += &format!(
                "\n{} {what}:{}",
                skipped.len(),
                named(skipped, skipped.len())
            );
        }
    }
    text
}

/// How many, and the first of them.
fn list(files: &[String]) -> String {
    let shown = files
        .iter()
        .take(NAMES)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match files.len() {
        n if n > NAMES => format!("{n}: {shown}, ..."),
        n => format!("{n}: {shown}"),
    }
}

fn as_json(report: &Report) -> serde_json::Value {
    let skipped = |all: &[nextscale_data::Skipped]| {
        all.iter()
            .map(|one| json!({ "file": one.file, "reason": one.reason }))
            .collect::<Vec<_>>()
    };
    let (captions, sizes) = (&report.captions, &report.originals);
    json!({
        "found": report.found,
        "usable": report.usable,
        "held_out": report.held_out,
        "bytes": report.bytes,
        "sizes": { "smallest": sizes.smallest, "median": sizes.median, "largest": sizes.largest },
        "buckets": report.buckets,
        "classes": report.classes,
        "captions": {
            "count": captions.count,
            "distinct": captions.distinct,
            "empty": captions.empty,
            "words": [captions.least_words, captions.median_words, captions.most_words],
        },
        "without_caption": report.without_caption,
        "captions_without_image": report.captions_without_image,
        "upscaled": report.upscaled,
        "duplicates": report.duplicates,
        "unreadable": skipped(&report.unreadable),
        "too_small": skipped(&report.too_small),
    })
}
