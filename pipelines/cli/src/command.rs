//! The command line: one file per subcommand.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use nextscale_eval::EvalError;
use nextscale_models::ModelError;
use nextscale_pipelines::error::PipelineError;
use nextscale_train::TrainError;

use crate::output::escaped;
use crate::{
    bench, calibrate, convert, data, edit, eval, generate, info, metadata, models, panic, ranks,
    run, serve, signal, study, train, video, warm_up,
};

/// Generate images and video by next-scale prediction.
#[derive(Debug, Parser)]
#[command(name = "nextscale", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Generate images from prompts or classes
    Generate(Box<generate::GenerateArgs>),
    /// Generate videos from prompts, images or other videos
    Video(Box<video::VideoArgs>),
    /// Edit an image: inpaint a part of it, outpaint a side, or change it by instruction
    Edit(Box<edit::EditArgs>),
    /// Run a pipeline from a YAML file, or the one stored in an image or video
    Run(run::RunArgs),
    /// Serve images and videos over HTTP: a page, the APIs of OpenAI and A1111, and pipelines
    Serve(serve::ServeArgs),
    /// Check a pipeline without loading weights
    Validate(run::Source),
    /// Print the JSON Schema of pipeline files
    Schema,
    /// Show the prompt, seed and pipeline stored in an image or video
    Metadata(metadata::MetadataArgs),
    /// List the models known by name, the files they need and where those are
    Models(models::ModelsArgs),
    /// Convert a checkpoint to one safetensors file, or a model folder to another, optionally in another number type
    Convert(convert::ConvertArgs),
    /// List the devices of this machine
    Devices,
    /// Print a shell completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Build data sets for training
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Train a tokenizer or a transformer
    Train(train::TrainArgs),
    /// Measure the quality of a model
    #[command(subcommand)]
    Eval(eval::EvalCommand),
    /// Measure the claims about next-scale prediction: a report with tables and plots
    #[command(subcommand)]
    Study(study::StudyCommand),
    /// Measure the speed of a model
    Bench(bench::BenchArgs),
    /// Measure which layers of a model need a large cache of keys and values, for --cache-index
    Calibrate(calibrate::CalibrateArgs),
    /// Compile a model's kernels for a card before they are needed, or pack and unpack them
    WarmUp(warm_up::WarmUpArgs),
}

/// Parses and runs the command line. The exit code is 0 for success, 1 for an error, 2 for a wrong command line and 130
/// for a run that Ctrl-C stopped, 70 for a fault of the program.
pub(crate) fn main() -> ExitCode {
    signal::heed_as_process_1();
    let result = match Cli::parse().command {
        Command::Generate(args) => generate::run(&args),
        Command::Video(args) => video::run(&args),
        Command::Edit(args) => edit::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Serve(args) => serve::run(args),
        Command::Validate(source) => run::validate(&source),
        Command::Schema => info::schema(),
        Command::Metadata(args) => metadata::run(&args),
        Command::Models(args) => models::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Devices => info::devices(),
        Command::Completions { shell } => {
            let stdout = &mut std::io::stdout();
            clap_complete::generate(shell, &mut Cli::command(), "nextscale", stdout);
            Ok(())
        }
        Command::Data(command) => data::run(command),
        Command::Train(args) => train::run(args),
        Command::Eval(command) => eval::run(command),
        Command::Study(command) => study::run(command),
        Command::Bench(args) => bench::run(args),
        Command::Calibrate(args) => calibrate::run(args),
        Command::WarmUp(args) => warm_up::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

/// Prints what went wrong, in which process and what to do. Our errors name their cause in their own text, so that the chain repeats nothing.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let pipeline = error.downcast_ref::<PipelineError>();
    let model = model_error(error);
    let rank = ranks::prefix();
    if matches!(pipeline, Some(PipelineError::Cancelled))
        || matches!(model, Some(ModelError::Cancelled))
    {
        eprintln!("{rank}error: stopped; finished results are kept");
        return ExitCode::from(130);
    }
    if let Some(PipelineError::Invalid(diagnostics)) = pipeline {
        for diagnostic in diagnostics {
            eprintln!("{rank}error: {}", escaped(&diagnostic.to_string()));
            print_hint(&rank, diagnostic.hint.as_deref());
        }
        return ExitCode::FAILURE;
    }
    eprintln!("{rank}error: {}", escaped(&format!("{error:#}")));
    if matches!(pipeline, Some(PipelineError::Panic { .. })) {
        return panic::report();
    }
    let hint = pipeline.and_then(PipelineError::hint);
    print_hint(&rank, hint.or_else(|| model.and_then(ModelError::hint)));
    ExitCode::FAILURE
}

/// The error of a model that this one is, or that a measurement or a training run passes on.
fn model_error(error: &anyhow::Error) -> Option<&ModelError> {
    match (error.downcast_ref(), error.downcast_ref()) {
        (Some(EvalError::Model(error)), _) | (_, Some(TrainError::Model(error))) => Some(error),
        _ => error.downcast_ref(),
    }
}

fn print_hint(rank: &str, hint: Option<&str>) {
    if let Some(hint) = hint {
        eprintln!("{rank}  hint: {}", escaped(hint));
    }
}
