//! Arguments of `nextscale eval geneval` and `vbench`.

use std::path::{Path, PathBuf};

use clap::Args;
use nextscale_eval::benchmarks::BenchmarkOptions;
use nextscale_models::DEFAULT;
use nextscale_models::device::{DeviceChoice, Dtype};

use crate::options::{at_least_one, choice};

/// What both benchmarks share.
#[derive(Debug, Args)]
pub(super) struct Shared {
    /// Folder for the results; a run that was stopped goes on
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Seed of the first result; the next ones count up
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Guidance scale; 1 turns guidance off [default: the model's]
    #[arg(long, value_name = "N")]
    cfg_scale: Option<f64>,
    /// Temperature [default: the model's]
    #[arg(long, value_name = "N")]
    temperature: Option<f64>,
    /// Compute device: auto, cpu, cuda or gpu, or cuda:N or gpu:N for the one of number N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Number type of the transformer's weights
    #[arg(long, value_parser = choice::<Dtype>(), default_value = "auto")]
    dtype: Dtype,
    /// Write what was generated as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
}

impl Shared {
    fn options(&self, model: &str, prompts: &Path, samples: usize) -> BenchmarkOptions {
        BenchmarkOptions {
            model: model.to_owned(),
            prompts: prompts.to_owned(),
            output: self.output.clone(),
            samples,
            seed: self.seed,
            cfg_scale: self.cfg_scale,
            temperature: self.temperature,
            device: self.device,
            dtype: self.dtype,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct GenevalArgs {
    /// Model of images: `default` for the embedded one, or a model folder
    #[arg(long, value_name = "NAME|PATH", default_value = DEFAULT)]
    model: String,
    /// The prompts: prompts/evaluation_metadata.jsonl of GenEval
    #[arg(long, value_name = "FILE.jsonl")]
    metadata: PathBuf,
    /// Images for each prompt
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = at_least_one())]
    samples: usize,
    #[command(flatten)]
    pub(super) shared: Shared,
}

impl GenevalArgs {
    pub(super) fn options(&self) -> BenchmarkOptions {
        let (model, samples) = (&self.model, self.samples);
        self.shared.options(model, &self.metadata, samples)
    }
}

#[derive(Debug, Args)]
pub(crate) struct VbenchArgs {
    /// Model of videos: `sprites` for the embedded one, or a model folder
    #[arg(long, value_name = "NAME|PATH", default_value = nextscale_models::SPRITES)]
    model: String,
    /// The prompts: VBench_full_info.json of VBench, or a text file with one a line
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,
    /// Videos for each prompt; VBench wants 25 for the prompts of temporal flickering
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least_one())]
    samples: usize,
    #[command(flatten)]
    pub(super) shared: Shared,
}

impl VbenchArgs {
    pub(super) fn options(&self) -> BenchmarkOptions {
        let (model, samples) = (&self.model, self.samples);
        self.shared.options(model, &self.prompts, samples)
    }
}
