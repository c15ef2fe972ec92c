//! `nextscale run` and `nextscale validate`, and the one path on which every pipeline runs.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use super::progress::Progress;
use crate::error::PipelineError;
use crate::node::Node;
use crate::pipeline::Pipeline;
use crate::spec::{PipelineSpec, read_tree};
use crate::stage::Cancel;

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
    super::small::print(&format!("valid: {}", stages.join(", ")))
}

/// Checks a pipeline and runs it with progress bars, until it is done or Ctrl-C is pressed.
pub(super) fn execute(spec: PipelineSpec, timings: bool) -> anyhow::Result<()> {
    let mut pipeline = Pipeline::new(spec)?;
    if pipeline.spec.settings.seed.is_none() {
        let seed = rand::random();
        eprintln!("seed: {seed}");
        pipeline.spec.settings.seed = Some(seed);
    }
    let cancel = Cancel::default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_io()
        .build()?;
    let progress = Progress::new(timings);
    let result = runtime.block_on(async {
        tokio::spawn(stop_on_ctrl_c(cancel.clone()));
        pipeline.run(cancel, progress.observer()).await
    });
    progress.finish();
    Ok(result?)
}

/// The first Ctrl-C lets the scale in work come to its end; the second does not wait.
pub(super) async fn stop_on_ctrl_c(cancel: Cancel) {
    while stop_signal().await {
        if cancel.is_cancelled() {
            std::process::exit(130);
        }
        cancel.cancel();
    }
}

/// Waits for Ctrl-C, or for a polite request to end from elsewhere.
async fn stop_signal() -> bool {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            return tokio::select! {
                pressed = tokio::signal::ctrl_c() => pressed.is_ok(),
                sent = terminate.recv() => sent.is_some(),
            };
        }
    }
    tokio::signal::ctrl_c().await.is_ok()
}
