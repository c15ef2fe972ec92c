//! Arguments of `nextscale eval tokenizer`, `recall`, `edits`, `fast` and `motion`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Args;
use nextscale_eval::MeasureOptions;
use nextscale_eval::edits::EditOptions;
use nextscale_eval::fast::FastOptions;
use nextscale_eval::motion::MotionOptions;
use nextscale_eval::recall::{Meant, RecallOptions};
use nextscale_eval::tokenizer::TokenizerOptions;
use nextscale_models::device::DeviceChoice;
use nextscale_models::{DEFAULT, EDITS, SPRITES};

use nextscale_models::device::Dtype;
use nextscale_models::shortcuts::ShortcutChoice;
use nextscale_pipelines::stages::read_prompts;

use crate::image_options::ShortcutOptions;
use crate::options::{at_least_one, choice, parse_number};

/// Options of a measurement on a data set.
#[derive(Debug, Args)]
pub(super) struct DataOptions {
    /// Data set, as written by `nextscale data build`
    #[arg(long, value_name = "DIR", default_value = "data/icons")]
    data: PathBuf,
    /// Random seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Images per batch
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = at_least_one())]
    batch: usize,
    /// Compute device: auto, cpu, cuda or gpu, or cuda:N or gpu:N for the one of number N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Fix which kernels a card takes: slower, and the same figures on every card of one kind
    #[arg(long)]
    deterministic: bool,
    #[command(flatten)]
    pub(super) files: Files,
}

impl DataOptions {
    fn measure(&self) -> MeasureOptions {
        MeasureOptions {
            data: self.data.clone(),
            seed: self.seed,
            batch: self.batch,
            device: self.device,
            deterministic: self.deterministic,
        }
    }
}

/// Where the result goes.
#[derive(Debug, Args)]
pub(super) struct Files {
    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write a contact sheet of what was measured
    #[arg(long, value_name = "FILE.png")]
    pub(super) sheet: Option<PathBuf>,
}

/// Sampling options of a measurement that generates.
#[derive(Debug, Args)]
struct SamplingOptions {
    /// Guidance scale; 1 turns guidance off [default: the model's]
    #[arg(long, value_name = "N")]
    cfg_scale: Option<f64>,
    /// Temperature: above 1 more varied, below 1 more likely; 0 always takes the most likely value [default: the model's]
    #[arg(long, value_name = "N")]
    temperature: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct TokenizerArgs {
    /// Model: `default` for the embedded one, or a model folder
    #[arg(long, value_name = "NAME|PATH", default_value = DEFAULT)]
    model: String,
    /// Use images of the training set instead of held-out ones
    #[arg(long)]
    seen: bool,
    /// Use at most N images, evenly spread over the data set
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = at_least_one())]
    count: usize,
    #[command(flatten)]
    pub(super) data: DataOptions,
}

