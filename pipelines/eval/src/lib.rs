//! The `eval` subcommand: how well a tokenizer repaints, and how well a model paints what it is asked for.

pub mod bench;
mod common;
mod motion;
mod pixels;
mod recall;
mod tokenizer;
mod tracking;
mod usage;

/// Arguments of `nextscale eval`.
#[derive(Debug, clap::Args)]
pub struct EvalArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Measure how well an auto-encoder repaints pictures that training never saw
    Tokenizer(tokenizer::TokenizerArgs),
    /// Measure how often a painted picture is recognised as what its prompt asks for
    Recall(recall::RecallArgs),
    /// Measure how often a video moves as its prompt says
    Motion(motion::MotionArgs),
}

/// Runs `nextscale eval`.
///
/// # Errors
/// When the model or the data set can't be used, or a file can't be written.
pub fn run(args: EvalArgs) -> anyhow::Result<()> {
    match args.what {
        What::Tokenizer(args) => tokenizer::run(&args),
        What::Recall(args) => recall::run(&args),
        What::Motion(args) => motion::run(&args),
    }
}
