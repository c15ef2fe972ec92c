//! `nextscale models`: what can be painted with, what it needs, and where that lies.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use nextscale_models::bundle::{Places, SPRITES, StarBundle, released};

/// Arguments of `nextscale models`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ModelsArgs {
    #[command(subcommand)]
    command: Option<ModelsCommand>,
    /// Tell more about one of them
    name: Option<String>,
    /// A folder in which files are looked for first
    #[arg(long, value_name = "DIR")]
    models_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum ModelsCommand {
    /// Download what a released model lacks on this machine, from the Hugging Face hub into its cache
    Fetch {
        /// The model
        name: String,
        /// A folder in which files are looked for first
        #[arg(long, value_name = "DIR")]
        models_dir: Option<PathBuf>,
    },
}

pub(super) fn run(args: &ModelsArgs) -> anyhow::Result<()> {
    if let Some(ModelsCommand::Fetch { name, models_dir }) = &args.command {
        return fetch(name, &Places::new(models_dir.as_deref()));
    }
    let places = Places::new(args.models_dir.as_deref());
    match &args.name {
        None => crate::output::print(list(&places).trim_end()),
        Some(name) => crate::output::print(&tell(name, &places)?),
    }
}

fn list(places: &Places) -> String {
    let line = |name: &str, state: &str, makes: &str| format!("{name:<22} {state:<12} {makes}\n");
    let mut text = line("model", "state", "makes");
    text += &line(
        "default",
        "in here",
        "pictures of icons from prompts, 64x64",
    );
    text += &match StarBundle::embedded() {
        Ok(bundle) => line(SPRITES, "in here", &sprites(&bundle)),
        Err(_) => line(SPRITES, "not built in", "videos of icons from prompts"),
    };
    for name in released::names() {
        let parts = released::parts(name, places).unwrap_or_default();
        let missing = parts.iter().filter(|part| part.found.is_none()).count();
        let state = match missing {
            0 => "ready".to_owned(),
            n if n == parts.len() => "not here".to_owned(),
            n => format!("{n} of {} missing", parts.len()),
        };
        text += &line(name, &state, &makes(name));
    }
    text + "\n`nextscale models NAME` tells what a model needs and where it is looked for.\n"
}

/// What a released model makes.
fn makes(name: &str) -> String {
    if let Some(config) = released::var_config(name) {
        let side = config.schedule.last().w * 16;
        return format!("pictures of 1,000 classes, {side}x{side}");
    }
    let star = released::star::PRESETS.iter().find(|p| p.name == name);
    if let Some(preset) = star {
        let ((width, height), seconds) = (preset.size(), preset.longest_seconds());
        let of = match preset.is_interactive() {
            true => "videos from a video and prompts, one after the other",
            false => "videos from prompts, pictures or videos",
        };
        return format!("{of}, 15 shapes, {width}x{height} first, up to {seconds} s");
    }
    match name.ends_with("512") {
        true => "pictures from prompts, 90 sizes, 512x512 first".to_owned(),
        false => "pictures from prompts, 90 sizes, 1024x1024 first".to_owned(),
    }
}

/// What the video model inside the program makes.
fn sprites(bundle: &StarBundle) -> String {
    let manifest = bundle.manifest();
    let (size, longest) = (&manifest.sizes[0], manifest.frames.longest);
    format!(
        "videos of icons from prompts, {}x{}, up to {}",
        size.width,
        size.height,
        manifest.say(longest)
    )
}

fn tell(name: &str, places: &Places) -> anyhow::Result<String> {
    let Some(parts) = released::parts(name, places) else {
        let known: Vec<&str> = released::names().collect();
        anyhow::bail!("there is no released model `{name}`: {}", known.join(", "));
    };
    let mut text = String::new();
    for part in &parts {
        let what = match part.file {
            "." => part.repo.to_owned(),
            file => format!("{}: {file}", part.repo),
        };
        let found = match &part.found {
            Some(path) => path.display().to_string(),
            None => "not found".to_owned(),
        };
        text += &format!("{:<12} {what}\n{:<12} {found}\n", part.role, "");
    }
    text += "looked for in:\n";
    let mut seen = vec![];
    for folder in parts.iter().flat_map(|part| places.folders(part.repo)) {
        if !seen.contains(&folder) {
            text += &format!("  {}\n", folder.display());
            seen.push(folder);
        }
    }
    Ok(text.trim_end().to_owned())
}

fn fetch(name: &str, places: &Places) -> anyhow::Result<()> {
    match nextscale_models::bundle::fetch::fetch(name, places)?.len() {
        0 => crate::output::print(&format!("{name}: nothing is missing")),
        n => crate::output::print(&format!("{name}: {n} files downloaded, ready")),
    }
}
