//! Options that `generate`, `edit` and `video` share, and the keys of the pipeline that they set.

use std::io::IsTerminal;

use anyhow::{Context as _, anyhow, ensure};
use clap::Args;
use clap::builder::{
    OsStringValueParser, PossibleValue, PossibleValuesParser, RangedU64ValueParser,
    TypedValueParser,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use nextscale_files::path_text;
use nextscale_models::LoraChoice;
use nextscale_models::device::{Devices, Dtype};
use nextscale_pipelines::error::PipelineError;
use nextscale_pipelines::file_path::FilePath;
use nextscale_pipelines::lora::LoraFile;
use nextscale_pipelines::settings::WeightsChoice;
use nextscale_pipelines::spec::PipelineSpec;
use nextscale_pipelines::yaml::Node;

use crate::settings::{Settings, flag};
use crate::{output, ranks, run};

/// What to generate, and with which model.
#[derive(Debug, Args)]
pub(crate) struct PromptOptions {
    /// Prompt; repeat for more results. Read from standard input by default
    #[arg(
        short,
        long,
        allow_hyphen_values = true,
        conflicts_with = "prompt_file"
    )]
    pub(crate) prompt: Vec<String>,
    /// File with one prompt per line
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<FilePath>,
    /// Negative prompt: what to avoid
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    negative_prompt: Option<String>,
    /// Model: a name from `nextscale models`, a model folder, or a checkpoint. The embedded model by default
    #[arg(short, long, value_name = "NAME|PATH", value_parser = path_text())]
    pub(crate) model: Option<String>,
    /// Search this folder first for the files of released models
    #[arg(long, value_name = "DIR")]
    pub(crate) models_dir: Option<FilePath>,
    /// Tokenizer (auto-encoder) of a fine-tuned checkpoint, instead of the released one
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<FilePath>,
    /// Text encoder of a fine-tuned checkpoint: a folder in the layout of Hugging Face
    #[arg(long, value_name = "DIR")]
    text_encoder: Option<FilePath>,
    /// Low-rank adapter (LoRA) to add to the model, as FILE or FILE:WEIGHT; repeat for more
    #[arg(long, value_name = "FILE[:WEIGHT]")]
    lora: Vec<LoraChoice>,
    /// Weights of a training checkpoint that holds several
    #[arg(long, value_parser = choice::<WeightsChoice>())]
    weights: Option<WeightsChoice>,
    /// Seed of the first result, from 0 to 2^64-1; each further result adds 1. Random by default and with -1
    #[arg(short, long, value_parser = parse_seed, allow_hyphen_values = true)]
    seed: Option<i128>,
    /// Number of results per prompt
    #[arg(short, long, value_name = "N")]
    pub(crate) batch_count: Option<u32>,
}

impl PromptOptions {
    /// Refuses to wait for prompts on a terminal; `example` shows how to give one.
    pub(crate) fn check(&self, example: &str) -> Result<(), PipelineError> {
        let from_stdin = self.prompt.is_empty() && self.prompt_file.is_none();
        if from_stdin && std::io::stdin().is_terminal() {
            let hint = format!("give one: --prompt \"{example}\"");
            return Err(PipelineError::refused_with("there is no prompt", hint));
        }
        Ok(())
    }

    /// `source` is the kind of the stage that results are counted in: `prompts` or `classes`.
    pub(crate) fn apply(&self, set: &mut Settings, source: &str) -> Result<(), PipelineError> {
        set.pipeline("model", &self.model)?;
        set.pipeline("models-dir", &self.models_dir)?;
        set.pipeline("tokenizer", &self.tokenizer)?;
        set.pipeline("text-encoder", &self.text_encoder)?;
        let loras: Vec<LoraFile> = self.lora.iter().cloned().map(LoraFile::from).collect();
        set.pipeline("lora", &(!loras.is_empty()).then_some(loras))?;
        set.pipeline("weights", &self.weights)?;
        set.pipeline("seed", &self.seed)?;
        let prompts = (!self.prompt.is_empty()).then_some(&self.prompt);
        set.stage_as("prompts", "--prompt", "prompts", &prompts)?;
        set.stage_as("prompts", "--prompt-file", "file", &self.prompt_file)?;
        let negative = &self.negative_prompt;
        set.stage_as("prompts", "--negative-prompt", "negative", negative)?;
        set.stage_as(source, "--batch-count", "count", &self.batch_count)
    }
}

/// Size of the result.
#[derive(Debug, Args)]
pub(crate) struct SizeOptions {
    /// Width in pixels
    #[arg(short = 'W', long)]
    width: Option<usize>,
    /// Height in pixels
    #[arg(short = 'H', long)]
    height: Option<usize>,
    /// Aspect ratio, for example 16:9; selects the nearest size of the model
    #[arg(long, value_name = "W:H", conflicts_with_all = ["width", "height"])]
    aspect: Option<String>,
}

