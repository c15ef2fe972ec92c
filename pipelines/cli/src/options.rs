//! The options of `nextscale generate` and `edit`, and the built-in pipeline with them put in.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use nextscale_models::device::{DeviceChoice, Dtype};
use nextscale_pipelines::error::PipelineError;
use nextscale_pipelines::per_scale::PerScale;
use nextscale_pipelines::spec::PipelineSpec;
use nextscale_pipelines::yaml::{Node, Value};

/// Arguments of every command that paints.
#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// What to paint; repeat it for several pictures. Standard input is read if there is none
    #[arg(short, long, conflicts_with = "prompt_file")]
    prompt: Vec<String>,
    /// For a class-conditional model, instead of a prompt: a class by name or number; repeat it for several pictures
    #[arg(long, value_name = "NAME|NUMBER", allow_hyphen_values = true, conflicts_with_all = ["prompt", "prompt_file", "negative_prompt"])]
    class: Vec<String>,
    /// A file with one prompt a line
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// What not to paint
    #[arg(short, long, value_name = "TEXT")]
    negative_prompt: Option<String>,
    /// The model: `default` for the one inside this program, a released one (see `nextscale models`), a model folder, or
    /// a checkpoint
    #[arg(short, long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// A folder in which the files of released models are looked for first
    #[arg(long, value_name = "DIR")]
    models_dir: Option<PathBuf>,
    /// Seed of the first picture, from 0 to 2^64-1; each further one adds 1. Random if absent
    #[arg(short, long, value_parser = parse_seed, allow_hyphen_values = true)]
    seed: Option<u64>,
    /// Pictures of each prompt
    #[arg(short, long, value_name = "N")]
    batch_count: Option<u32>,
    /// Pictures that are painted at once: more memory, less time for each
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Width in pixels
    #[arg(short = 'W', long)]
    width: Option<usize>,
    /// Height in pixels
    #[arg(short = 'H', long)]
    height: Option<usize>,
    /// Width to height, for example 16:9; the nearest size that the model knows is taken
    #[arg(long, value_name = "W:H", conflicts_with_all = ["width", "height"])]
    aspect: Option<String>,
    /// About how many pixels, for models that paint several sizes of a shape: 0.06M, 0.25M, 0.60M or 1M
    #[arg(long, value_name = "N", conflicts_with_all = ["width", "height"])]
    pixels: Option<String>,
    /// How strongly the prompt counts; 1 turns guidance off. Or one number a scale: 1,2,3,..
    #[arg(long, value_name = "N[,N..]", allow_hyphen_values = true)]
    cfg_scale: Option<PerScale>,
    /// Where guidance acts: 0 on the logits, -1 on the output of the last block, -2 on that of the one before it
    #[arg(
        long,
        value_name = "N",
        allow_hyphen_values = true,
        conflicts_with = "class"
    )]
    cfg_insertion_layer: Option<i64>,
    /// Above 1 more varied, below 1 more likely; 0 always takes the likeliest. Or one number a scale
    #[arg(long, value_name = "N[,N..]", allow_hyphen_values = true)]
    temperature: Option<PerScale>,
    /// Sample from so many of the likeliest values; 0 for all
    #[arg(long)]
    top_k: Option<usize>,
    /// Sample from the likeliest values that make up this share; 1 for all
    #[arg(long)]
    top_p: Option<f64>,
    /// Put the released code's words for pleasant faces behind prompts that speak of people
    #[arg(long, conflicts_with = "class")]
    positive_prompt: bool,
    /// With --class: blend all codes instead of drawing one, for smoother pictures
    #[arg(long, requires = "class")]
    smooth: bool,
    /// Decode in strips: less memory for large pictures, the same result. From 2 million pixels on by itself
    #[arg(long, conflicts_with = "class")]
    tile: bool,
    /// Where to compute
    #[arg(long, value_enum)]
    device: Option<DeviceChoice>,
    /// Number type of the weights
    #[arg(long, value_enum)]
    dtype: Option<Dtype>,
    /// Leave the transformer's blocks in their file and read them in every pass: for models larger than memory
    #[arg(long)]
    stream: bool,
    /// Keep the text encoder in memory beside the transformer, instead of reading all prompts first: more memory, and the
    /// first of many pictures comes sooner
    #[arg(long, conflicts_with = "class")]
    keep_loaded: bool,
    /// A folder for the picture as it is after each scale
    #[arg(long, value_name = "DIR")]
    preview: Option<PathBuf>,
    /// A file, a name with {index}, {seed} or {prompt}, a folder, or - for standard output
    #[arg(short, long)]
    output: Option<String>,
    /// Write no parameters into the pictures
    #[arg(long)]
    no_metadata: bool,
    /// Show how long each part took
    #[arg(long)]
    timings: bool,
    /// Print the pipeline instead of running it
    #[arg(long)]
    print_pipeline: bool,
}

pub(super) fn parse_seed(text: &str) -> Result<u64, String> {
    let range = "it should be a whole number from 0 to 18446744073709551615";
    match text
        .strip_prefix('-')
        .map(|rest| rest.chars().all(|c| c.is_ascii_digit()))
    {
        Some(true) => Err(format!("a seed cannot be negative: {range}")),
        _ => text.parse().map_err(|_| range.to_owned()),
    }
}

/// Parses a whole number from 1 on.
pub(crate) fn at_least_one() -> clap::builder::RangedU64ValueParser<usize> {
    clap::builder::RangedU64ValueParser::new().range(1..)
}

/// Prints or runs what was built.
pub(super) fn finish(args: &GenerateArgs, root: Node) -> anyhow::Result<()> {
    if args.print_pipeline {
        return crate::output::print(root.to_yaml().trim_end());
    }
    crate::run::execute(PipelineSpec::from_node(root)?, args.timings)
}

