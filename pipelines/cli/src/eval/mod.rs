//! `nextscale eval`: the quality of a model, in figures.

mod benchmark_options;
mod options;
mod score_options;
mod score_tables;
mod tables;

use std::path::PathBuf;

use clap::Subcommand;
use indicatif::ProgressBar;
use nextscale_eval::{
    EvalError, Measured, benchmarks, edits, fast, motion, recall, scores, tokenizer,
};
use serde::Serialize;

use self::benchmark_options::{GenevalArgs, VbenchArgs};
pub(crate) use self::options::prompts_of;
use self::options::{EditsArgs, FastArgs, Files, MotionArgs, RecallArgs, TokenizerArgs};
use self::score_options::{ClipScoreArgs, FidArgs, IsArgs, PairArgs, PrecisionRecallArgs};
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
    #[command(flatten)]
    Metric(MetricCommand),
}

/// The figures of papers, and the benchmarks of others.
#[derive(Debug, Subcommand)]
pub(crate) enum MetricCommand {
    /// Measure the Frechet distance between generated and real images
    Fid(FidArgs),
    /// Measure the Inception Score of images
    Is(IsArgs),
    /// Measure which share of generated images lies among real ones, and the other way round
    PrecisionRecall(PrecisionRecallArgs),
    /// Measure how well images fit their prompts
    ClipScore(ClipScoreArgs),
    /// Measure how far the images of two folders are apart, pair by pair
    PsnrSsimLpips(PairArgs),
    /// Generate the images of GenEval's prompts for its scorer
    Geneval(GenevalArgs),
    /// Generate the videos of VBench's prompts for its scorer
    Vbench(VbenchArgs),
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
        EvalCommand::Metric(command) => run_metric(&bar, command),
    }
}

/// The figures of papers, and the benchmarks of others.
fn run_metric(bar: &ProgressBar, command: MetricCommand) -> anyhow::Result<()> {
    let progress = &|done, total| bar::show(bar, done, total);
    let json = |json: &Option<PathBuf>| Files {
        json: json.clone(),
        sheet: None,
    };
    match command {
        MetricCommand::Fid(args) => {
            let measured = scores::fid(&args.options()?, progress);
            finish(bar, measured, score_tables::fid, &json(&args.network.json))
        }
        MetricCommand::Is(args) => {
            let measured = scores::inception_score(&args.options()?, progress);
            let files = json(&args.network.json);
            finish(bar, measured, score_tables::inception_score, &files)
        }
        MetricCommand::PrecisionRecall(args) => {
            let measured = scores::precision_recall(&args.options()?, progress);
            let files = json(&args.network.json);
            finish(bar, measured, score_tables::precision_recall, &files)
        }
        MetricCommand::ClipScore(args) => {
            let measured = scores::clip_score(&args.options()?, progress);
            finish(bar, measured, score_tables::clip_score, &json(&args.json))
        }
        MetricCommand::PsnrSsimLpips(args) => {
            let measured = scores::pairs(&args.options(), progress);
            finish(bar, measured, score_tables::pairs, &json(&args.json))
        }
        MetricCommand::Geneval(args) => {
            let measured = benchmarks::geneval(&args.options(), progress);
            let files = json(&args.shared.json);
            finish(bar, measured, score_tables::benchmark, &files)
        }
        MetricCommand::Vbench(args) => {
            let measured = benchmarks::vbench(&args.options(), progress);
            let files = json(&args.shared.json);
            finish(bar, measured, score_tables::benchmark, &files)
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
