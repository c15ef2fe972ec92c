//! `nextscale data`: building and looking at data sets.

mod own;
mod report;
mod sizes;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use nextscale_data::{
    DataError, DataKind, Dataset, Entry, IdxRecipe, Manifest, OwnRecipe, Recipe, WordsRecipe,
    build, build_idx, captions, contact_sheet, neighbours,
};
use nextscale_files::atomic_file;
use nextscale_text::Neighbours;

use crate::{bar, options, output};

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Build a data set from a recipe: of your own images or videos, or of images that are downloaded, verified and rendered
    Build(BuildArgs),
    /// Say what a recipe finds among your own images or videos, and write nothing: sizes, captions, duplicates, unreadable files
    Check(report::CheckArgs),
    /// Write a contact sheet of a data set
    Sheet(SheetArgs),
    /// Find for words that no caption of the icons has the icon that stands for each
    Words(WordsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct WordsArgs {
    /// Recipe, for example configs/icons-words.yaml
    config: PathBuf,
    /// File to write, such as neighbours.txt of a model folder
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Recipe, for example configs/icons.yaml
    config: PathBuf,
    /// Folder of the data set [default: from the recipe]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folder for downloads and finished steps [default: from the recipe]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Rebuild everything, even what already exists
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SheetArgs {
    /// Folder of the data set
    data: PathBuf,
    /// PNG file to write
    file: PathBuf,
    /// Number of images, evenly spread over the data set
    #[arg(long, default_value_t = 200)]
    count: usize,
    /// Images per row
    #[arg(long, default_value_t = 20, value_parser = options::at_least_one())]
    columns: usize,
    /// Show only this style
    #[arg(long)]
    style: Option<String>,
    /// Show only images held out from training
    #[arg(long)]
    held_out: bool,
}

pub(crate) fn run(command: DataCommand) -> anyhow::Result<()> {
    match command {
        DataCommand::Build(args) => run_build(args),
        DataCommand::Check(args) => report::run(&args),
        DataCommand::Sheet(args) => run_sheet(&args),
        DataCommand::Words(args) => run_words(&args),
    }
}

fn run_build(args: BuildArgs) -> anyhow::Result<()> {
    match DataKind::of(&args.config)? {
        DataKind::Icons => {
            let mut recipe = Recipe::load(&args.config)?;
            recipe.cache = args.cache.unwrap_or(recipe.cache);
            let out = args.out.unwrap_or_else(|| recipe.out.clone());
            print_summary(&build_icons(&recipe, &out, args.force)?, &out)
        }
        DataKind::Idx => {
            let mut recipe = IdxRecipe::load(&args.config)?;
            recipe.cache = args.cache.unwrap_or(recipe.cache);
            let out = args.out.unwrap_or_else(|| recipe.out.clone());
            print_summary(&build_idx(&recipe, &out, args.force)?, &out)
        }
        _ => {
            let mut recipe = OwnRecipe::load(&args.config)?;
            recipe.cache = args.cache.or(recipe.cache);
            let out = args.out.unwrap_or_else(|| recipe.out.clone());
            own::print(&own::build(&recipe, &out, args.force)?, &out)
        }
    }
}

fn build_icons(recipe: &Recipe, out: &Path, force: bool) -> Result<Manifest, DataError> {
    bar::during(|progress| build(recipe, out, force, progress))
}

fn print_summary(manifest: &Manifest, out: &Path) -> anyhow::Result<()> {
    let Manifest {
        size,
        count,
        held_out,
        styles,
        ..
    } = manifest;
    let mut text = format!(
        "{count} images of {size}x{size} pixels in {}, {held_out} of them held out",
        out.display()
    );
    for (style, count) in styles {
        text += &format!("\n{style:>10} {count:>6}");
    }
    output::print(&text)
}

fn run_words(args: &WordsArgs) -> anyhow::Result<()> {
    let recipe = WordsRecipe::load(&args.config)?;
    let found = bar::during(|progress| neighbours(&recipe, progress))?;
    let found = Neighbours::from(found);
    let bytes = found.to_string().into_bytes();
    let written = atomic_file::write(&args.output, &bytes);
    written.with_context(|| format!("writing {}", args.output.display()))?;
    let (count, file) = (found.len(), args.output.display());
    output::print(&format!("{count} words and phrases in {file}"))
}

fn run_sheet(args: &SheetArgs) -> anyhow::Result<()> {
    let set = Dataset::load(&args.data)?;
    let wanted = |e: &&Entry| {
        args.style.as_ref().is_none_or(|s| *s == e.style) && (e.held_out || !args.held_out)
    };
    let all: Vec<&Entry> = set.entries().iter().filter(wanted).collect();
    let count = args.count.min(all.len());
    ensure!(count > 0, "no image of {} matches", args.data.display());
    let chosen: Vec<&Entry> = (0..count).map(|i| all[i * all.len() / count]).collect();
    let images: Vec<_> = chosen
        .iter()
        .map(|e| set.picture(e.id, captions::WHITE))
        .collect();
    for (i, row) in chosen.chunks(args.columns).enumerate() {
        let names: Vec<String> = row.iter().map(|e| captions::canonical(e)).collect();
        output::print(&format!("row {}: {}", i + 1, names.join("; ")))?;
    }
    let sides = set.sizes().iter().flatten();
    let tile = sides.copied().max().unwrap_or(1).min(256);
    Ok(contact_sheet::save_fitted(
        &images,
        tile,
        args.columns,
        &args.file,
    )?)
}
