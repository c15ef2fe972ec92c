//! Options that `generate` and `edit` share, and the keys of the pipeline that they set.

use clap::Args;

use nextscale_models::ModelError;
use nextscale_models::cache_index::CacheIndex;
use nextscale_models::shortcuts::ShortcutChoice;
use nextscale_pipelines::error::PipelineError;
use nextscale_pipelines::file_path::FilePath;
use nextscale_pipelines::per_scale::PerScale;
use nextscale_pipelines::spec::{PipelineSpec, Preset};
use nextscale_pipelines::yaml::Node;

use crate::options::{PromptOptions, RunOptions, SizeOptions};
use crate::settings::{Settings, flag};

/// Options of every command that generates images.
#[derive(Debug, Args)]
pub(crate) struct ImageOptions {
    #[command(flatten)]
    prompts: PromptOptions,
    /// Class name or number, for class-conditional models instead of a prompt; repeat for more images
    #[arg(long, value_name = "NAME|NUMBER", allow_hyphen_values = true, conflicts_with_all = ["prompt", "prompt_file", "negative_prompt", "keep_loaded"])]
    class: Vec<String>,
    /// Images generated at once: uses more memory and takes less time per image
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    #[command(flatten)]
    size: SizeOptions,
    /// Approximate number of pixels, for models with several sizes per aspect ratio: 0.06M, 0.25M, 0.60M or 1M
    #[arg(long, value_name = "N", conflicts_with_all = ["width", "height"])]
    pixels: Option<String>,
    #[command(flatten)]
    sampling: ImageSampling,
    /// Append the prompt suffix of Infinity's released code, about faces, to prompts that mention people
    #[arg(long, conflicts_with = "class")]
    positive_prompt: bool,
    /// Decode in strips: less memory for large images, same result. Automatic from 2 million pixels
    #[arg(long, conflicts_with = "class")]
    tile: bool,
    #[command(flatten)]
    run: RunOptions,
}

/// How codes are sampled.
#[derive(Debug, Args)]
struct ImageSampling {
    /// Guidance scale; 1 turns guidance off (with --class it is 0). One number, or one per scale: 1,2,3,..
    #[arg(long, value_name = "N[,N..]", allow_hyphen_values = true)]
    cfg_scale: Option<PerScale>,
    /// Where guidance is applied: 0 to the logits, -1 to the output of the last block, -2 to that of the block before it
    #[arg(
        long,
        value_name = "N",
        allow_hyphen_values = true,
        conflicts_with = "class"
    )]
    cfg_insertion_layer: Option<i64>,
    /// Temperature: above 1 more varied, below 1 more likely; 0 always takes the most likely value. One number, or one
    /// per scale
    #[arg(long, value_name = "N[,N..]", allow_hyphen_values = true)]
    temperature: Option<PerScale>,
    /// Sample from the N most likely values; 0 for all
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// Sample from the most likely values with this total probability; 0 or 1 for all
    #[arg(long, value_name = "P")]
    top_p: Option<f64>,
    #[command(flatten)]
    shortcuts: ShortcutOptions,
    /// With --class: blend all codes instead of sampling one, for smoother images
    #[arg(long, requires = "class")]
    smooth: bool,
}

/// What is left out to be faster.
#[derive(Debug, Args)]
pub(crate) struct ShortcutOptions {
    /// Leave out what costs few details: the last scales, guidance in those before them, and some of their tokens
    #[arg(long)]
    pub(crate) fast: bool,
    /// Run only the first N scales; the image keeps its size and loses details
    #[arg(long, value_name = "N")]
    pub(crate) scales: Option<usize>,
    /// Guide only the first N scales; each of the others takes half the time
    #[arg(long, value_name = "N")]
    pub(crate) guidance_until: Option<usize>,
    /// Shares of the tokens that the last scales compute, coarse to fine: 0.6,0.5 for the last two
    #[arg(long, value_name = "N[,N..]", allow_hyphen_values = true)]
    pub(crate) keep_tokens: Option<PerScale>,
    /// Share of the keys and values of earlier scales that is kept: less memory, other details [default: all, or 0.1 with --cache-index]
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true)]
    pub(crate) cache_budget: Option<f64>,
    /// Which layers keep more than others: a file that `nextscale calibrate` has written for the model
    #[arg(long, value_name = "FILE")]
    pub(crate) cache_index: Option<FilePath>,
}

