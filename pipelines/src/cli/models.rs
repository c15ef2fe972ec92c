//! `nextscale models`: what can be painted with, what it needs, and where that lies.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::bundle::{Places, released};

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
        None => super::small::print(list(&places).trim_end()),
        Some(name) => super::small::print(&tell(name, &places)?),
    }
}

fn list(places: &Places) -> String {
    let mut text = format!("{:<16} {:<12} {}\n", "model", "state", "paints");
    text += &format!(
        "{:<16} {:<12} {}\n",
        "default", "in here", "icons from prompts, 64x64"
    );
    for name in released::names() {
        let parts = released::parts(name, places).unwrap_or_default();
        let missing = parts.iter().filter(|part| part.found.is_none()).count();
        let state = match missing {
            0 => "ready".to_owned(),
            n if n == parts.len() => "not here".to_owned(),
            n => format!("{n} of {} missing", parts.len()),
        };
        let paints = match released::var_config(name) {
            Some(config) => format!("1,000 classes, {0}x{0}", config.schedule.last().w * 16),
            None if name.ends_with("512") => "prompts, 90 sizes, 512x512 first".to_owned(),
            None => "prompts, 90 sizes, 1024x1024 first".to_owned(),
        };
        text += &format!("{name:<16} {state:<12} {paints}\n");
    }
    text + "\n`nextscale models NAME` tells what a model needs and where it is looked for.\n"
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
    match crate::bundle::fetch::fetch(name, places)?.len() {
        0 => super::small::print(&format!("{name}: nothing is missing")),
        n => super::small::print(&format!("{name}: {n} files downloaded, ready")),
    }
}