impl SizeOptions {
    /// `generator` is the kind of the stage that generates.
    pub(crate) fn apply(&self, set: &mut Settings, generator: &str) -> Result<(), PipelineError> {
        set.stage(generator, "width", &self.width)?;
        set.stage(generator, "height", &self.height)?;
        set.stage(generator, "aspect", &self.aspect)
    }
}

/// Where to compute, where to write, and what to show.
#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// Compute device: auto, cpu, cuda or gpu, or cuda:N or gpu:N for the one of number N. Several share the results between them:
    /// cuda:0,cuda:1
    #[arg(long, value_name = "DEVICE[,DEVICE..]")]
    device: Option<Devices>,
    /// Number type of the weights
    #[arg(long, value_parser = choice::<Dtype>())]
    dtype: Option<Dtype>,
    /// Fix which kernels a card takes: slower, and the same bytes on every card of one kind
    #[arg(long)]
    deterministic: bool,
    /// Generate each image or video with all processes that a launcher started, which talk by MPI, instead of sharing the prompts between them
    #[arg(long)]
    together: bool,
    /// Stream the transformer's blocks from the checkpoint in every pass, for models larger than memory
    #[arg(long)]
    pub(crate) stream: bool,
    /// Keep the text encoder in memory next to the transformer instead of encoding all prompts first: uses more memory,
    /// and the first of many results comes sooner
    #[arg(long)]
    keep_loaded: bool,
    /// Write a preview after each scale to this folder; of a video, the first frame of each clip
    #[arg(long, value_name = "DIR")]
    preview: Option<FilePath>,
    /// Output: a .png, .jpg or .webp file, a name with {index}, {seed} or {prompt}, a folder, or - for standard output
    #[arg(short, long, value_parser = path_text())]
    pub(crate) output: Option<String>,
    /// Refuse to replace files that exist already
    #[arg(long)]
    no_clobber: bool,
    /// Do not store the prompt, seed and pipeline in the output
    #[arg(long)]
    no_metadata: bool,
    /// Show the time of each part
    #[arg(long)]
    timings: bool,
    /// Print the pipeline as YAML instead of running it
    #[arg(long)]
    print_pipeline: bool,
}

impl RunOptions {
    /// Every option but `--stream`, which is a key of the stage that generates.
    pub(crate) fn apply(&self, set: &mut Settings) -> Result<(), PipelineError> {
        set.pipeline("device", &self.device)?;
        set.pipeline("dtype", &self.dtype)?;
        set.pipeline("deterministic", &flag(self.deterministic))?;
        set.pipeline("keep-loaded", &flag(self.keep_loaded))?;
        set.pipeline("preview", &self.preview)?;
        set.pipeline("output", &self.output)?;
        let overwrite = self.no_clobber.then_some(false);
        set.pipeline_as("--no-clobber", "overwrite", &overwrite)?;
        let metadata = self.no_metadata.then_some(false);
        set.pipeline_as("--no-metadata", "metadata", &metadata)
    }

    /// Runs a pipeline, or prints it.
    pub(crate) fn execute(&self, root: Node) -> anyhow::Result<()> {
        if self.print_pipeline {
            if !ranks::share()?.is_first() {
                return Ok(());
            }
            return output::print(root.to_yaml().trim_end());
        }
        run::execute(PipelineSpec::from_node(root)?, self.timings, self.together)
    }
}

/// Takes any path, as a pipeline writes it.
pub(crate) fn path_text() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().map(path_text::to_text)
}

/// A seed, or -1 for a random one.
fn parse_seed(text: &str) -> anyhow::Result<i128> {
    let range = "use an integer from 0 to 18446744073709551615, or -1 for a random one";
    let seed: i128 = text.parse().map_err(|_| anyhow!(range))?;
    ensure!((-1..=i128::from(u64::MAX)).contains(&seed), range);
    Ok(seed)
}

/// Parses a finite number.
pub(crate) fn parse_number(text: &str) -> anyhow::Result<f64> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.context("use a number, such as 2.5")
}

/// Parses one of the values of `T`; their names and descriptions are those of its JSON Schema.
pub(crate) fn choice<T>() -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + JsonSchema + Clone + Send + Sync + 'static,
{
    let schema = schemars::schema_for!(T).to_value();
    let values = schema["oneOf"].as_array().cloned().unwrap_or_default();
    let values = values.into_iter().map(|value| {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        PossibleValue::new(text("const")).help(text("description"))
    });
    let names = PossibleValuesParser::new(values.collect::<Vec<_>>());
    names.try_map(|name| serde_json::from_value(name.into()))
}

/// Parses an integer from 1.
pub(crate) fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds() {
        for seed in [-1, 0, i128::from(u64::MAX)] {
            assert_eq!(parse_seed(&seed.to_string()).unwrap(), seed);
        }
        for bad in ["-2", "x", "", "1e3", "18446744073709551616"] {
            let error = parse_seed(bad).unwrap_err().to_string();
            assert!(error.contains("-1 for a random one"), "{error}");
        }
    }
}
