//! `nextscale metadata`.

use std::path::PathBuf;

use clap::Args;

use nextscale_pipelines::error::PipelineError;

use crate::output::{self, escaped};

#[derive(Debug, Args)]
pub(crate) struct MetadataArgs {
    /// Image or video
    file: PathBuf,
}

pub(crate) fn run(args: &MetadataArgs) -> anyhow::Result<()> {
    let texts = nextscale_pipelines::media::tags(&args.file)?;
    if texts.is_empty() {
        return Err(PipelineError::content(&args.file, "contains no metadata", None).into());
    }
    let texts = texts
        .iter()
        .map(|(key, text)| format!("{}:\n{}", escaped(key), escaped(text)));
    output::print(&texts.collect::<Vec<_>>().join("\n\n"))
}