impl ShortcutOptions {
    /// The same as the library takes it.
    ///
    /// # Errors
    /// An index that cannot be read.
    pub(crate) fn choice(&self) -> Result<ShortcutChoice, ModelError> {
        let keep_tokens = self.keep_tokens.as_ref();
        let index = self.cache_index.as_ref();
        let index = index.map(|path| CacheIndex::read(path));
        Ok(ShortcutChoice {
            fast: self.fast,
            scales: self.scales,
            guidance_until: self.guidance_until,
            keep_tokens: keep_tokens.map(|shares| shares.given().to_vec()),
            cache_budget: self.cache_budget,
            cache_index: index.transpose()?,
            ..ShortcutChoice::default()
        })
    }

    fn apply(&self, set: &mut Settings, generator: &str) -> Result<(), PipelineError> {
        set.stage(generator, "fast", &flag(self.fast))?;
        set.stage(generator, "scales", &self.scales)?;
        set.stage(generator, "guidance-until", &self.guidance_until)?;
        set.stage(generator, "keep-tokens", &self.keep_tokens)?;
        set.stage(generator, "cache-budget", &self.cache_budget)?;
        set.stage(generator, "cache-index", &self.cache_index)
    }
}

impl ImageOptions {
    /// Whether a model or a class is named.
    pub(crate) fn names_model(&self) -> bool {
        self.prompts.model.is_some() || !self.class.is_empty()
    }

    /// The kind of the stage that generates.
    pub(crate) fn generator(&self) -> &'static str {
        if self.class.is_empty() {
            "text-to-image"
        } else {
            "class-to-image"
        }
    }

    /// The built-in pipeline with every given option at its place.
    pub(crate) fn pipeline(&self) -> Result<Node, PipelineError> {
        let mut root = if self.class.is_empty() {
            self.prompts.check("a red apple")?;
            PipelineSpec::preset(Preset::Prompts)?
        } else {
            PipelineSpec::preset(Preset::Classes)?
        };
        let conditions = self.prompts.prompt.len() + self.class.len();
        let images = conditions * self.prompts.batch_count.unwrap_or(1) as usize;
        if self.run.output.as_deref() == Some("-") && images > 1 {
            let hint = "write several images to files: --output NAME-{index}.png";
            let message = "only one image can go to standard output";
            return Err(PipelineError::refused_with(message, hint));
        }
        self.apply(self.generator(), &mut root)?;
        Ok(root)
    }

    /// Puts every given option at its place; `generator` is the kind of the stage that generates.
    pub(crate) fn apply(&self, generator: &str, root: &mut Node) -> Result<(), PipelineError> {
        let set = &mut Settings(root);
        let source = if generator == "class-to-image" {
            "classes"
        } else {
            "prompts"
        };
        let classes = (!self.class.is_empty()).then_some(&self.class);
        set.stage_as("classes", "--class", "classes", &classes)?;
        self.prompts.apply(set, source)?;
        self.run.apply(set)?;
        set.stage_as(generator, "--batch-size", "batch", &self.batch_size)?;
        self.size.apply(set, generator)?;
        set.stage(generator, "pixels", &self.pixels)?;
        self.sampling.apply(set, generator)?;
        let positive = flag(self.positive_prompt);
        set.stage("text-encoder", "positive-prompt", &positive)?;
        set.stage(generator, "stream", &flag(self.run.stream))?;
        set.stage("decode", "tile", &flag(self.tile))?;
        set.stage(generator, "smooth", &flag(self.sampling.smooth))
    }

    /// Runs a pipeline, or prints it.
    pub(crate) fn execute(&self, root: Node) -> anyhow::Result<()> {
        self.run.execute(root)
    }
}

impl ImageSampling {
    /// Every option but `--smooth`, which is the last key of its stage.
    fn apply(&self, set: &mut Settings, generator: &str) -> Result<(), PipelineError> {
        set.stage(generator, "cfg-scale", &self.cfg_scale)?;
        let layer = &self.cfg_insertion_layer;
        set.stage(generator, "cfg-insertion-layer", layer)?;
        set.stage(generator, "temperature", &self.temperature)?;
        set.stage(generator, "top-k", &self.top_k)?;
        set.stage(generator, "top-p", &self.top_p)?;
        self.shortcuts.apply(set, generator)
    }
}
