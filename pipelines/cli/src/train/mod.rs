//! `nextscale train`: training runs and their export.

mod console;
mod plot;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::ensure;
use clap::{Args, Subcommand};
use nextscale_curves::{Log, summary};
use nextscale_distributed::Rank;
use nextscale_models::device::DeviceChoice;
use nextscale_train::{
    Observer, TrainError, TrainRequest, TrainResult, export, train_classifier, train_tokenizer,
    train_transformer,
};
use nextscale_var_core::train::{Budget, Outcome};

use crate::command::report;
use crate::ranks::connect_on;
use crate::{memory, signal};

/// Arguments of `nextscale train`.
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    #[command(subcommand)]
    command: TrainCommand,
}

#[derive(Debug, Subcommand)]
enum TrainCommand {
    /// Train an auto-encoder: `kind: bsq` (codes are bits), `kind: vq` (codes are rows of a codebook) or `kind: causal`
    /// (codes are bits of clips)
    Tokenizer(RunArgs),
    /// Train a transformer on the codes of a trained tokenizer: `kind: infinity` (prompts to images), `kind: var` (classes
    /// to images) or `kind: star` (prompts to videos); or one that exists, or adapters on it: `kind: fine_tune`
    Transformer(RunArgs),
    /// Train a classifier of a data set's classes: `nextscale eval` measures images in its features where Inception-v3 knows nothing of them
    Classifier(RunArgs),
    /// Write the averaged weights of a transformer's run as a model folder; a fine-tune also as a file, or as an adapter
    Export(ExportArgs),
    /// Draw the curves of runs as SVG or PNG: loss, held-out loss, bits right by scale, use of the codebook
    Plot(plot::PlotArgs),
}

/// Arguments of a training run.
#[derive(Debug, Args)]
struct RunArgs {
    /// Configuration file (YAML)
    config: PathBuf,
    /// Folder of the run; a run that exists is resumed [default: runs/ and the name of the configuration]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Train this long, instead of the budget in the configuration
    #[arg(long, value_name = "MINUTES", conflicts_with = "max_steps")]
    max_minutes: Option<f64>,
    /// Train this many steps, instead of the budget in the configuration
    #[arg(long, value_name = "STEPS")]
    max_steps: Option<u64>,
    /// Device to train on: auto, cpu, cuda or gpu, or cuda:N or gpu:N for the one of number N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Fix which kernels a card takes: slower, and chosen alike on every card of one kind
    #[arg(long)]
    deterministic: bool,
    /// Write a model folder when the run is finished (transformers only)
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
}

/// Arguments of `nextscale train export`.
#[derive(Debug, Args)]
struct ExportArgs {
    /// Folder of a transformer's run
    run: PathBuf,
    /// Model folder to write. Of a fine-tune also FILE.safetensors or FILE.pth: the transformer under its official names. Of
    /// adapters a folder for PEFT, or FILE.safetensors with the names of kohya's scripts
    #[arg(long, value_name = "DIR|FILE")]
    out: PathBuf,
    /// Use the decoder of this tokenizer's run, which was trained for the same encoder
    #[arg(long, value_name = "RUN")]
    decoder_of: Option<PathBuf>,
}

/// Runs `nextscale train`.
///
/// # Errors
/// If the configuration, the data set or a checkpoint can't be used, or the loss is no longer a number.
pub(crate) fn run(args: TrainArgs) -> anyhow::Result<()> {
    match args.command {
        TrainCommand::Tokenizer(args) => {
            ensure!(
                args.export.is_none(),
                "--export is for transformers: a tokenizer alone is not a model"
            );
            train(&args, train_tokenizer)
        }
        TrainCommand::Classifier(args) => {
            ensure!(
                args.export.is_none(),
                "--export is for transformers: `nextscale eval --classifier` reads the run as it is"
            );
            train(&args, train_classifier)
        }
        TrainCommand::Transformer(args) => train(&args, train_transformer),
        TrainCommand::Plot(args) => plot::run(&args),
        TrainCommand::Export(args) => write_model(&args.run, &args.out, args.decoder_of.as_deref()),
    }
}

type Train = fn(&TrainRequest<'_>, &AtomicBool, Observer<'_>) -> Result<TrainResult, TrainError>;

/// Trains with a progress display until the budget is spent or a signal comes.
fn train(args: &RunArgs, train: Train) -> anyhow::Result<()> {
    let named = || Path::new("runs").join(args.config.file_stem().unwrap_or_default());
    let out = args.out.clone().unwrap_or_else(named);
    let minutes = args.max_minutes.map(Budget::Minutes);
    let rank = Rank::from_environment()?;
    let connect = |rank| connect_on(rank, args.device, args.deterministic);
    let ranks = rank.as_ref().map(connect).transpose()?;
    let first = rank.is_none_or(|rank| rank.is_first());
    let request = TrainRequest {
        config: &args.config,
        out: &out,
        budget: minutes.or(args.max_steps.map(Budget::Steps)),
        device: args.device,
        deterministic: args.deterministic,
        local_rank: rank.map_or(0, |rank| rank.local_rank),
        ranks: ranks.as_ref(),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let _runtime = signal::runtime(move || {
        eprintln!("stopping after this step; interrupt again to stop at once");
        flag.store(true, Ordering::Relaxed);
    })?;
    let mut console = console::Console::new();
    let result = train(&request, &stop, &mut |event| {
        if first {
            console.show(event);
        }
    });
    console.finish();
    let TrainResult { outcome, step } = match (result, &ranks) {
        (Err(error), Some(ranks)) => {
            // The others would wait for this one for ever.
            report(&error.into());
            ranks.abort(1);
        }
        (result, _) => result?,
    };
    if !first {
        return Ok(());
    }
    if outcome == Outcome::Stopped {
        eprintln!("stopped at step {step}; the same command resumes");
        return Ok(());
    }
    eprintln!("finished at step {step}: `{}`", out.display());
    if let Ok(log) = Log::read(&out) {
        eprintln!("{}", summary(&log).trim_end());
    }
    if let Some(bytes) = memory::peak() {
        eprintln!("largest memory: {}", memory::text(bytes));
    }
    match &args.export {
        Some(folder) => write_model(&out, folder, None),
        None => Ok(()),
    }
}

fn write_model(run: &Path, out: &Path, decoder_of: Option<&Path>) -> anyhow::Result<()> {
    let step = export(run, out, decoder_of)?;
    eprintln!("wrote step {step} to `{}`", out.display());
    Ok(())
}
