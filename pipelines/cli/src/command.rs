//! The command line: one file a subcommand.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use nextscale_models::ModelError;
use nextscale_pipelines::error::PipelineError;

use crate::{bench, convert, data, edit, eval, generate, info, metadata, models, run, video};

/// Generate images and video by next-scale prediction.
#[derive(Debug, Parser)]
#[command(name = "nextscale", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Paint pictures from prompts or classes
    Generate(Box<generate::StartArgs>),
    /// Make videos from prompts, pictures or other videos
    Video(Box<video::VideoArgs>),
    /// Paint a part of a picture anew: in-painting, out-painting, changes of a part
    Edit(Box<edit::EditArgs>),
    /// Run a pipeline from a YAML file, or that of a picture or video that carries one
    Run(run::RunArgs),
    /// Check a pipeline without loading any weight
    Validate(run::ValidateArgs),
    /// Print the JSON Schema of pipeline files
    Schema,
    /// Show what a picture or video was made with
    Metadata(metadata::MetadataArgs),
    /// List the models that are known by name, what they need and where it lies
    Models(models::ModelsArgs),
    /// Rewrite a checkpoint as one safetensors file, in another number type if wanted
    Convert(convert::ConvertArgs),
    /// List the devices of this machine
    Devices,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Build the data set that the embedded model is trained on
    Data(data::DataArgs),
    /// Train a tokenizer or a transformer
    Train(nextscale_train::TrainArgs),
    /// Measure how good a model is
    Eval(eval::EvalArgs),
    /// Measure how fast a model is
    Bench(bench::BenchArgs),
}

/// Parses the command line, runs it and turns an error into one sentence and a non-zero exit:
/// 1 for an error, 2 for a wrong command line, 130 for a run that Ctrl-C stopped.
pub(crate) fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Generate(args) => generate::run(&args),
        Command::Video(args) => video::run(&args),
        Command::Edit(args) => edit::run(&args),
        Command::Run(args) => run::run(args),
        Command::Validate(args) => run::validate(args),
        Command::Schema => info::schema(),
        Command::Metadata(args) => metadata::run(&args),
        Command::Models(args) => models::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Devices => info::devices(),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "nextscale",
                &mut std::io::stdout(),
            );
            Ok(())
        }
        Command::Data(args) => data::run(args),
        Command::Train(args) => nextscale_train::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Bench(args) => bench::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

/// An error with its causes, of which those are left out that it has told already.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| {
        let cause = cause.to_string();
        match (text.is_empty(), text.ends_with(&cause)) {
            (true, _) => cause,
            (_, true) => text,
            _ => format!("{text}: {cause}"),
        }
    })
}

/// Tells the user what went wrong and what to do, in as few lines as that takes.
fn report(error: &anyhow::Error) -> ExitCode {
    let model = error.downcast_ref::<ModelError>();
    match error.downcast_ref::<PipelineError>() {
        Some(PipelineError::Cancelled) => {
            eprintln!("error: stopped; what is finished stays");
            return ExitCode::from(130);
        }
        Some(PipelineError::Invalid(all)) => {
            for one in all {
                eprintln!("error: {one}");
                one.hint.iter().for_each(|hint| eprintln!("  hint: {hint}"));
            }
        }
        None if matches!(model, Some(ModelError::Cancelled)) => {
            eprintln!("error: stopped; what is finished stays");
            return ExitCode::from(130);
        }
        known => {
            eprintln!("error: {}", sentence(error));
            let hint = known
                .and_then(PipelineError::hint)
                .or_else(|| model.and_then(ModelError::hint));
            hint.iter().for_each(|hint| eprintln!("  hint: {hint}"));
        }
    }
    ExitCode::FAILURE
}
