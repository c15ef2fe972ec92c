//! Data sets: icons with names, built from openly licensed npm packages, and pictures with classes.
//!
//! [`build`] turns a [`Recipe`], and [`build_idx`] an [`IdxRecipe`], into four files: `images.bin` (premultiplied RGB, size * size * 3 bytes a picture),
//! `alpha.bin` (size * size bytes a picture), `index.jsonl` (one [`Entry`] a line) and `manifest.json`
//! ([`Manifest`], written last). [`IconSet`] reads them, [`captions`] says what a picture shows and [`Augment`]
//! varies it a little.

mod archive;
mod augment;
pub mod captions;
pub mod contact_sheet;
mod dataset;
mod entry;
mod error;
mod icons;
mod idx;
mod motion;
mod recipe;
mod sources;

use std::path::PathBuf;

pub use augment::{Augment, Change, composite};
pub use dataset::{IconSet, Manifest};
pub use entry::Entry;
pub use error::DataError;
pub use icons::build;
pub use idx::{IdxPair, IdxRecipe, build as build_idx};
pub use motion::{Motion, Pose, Sprite};
pub use recipe::{DataKind, Format, HeldOut, NamePackages, NoFlip, Package, Recipe, Source};
pub use sources::{DebianPackage, PinnedFile, Place};

/// Arguments of `nextscale data`.
#[derive(Debug, clap::Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DataCommand {
    /// Download, check and draw the pictures that a recipe lists
    Build(BuildArgs),
    /// Draw a contact sheet of a data set
    Sheet(SheetArgs),
}

/// Arguments of `nextscale data sheet`.
#[derive(Debug, clap::Args)]
struct SheetArgs {
    /// Folder of the data set
    data: PathBuf,
    /// PNG file to write
    file: PathBuf,
    /// Number of pictures, evenly spread over the data set
    #[arg(long, default_value_t = 200)]
    count: usize,
    /// Pictures in a row
    #[arg(long, default_value_t = 20, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    columns: usize,
    /// Only this style
    #[arg(long)]
    style: Option<String>,
    /// Only pictures that training never sees
    #[arg(long)]
    held_out: bool,
}

/// Arguments of `nextscale data build`.
#[derive(Debug, clap::Args)]
struct BuildArgs {
    /// The recipe, for example configs/icons.yaml
    config: PathBuf,
    /// Folder of the data set [default: from the recipe]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folder of downloads and finished stages [default: from the recipe]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Draw everything again, even what is already there
    #[arg(long)]
    force: bool,
}

/// Runs `nextscale data`.
///
/// # Errors
/// See [`build`].
pub fn run(args: DataArgs) -> anyhow::Result<()> {
    match args.command {
        DataCommand::Build(args) => run_build(args),
        DataCommand::Sheet(args) => run_sheet(&args),
    }
}

fn run_build(args: BuildArgs) -> anyhow::Result<()> {
    let (manifest, out) = match DataKind::of(&args.config)? {
        DataKind::Icons => {
            let mut recipe = Recipe::load(&args.config)?;
            recipe.cache = args.cache.unwrap_or(recipe.cache);
            let out = args.out.unwrap_or_else(|| recipe.out.clone());
            (build(&recipe, &out, args.force)?, out)
        }
        DataKind::Idx => {
            let mut recipe = IdxRecipe::load(&args.config)?;
            recipe.cache = args.cache.unwrap_or(recipe.cache);
            let out = args.out.unwrap_or_else(|| recipe.out.clone());
            (build_idx(&recipe, &out, args.force)?, out)
        }
    };
    let Manifest {
        size,
        count,
        held_out,
        styles,
        ..
    } = &manifest;
    println!(
        "{count} pictures of {size} x {size} pixels in {}, {held_out} of them held out",
        out.display()
    );
    for (style, count) in styles {
        println!("{style:>10} {count:>6}");
    }
    Ok(())
}

fn run_sheet(args: &SheetArgs) -> anyhow::Result<()> {
    let set = IconSet::load(&args.data)?;
    let wanted = |e: &&Entry| {
        args.style.as_ref().is_none_or(|s| *s == e.style) && (e.held_out || !args.held_out)
    };
    let all: Vec<&Entry> = set.entries().iter().filter(wanted).collect();
    let count = args.count.min(all.len());
    anyhow::ensure!(count > 0, "no picture of {} matches", args.data.display());
    let chosen: Vec<&Entry> = (0..count).map(|i| all[i * all.len() / count]).collect();
    let pictures: Vec<Vec<u8>> = chosen
        .iter()
        .map(|e| set.picture(e.id, captions::WHITE))
        .collect();
    for (i, row) in chosen.chunks(args.columns).enumerate() {
        let names: Vec<String> = row.iter().map(|e| captions::canonical(e)).collect();
        println!("row {}: {}", i + 1, names.join("; "));
    }
    contact_sheet::save(&pictures, set.size(), args.columns, &args.file)
}
