//! `nextscale run` and `nextscale validate`, and the one path on which every pipeline runs.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use crate::progress::Progress;
use nextscale_pipelines::error::PipelineError;
use nextscale_pipelines::graph::Pipeline;
use nextscale_pipelines::spec::{PipelineSpec, read_tree};
use nextscale_pipelines::stage::Cancel;
use nextscale_pipelines::yaml::Node;

/// Arguments of `nextscale run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    source: Source,
    /// Show how long each part took
    #[arg(long)]
    timings: bool,
}

/// Arguments of `nextscale validate`.
#[derive(Debug, Args)]
pub(super) struct ValidateArgs {
    #[command(flatten)]
    source: Source,
}

#[derive(Debug, Args)]
struct Source {
    /// A YAML file, or a picture or video made by nextscale
    pipeline: PathBuf,
    /// Set a value, for example `--set seed=7` or `--set stages.latent.cfg-scale=4`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Source {
    fn read(&self) -> anyhow::Result<PipelineSpec> {
        let mut root = read_tree(&self.pipeline)?;
        for one in &self.set {
            let Some((path, value)) = one.split_once('=') else {
                return Err(anyhow!("--set {one} should be --set KEY=VALUE"));
            };
            let path: Vec<&str> = path.split('.').collect();
            root.set(&path, parse_value(value, &format!("--set {one}"))?)
                .map_err(PipelineError::from)?;
        }
        Ok(PipelineSpec::from_node(root)?)
    }
}

/// The value of an option as YAML; its place is the option itself, which has no lines.
fn parse_value(text: &str, origin: &str) -> Result<Node, PipelineError> {
    let parsed = Node::parse(text, origin)?;
    Node::from_data(&parsed, origin)
}

pub(super) fn run(args: RunArgs) -> anyhow::Result<()> {
    execute(args.source.read()?, args.timings)
}

pub(super) fn validate(args: ValidateArgs) -> anyhow::Result<()> {
    let pipeline = Pipeline::new(args.source.read()?)?;
    let stages: Vec<&str> = pipeline
        .spec()
        .stages
        .iter()
        .map(|s| s.name.as_str())
        .collect();
    crate::output::print(&format!("valid: {}", stages.join(", ")))
}

/// Checks a pipeline and runs it with progress bars, until it is done or Ctrl-C is pressed.
pub(super) fn execute(spec: PipelineSpec, timings: bool) -> anyhow::Result<()> {
    let mut pipeline = Pipeline::new(spec)?;
    if pipeline.spec().settings.seed.is_none() {
        let seed = rand::random();
        eprintln!("seed: {seed}");
        pipeline.set_seed(seed);
    }
    let cancel = Cancel::default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_io()
        .build()?;
    let progress = Progress::new(timings);
    let result = runtime.block_on(async {
        tokio::spawn(crate::signal::stop_on_ctrl_c(cancel.clone()));
        pipeline.run(cancel, progress.observer()).await
    });
    progress.finish();
    Ok(result?)
}
