//! Data sets of the user's own images and videos.

use std::path::Path;

use nextscale_data::{Manifest, OwnRecipe, ReadVideo, RgbImage, Skipped, build_own};
use nextscale_pipelines::media;

use super::sizes;
use crate::{bar, output};

/// Files that were left out and are named; the manifest has more.
const NAMED: usize = 10;

/// Reads videos with FFmpeg.
pub(super) struct Videos;

impl ReadVideo for Videos {
    fn frames(&self, path: &Path, frames: usize, fps: f64) -> Result<Vec<RgbImage>, String> {
        media::first_frames(path, frames, fps).map_err(|error| error.to_string())
    }
}

pub(super) fn build(recipe: &OwnRecipe, out: &Path, force: bool) -> anyhow::Result<Manifest> {
    let sizes = sizes::of(recipe)?;
    let built = bar::during(|progress| build_own(recipe, &sizes, out, force, &Videos, progress));
    Ok(built?)
}

/// Prints what was built, and what was left out.
pub(super) fn print(manifest: &Manifest, out: &Path) -> anyhow::Result<()> {
    let what = if manifest.frames > 1 {
        "clips"
    } else {
        "images"
    };
    let mut text = format!(
        "{} {what} in {}, {} of them held out",
        manifest.count,
        out.display(),
        manifest.held_out
    );
    if manifest.frames > 1 {
        text += &format!("; {} frames at {} a second", manifest.frames, manifest.fps);
    }
    for class in &manifest.classes {
        let count = manifest.styles.get(class).copied().unwrap_or(0);
        text += &format!("\n{class:>16} {count:>6}");
    }
    for [width, height] in manifest.buckets() {
        text += &format!("\n{:>16}", format!("{width}x{height}"));
    }
    if manifest.skipped_count > 0 {
        text += &format!("\n{} left out:", manifest.skipped_count);
        text += &named(&manifest.skipped, manifest.skipped_count);
    }
    output::print(&text)
}

/// The first of the files that were left out, a line for each.
pub(super) fn named(skipped: &[Skipped], all: usize) -> String {
    let shown = skipped.iter().take(NAMED);
    let mut text: String = shown
        .map(|Skipped { file, reason }| format!("\n  {file}: {reason}"))
        .collect();
    if all > NAMED {
        text += &format!("\n  and {} more", all - NAMED);
    }
    text
}