impl TokenizerArgs {
    pub(super) fn options(&self) -> TokenizerOptions {
        TokenizerOptions {
            model: self.model.clone(),
            seen: self.seen,
            count: self.count,
            measure: self.data.measure(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RecallArgs {
    /// Model: `default` for the embedded one, or a model folder
    #[arg(long, value_name = "NAME|PATH", default_value = DEFAULT)]
    model: String,
    /// Number of prompts from the training set
    #[arg(long, value_name = "N", default_value_t = 200)]
    seen: usize,
    /// Number of prompts held out from training
    #[arg(long, value_name = "N", default_value_t = 100)]
    held_out: usize,
    /// File of prompts in other words, such as docs/everyday.tsv: a prompt, a tab and the name of what is meant on each line
    #[arg(long, value_name = "FILE")]
    meant: Option<PathBuf>,
    /// Number of images that each generated one is compared with
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = at_least_one())]
    candidates: usize,
    #[command(flatten)]
    sampling: SamplingOptions,
    #[command(flatten)]
    shortcuts: ShortcutOptions,
    #[command(flatten)]
    pub(super) data: DataOptions,
}

impl RecallArgs {
    pub(super) fn options(&self) -> anyhow::Result<RecallOptions> {
        Ok(RecallOptions {
            model: self.model.clone(),
            seen: self.seen,
            held_out: self.held_out,
            meant: self
                .meant
                .as_deref()
                .map(meant_of)
                .transpose()?
                .unwrap_or_default(),
            candidates: self.candidates,
            cfg_scale: self.sampling.cfg_scale,
            temperature: self.sampling.temperature,
            shortcuts: self.shortcuts.choice()?,
            measure: self.data.measure(),
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct EditsArgs {
    /// Model that edits by instruction: `edits` for the embedded one, or a model folder
    #[arg(long, value_name = "NAME|PATH", default_value = EDITS)]
    model: String,
    /// Edit images of the training set instead of held-out ones
    #[arg(long)]
    seen: bool,
    /// Number of images to edit, each by some twenty instructions
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = at_least_one())]
    count: usize,
    #[command(flatten)]
    sampling: SamplingOptions,
    #[command(flatten)]
    pub(super) data: DataOptions,
}

impl EditsArgs {
    pub(super) fn options(&self) -> EditOptions {
        EditOptions {
            model: self.model.clone(),
            seen: self.seen,
            count: self.count,
            cfg_scale: self.sampling.cfg_scale,
            temperature: self.sampling.temperature,
            measure: self.data.measure(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct FastArgs {
    /// Model as for `generate` or `video`
    #[arg(long, value_name = "NAME|PATH", default_value = DEFAULT)]
    model: String,
    /// Prompt; repeat for more [default: some everyday things]
    #[arg(short, long, conflicts_with_all = ["prompt_file", "class"])]
    prompt: Vec<String>,
    /// File with one prompt per line
    #[arg(long, value_name = "FILE", conflicts_with = "class")]
    prompt_file: Option<PathBuf>,
    /// Class name or number, for class-conditional models; repeat for more [default: all classes]
    #[arg(long)]
    class: Vec<String>,
    /// Number of images or videos; prompts take turns
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = at_least_one())]
    count: usize,
    /// Seed of the first image
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Width in pixels [default: the model's]
    #[arg(short = 'W', long, value_name = "N", requires = "height")]
    width: Option<usize>,
    /// Height in pixels [default: the model's]
    #[arg(short = 'H', long, value_name = "N", requires = "width")]
    height: Option<usize>,
    /// What to measure [default: --fast and each of its parts]
    #[command(flatten)]
    shortcuts: ShortcutOptions,
    /// For models of videos: run at most N passes over each scale
    #[arg(long, value_name = "N")]
    repeats: Option<usize>,
    /// For models of videos: end a scale once less than this share of its bits repeats from one pass to the next
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true, value_parser = parse_number)]
    converge: Option<f64>,
    /// Data set that the model was trained on, to measure recall too
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Compute device: auto, cpu, cuda or gpu, or cuda:N or gpu:N for the one of number N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Number type of the transformer's weights
    #[arg(long, value_parser = choice::<Dtype>(), default_value = "auto")]
    dtype: Dtype,
    /// Fix which kernels a card takes: slower, and the same bytes on every card of one kind
    #[arg(long)]
    deterministic: bool,
    #[command(flatten)]
    pub(super) files: Files,
}

impl FastArgs {
    pub(super) fn options(&self) -> anyhow::Result<FastOptions> {
        let prompts = match &self.prompt_file {
            Some(file) => prompts_of(file)?,
            None if self.prompt.is_empty() => self.class.clone(),
            None => self.prompt.clone(),
        };
        let shortcuts = ShortcutChoice {
            repeats: self.repeats,
            converge: self.converge,
            ..self.shortcuts.choice()?
        };
        let settings = if shortcuts.is_empty() {
            vec![]
        } else {
            vec![shortcuts]
        };
        Ok(FastOptions {
            model: self.model.clone(),
            prompts,
            count: self.count,
            seed: self.seed,
            size: self.width.zip(self.height).map(Into::into),
            settings,
            data: self.data.clone(),
            device: self.device,
            dtype: self.dtype,
            deterministic: self.deterministic,
        })
    }
}

/// Prompts in other words, with the names of what is meant.
fn meant_of(file: &Path) -> anyhow::Result<Vec<Meant>> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {name}"))?;
    Meant::parse(&text).map_err(|problem| anyhow!("{name}: {problem}"))
}

/// The prompts of a file, one per line.
pub(crate) fn prompts_of(file: &Path) -> anyhow::Result<Vec<String>> {
    let name = file.display();
    let bytes = std::fs::read(file).with_context(|| format!("reading {name}"))?;
    Ok(read_prompts(&bytes, &name.to_string())?)
}

#[derive(Debug, Args)]
pub(crate) struct MotionArgs {
    /// Video model: `sprites` for the embedded one, or a model folder
    #[arg(long, value_name = "NAME|PATH", default_value = SPRITES)]
    model: String,
    /// Number of prompts
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = at_least_one())]
    count: usize,
    /// Seed of the first video
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    sampling: SamplingOptions,
    /// Compute device: auto, cpu, cuda or gpu, or cuda:N or gpu:N for the one of number N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Fix which kernels a card takes: slower, and the same figures on every card of one kind
    #[arg(long)]
    deterministic: bool,
    #[command(flatten)]
    pub(super) files: Files,
}

impl MotionArgs {
    pub(super) fn options(&self) -> MotionOptions {
        MotionOptions {
            model: self.model.clone(),
            count: self.count,
            seed: self.seed,
            cfg_scale: self.sampling.cfg_scale,
            temperature: self.sampling.temperature,
            device: self.device,
            deterministic: self.deterministic,
        }
    }
}