/// The stage that paints, by what it paints from.
pub(super) fn painter(args: &GenerateArgs) -> &'static str {
    match args.class.is_empty() {
        true => "text-to-image",
        false => "class-to-image",
    }
}

/// The preset with every given option at its place.
pub(super) fn build(args: &GenerateArgs) -> Result<Node, PipelineError> {
    let by_class = !args.class.is_empty();
    let name = if by_class { "classes" } else { "default" };
    let preset = PipelineSpec::preset(name);
    let mut root = preset.unwrap_or_else(|| Node::map("preset"));
    let from_stdin = args.prompt.is_empty() && args.prompt_file.is_none() && !by_class;
    if from_stdin && std::io::stdin().is_terminal() {
        let (message, hint) = (
            "there is no prompt",
            "say what to paint: --prompt \"a red apple\"",
        );
        return Err(PipelineError::refused_with(message, hint));
    }
    let pictures = (args.prompt.len() + args.class.len()) * args.batch_count.unwrap_or(1) as usize;
    if args.output.as_deref() == Some("-") && pictures > 1 {
        let hint = "write more of them to files: --output NAME-{index}.png";
        return Err(PipelineError::refused_with(
            "only one picture can go to standard output",
            hint,
        ));
    }
    let painter = painter(args);
    apply(args, painter, &mut root)?;
    Ok(root)
}

/// Puts every given option at its place; `painter` is the kind of the stage that paints.
pub(super) fn apply(
    args: &GenerateArgs,
    painter: &str,
    root: &mut Node,
) -> Result<(), PipelineError> {
    let mut set = Options(root);
    set.top("model", "--model", &args.model)?;
    set.top("models-dir", "--models-dir", &args.models_dir)?;
    set.top("seed", "--seed", &args.seed)?;
    set.top("device", "--device", &args.device)?;
    set.top("dtype", "--dtype", &args.dtype)?;
    let keep_loaded = args.keep_loaded.then_some(true);
    set.top("keep-loaded", "--keep-loaded", &keep_loaded)?;
    set.top("preview", "--preview", &args.preview)?;
    set.top("output", "--output", &args.output)?;
    set.top(
        "metadata",
        "--no-metadata",
        &args.no_metadata.then_some(false),
    )?;
    let source = match painter {
        "class-to-image" => "classes",
        _ => "prompts",
    };
    let classes = (!args.class.is_empty()).then_some(&args.class);
    set.stage("classes", "classes", "--class", &classes)?;
    let prompts = (!args.prompt.is_empty()).then_some(&args.prompt);
    set.stage("prompts", "prompts", "--prompt", &prompts)?;
    set.stage("prompts", "file", "--prompt-file", &args.prompt_file)?;
    set.stage(
        "prompts",
        "negative",
        "--negative-prompt",
        &args.negative_prompt,
    )?;
    set.stage(source, "count", "--batch-count", &args.batch_count)?;
    set.stage(painter, "batch", "--batch-size", &args.batch_size)?;
    set.stage(painter, "width", "--width", &args.width)?;
    set.stage(painter, "height", "--height", &args.height)?;
    set.stage(painter, "aspect", "--aspect", &args.aspect)?;
    set.stage(painter, "pixels", "--pixels", &args.pixels)?;
    set.stage(painter, "cfg-scale", "--cfg-scale", &args.cfg_scale)?;
    let layer = &args.cfg_insertion_layer;
    set.stage(
        painter,
        "cfg-insertion-layer",
        "--cfg-insertion-layer",
        layer,
    )?;
    let positive = args.positive_prompt.then_some(true);
    set.stage(
        "text-encoder",
        "positive-prompt",
        "--positive-prompt",
        &positive,
    )?;
    set.stage(painter, "temperature", "--temperature", &args.temperature)?;
    set.stage(painter, "top-k", "--top-k", &args.top_k)?;
    set.stage(painter, "top-p", "--top-p", &args.top_p)?;
    set.stage(painter, "stream", "--stream", &args.stream.then_some(true))?;
    set.stage("decode", "tile", "--tile", &args.tile.then_some(true))?;
    let smooth = args.smooth.then_some(true);
    set.stage(painter, "smooth", "--smooth", &smooth)
}

/// Puts options into a pipeline; each remembers the option as its place.
pub(super) struct Options<'a>(pub &'a mut Node);

impl Options<'_> {
    pub(super) fn top(
        &mut self,
        key: &str,
        option: &str,
        value: &Option<impl Serialize>,
    ) -> Result<(), PipelineError> {
        let Some(value) = value else {
            return Ok(());
        };
        Ok(self.0.set(&[key], Node::from_data(value, option)?)?)
    }

    /// Sets a parameter of every stage of a kind, whatever the stage is called.
    pub(super) fn stage(
        &mut self,
        kind: &str,
        key: &str,
        option: &str,
        value: &Option<impl Serialize>,
    ) -> Result<(), PipelineError> {
        let Some(value) = value else {
            return Ok(());
        };
        let stages = self.0.get("stages").map(Node::entries).unwrap_or_default();
        let is_kind = |node: &Node| matches!(node.get("stage").map(|s| &s.value), Some(Value::Str(s)) if s == kind);
        let names = stages.iter().filter(|e| is_kind(&e.node));
        let names: Vec<String> = names.map(|e| e.key.clone()).collect();
        for name in names {
            self.0
                .set(&["stages", &name, key], Node::from_data(value, option)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds() {
        assert_eq!(parse_seed("18446744073709551615"), Ok(u64::MAX));
        assert!(
            parse_seed("-3")
                .unwrap_err()
                .starts_with("a seed cannot be negative")
        );
        assert!(parse_seed("x").is_err());
        assert!(parse_seed("18446744073709551616").is_err());
    }
}
