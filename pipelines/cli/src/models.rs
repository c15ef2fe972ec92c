//! `nextscale models`: the models known by name, the files they need, and where those are.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::output;
use nextscale_models::search::SearchPath;
use nextscale_models::{EDITS, Manifest, Model, SPRITES, download, released};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ModelsArgs {
    #[command(subcommand)]
    command: Option<ModelsCommand>,
    /// Show the files of one model
    name: Option<String>,
    /// Search this folder first
    #[arg(long, value_name = "DIR")]
    models_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum ModelsCommand {
    /// Download the missing files of a released model from the Hugging Face Hub into its cache
    Fetch {
        /// Model
        name: String,
        /// Search this folder first
        #[arg(long, value_name = "DIR")]
        models_dir: Option<PathBuf>,
    },
}

pub(super) fn run(args: &ModelsArgs) -> anyhow::Result<()> {
    if let Some(ModelsCommand::Fetch { name, models_dir }) = &args.command {
        return fetch(name, &SearchPath::new(models_dir.as_deref()));
    }
    let search_path = SearchPath::new(args.models_dir.as_deref());
    match &args.name {
        None => output::print(list(&search_path).trim_end()),
        Some(name) => output::print(&details(name, &search_path)?),
    }
}

fn list(search_path: &SearchPath) -> String {
    let line = |name: &str, state: &str, result: &str| format!("{name:<22} {state:<12} {result}\n");
    let mut text = line("model", "state", "generates");
    let icons = "images of icons from prompts, 64x64";
    text += &line("default", "embedded", icons);
    text += &match Model::open(SPRITES) {
        Ok(model) => line(SPRITES, "embedded", &sprites(model.manifest())),
        Err(_) => line(SPRITES, "not embedded", "videos of icons from prompts"),
    };
    text += &match Model::open(EDITS) {
        Ok(_) => line(EDITS, "embedded", "edits of icons from instructions, 64x64"),
        Err(_) => line(EDITS, "not embedded", "edits of icons from instructions"),
    };
    for name in released::names() {
        let parts = released::parts(name, search_path).unwrap_or_default();
        let missing = parts.iter().filter(|part| part.found.is_none()).count();
        let state = match missing {
            0 => "ready".to_owned(),
            n if n == parts.len() => "missing".to_owned(),
            n => format!("{n} of {} missing", parts.len()),
        };
        text += &line(name, &state, &generates(name));
    }
    text + "\n`nextscale models NAME` shows the files of a model and where they are searched.\n"
}

/// What a released model generates.
fn generates(name: &str) -> String {
    if let Some(config) = released::var::config(name) {
        let side = config.schedule.last().w * 16;
        return format!("images of 1,000 classes, {side}x{side}");
    }
    let star = released::infinity_star::PRESETS
        .iter()
        .find(|p| p.name == name);
    if let Some(preset) = star {
        let ((width, height), seconds) = (preset.size(), preset.longest_seconds());
        let result = if preset.is_interactive() {
            "videos from a video and successive prompts"
        } else {
            "videos from prompts, images or videos"
        };
        return format!(
            "{result}, 15 aspect ratios, {width}x{height} by default, up to {seconds} s"
        );
    }
    let mut infinity = released::infinity::PRESETS.iter();
    let Some(preset) = infinity.find(|p| p.name == name) else {
        return String::new();
    };
    let side = preset.side();
    if preset.edits() {
        format!("edits of images from instructions, {side}x{side}")
    } else {
        format!("images from prompts, 90 sizes, {side}x{side} by default")
    }
}

/// What the embedded video model generates.
fn sprites(manifest: &Manifest) -> String {
    let Manifest::InfinityStar(manifest) = manifest else {
        return String::new();
    };
    let (size, longest) = (&manifest.sizes[0], manifest.frames.longest);
    format!(
        "videos of icons from prompts, {}x{}, up to {}",
        size.width,
        size.height,
        manifest.describe(longest)
    )
}

fn details(name: &str, search_path: &SearchPath) -> anyhow::Result<String> {
    let Some(parts) = released::parts(name, search_path) else {
        let known: Vec<&str> = released::names().collect();
        anyhow::bail!(
            "there is no released model `{name}`; the released models are {}",
            known.join(", ")
        );
    };
    let mut text = String::new();
    for part in &parts {
        let source = match part.file {
            "." => part.repo.to_owned(),
            file => format!("{}: {file}", part.repo),
        };
        let found = match &part.found {
            Some(path) => path.display().to_string(),
            None => "not found".to_owned(),
        };
        text += &format!("{:<12} {source}\n{:<12} {found}\n", part.role, "");
    }
    text += "searched in:\n";
    let mut seen = vec![];
    for folder in parts.iter().flat_map(|part| search_path.folders(part.repo)) {
        if !seen.contains(&folder) {
            text += &format!("  {}\n", folder.display());
            seen.push(folder);
        }
    }
    Ok(text.trim_end().to_owned())
}

fn fetch(name: &str, search_path: &SearchPath) -> anyhow::Result<()> {
    match download::fetch(name, search_path, &|file| eprintln!("{file}"))?.len() {
        0 => output::print(&format!("{name}: nothing is missing")),
        n => output::print(&format!("{name}: {n} files downloaded, ready")),
    }
}
