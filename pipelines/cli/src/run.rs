//! `nextscale run` and `nextscale validate`, and the function that runs every pipeline.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use nextscale_pipelines::error::PipelineError;
use nextscale_pipelines::graph::Pipeline;
use nextscale_pipelines::settings::random_seed;
use nextscale_pipelines::spec::{PipelineSpec, read_tree};
use nextscale_pipelines::stage::Cancel;
use nextscale_pipelines::yaml::Node;
use nextscale_pipelines::{Share, Together};

use crate::options::path_text;
use crate::progress::Progress;
use crate::{output, ranks, signal};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    source: Source,
    /// Where to write: short for `--set output=PATH`
    #[arg(short, long, value_name = "PATH", value_parser = path_text())]
    output: Option<String>,
    /// Replace files that exist already, also for the pipeline of an image or video
    #[arg(long, conflicts_with = "no_clobber")]
    overwrite: bool,
    /// Refuse to replace files that exist already
    #[arg(long)]
    no_clobber: bool,
    /// Fix which kernels a card takes: short for `--set deterministic=true`
    #[arg(long)]
    deterministic: bool,
    /// Show the time of each part
    #[arg(long)]
    timings: bool,
}

/// Arguments of `nextscale validate`: a pipeline.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// YAML file, or an image or video made by nextscale
    pipeline: PathBuf,
    /// Override a value, for example `--set seed=7` or `--set stages.latent.cfg-scale=4`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Trust the pipeline of an image or video as if you had written it: without this, it may not call another computer, read
    /// an environment variable, open a model by its path or a file outside this folder, or choose where to write
    #[arg(long)]
    trust: bool,
}

impl Source {
    fn read(&self) -> anyhow::Result<Node> {
        let mut root = read_tree(&self.pipeline, self.trust)?;
        for one in &self.set {
            let Some((path, value)) = one.split_once('=') else {
                return Err(anyhow!("--set {one} should be --set KEY=VALUE"));
            };
            let path: Vec<&str> = path.split('.').collect();
            root.set(&path, parse_value(value, &format!("--set {one}"))?)
                .map_err(PipelineError::from)?;
        }
        Ok(root)
    }
}

/// Parses the value of an option as YAML. Errors name the option as its place.
fn parse_value(text: &str, origin: &str) -> Result<Node, PipelineError> {
    let parsed = Node::parse(text, origin)?;
    Node::from_data(&parsed, origin)
}

pub(super) fn run(args: &RunArgs) -> anyhow::Result<()> {
    let mut root = args.source.read()?;
    if let Some(output) = &args.output {
        let output = Node::from_data(output, "--output")?;
        root.set(&["output"], output).map_err(PipelineError::from)?;
    }
    if args.overwrite || args.no_clobber {
        let overwrite = Node::from_data(&args.overwrite, "--overwrite")?;
        root.set(&["overwrite"], overwrite)
            .map_err(PipelineError::from)?;
    }
    if args.deterministic {
        let deterministic = Node::from_data(&true, "--deterministic")?;
        root.set(&["deterministic"], deterministic)
            .map_err(PipelineError::from)?;
    }
    execute(PipelineSpec::from_node(root)?, args.timings, false)
}

pub(super) fn validate(source: &Source) -> anyhow::Result<()> {
    let pipeline = Pipeline::new(PipelineSpec::from_node(source.read()?)?)?;
    let stages = pipeline.spec().stages.iter();
    let stages: Vec<&str> = stages.map(|s| s.name.as_str()).collect();
    output::print(&format!("valid: {}", stages.join(", ")))
}

/// Checks a pipeline and runs it with progress bars until it is done or Ctrl-C is pressed. Of several processes, each generates its
/// part of the samples or, `together`, all of them do.
pub(super) fn execute(spec: PipelineSpec, timings: bool, together: bool) -> anyhow::Result<()> {
    if together {
        let settings = spec.settings.clone();
        return ranks::together(&settings, |share, ranks| {
            execute_on(spec, timings, share, ranks)
        });
    }
    execute_on(spec, timings, ranks::share()?, Together::default())
}

fn execute_on(
    mut spec: PipelineSpec,
    timings: bool,
    share: Share,
    together: Together,
) -> anyhow::Result<()> {
    let first = share.is_first() && together.is_first();
    (spec.settings.share, spec.settings.together) = (share, together.clone());
    let mut pipeline = Pipeline::new(spec)?;
    if pipeline.spec().settings.seed.is_none() && !share.is_split() {
        let seed = ranks::seed_of_first(&together, random_seed())?;
        if first {
            eprintln!("seed: {seed}");
        }
        pipeline.set_seed(seed);
    }
    ranks::agree(&together, &pipeline)?;
    let cancel = Cancel::default();
    let on_stop = cancel.clone();
    let runtime = signal::runtime(move || on_stop.cancel())?;
    let progress = Progress::new(timings, first);
    let result = runtime.block_on(pipeline.run(cancel, progress.observer()));
    progress.finish();
    Ok(result?)
}
