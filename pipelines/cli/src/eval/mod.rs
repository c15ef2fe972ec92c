//! `nextscale eval`: the quality of a model, in figures.

mod options;
mod tables;

use clap::Subcommand;
use indicatif::ProgressBar;
use nextscale_eval::{EvalError, Measured, edits, fast, motion, recall, tokenizer};
use serde::Serialize;

pub(crate) use self::options::prompts_of;
use self::options::{EditsArgs, FastArgs, Files, MotionArgs, RecallArgs, TokenizerArgs};
use crate::{bar, output};

#[derive(Debug, Subcommand)]
pub(crate) enum EvalCommand {
    /// Measure how well an auto-encoder reconstructs images held out from training
    Tokenizer(TokenizerArgs),
    /// Measure how often a generated image is recognised as what its prompt asks for
    Recall(RecallArgs),
    /// Measure how often an edited image is recognised as what its instruction asks for
    Edits(EditsArgs),
    /// Measure what each way to be faster costs: time, memory, and how far images or videos are from those of a full run
    Fast(FastArgs),
    /// Measure how often a video moves as its prompt says
    Motion(MotionArgs),
}

pub(crate) fn run(command: EvalCommand) -> anyhow::Result<()> {
    let bar = bar::items("eval");
    let progress = |done, total| bar::show(&bar, done, total);
    match command {
        EvalCommand::Tokenizer(args) => {
            let measured = tokenizer::run(&args.options(), &progress);
            finish(&bar, measured, tables::tokenizer, &args.data.files)
        }
        EvalCommand::Recall(args) => {
            let measured = recall::run(&args.options()?, &progress);
            finish(&bar, measured, tables::recall, &args.data.files)
        }
        EvalCommand::Edits(args) => {
            let measured = edits::run(&args.options(), &progress);
            finish(&bar, measured, tables::edits, &args.data.files)
        }
        EvalCommand::Fast(args) => {
            let measured = fast::run(&args.options()?, &progress);
            finish(&bar, measured, tables::fast, &args.files)
        }
        EvalCommand::Motion(args) => {
            let measured = motion::run(&args.options(), &progress);
            finish(&bar, measured, tables::motion, &args.files)
        }
    }
}

/// Takes the bar away, prints the table and writes the files that were asked for.
fn finish<R: Serialize>(
    bar: &ProgressBar,
    measured: Result<Measured<R>, EvalError>,
    table: impl Fn(&R) -> String,
    files: &Files,
) -> anyhow::Result<()> {
    bar.finish_and_clear();
    let measured = measured?;
    output::print(table(&measured.report).trim_end())?;
    if let Some(path) = &files.json {
        output::write_json(path, &measured.report)?;
    }
    match &files.sheet {
        Some(path) if !measured.tiles.is_empty() => {
            let (tiles, side) = (&measured.tiles, measured.side);
            Ok(nextscale_data::contact_sheet::save(tiles, side, 16, path)?)
        }
        _ => Ok(()),
    }
}
