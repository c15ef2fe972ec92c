//! `nextscale metadata`.

use std::path::PathBuf;

use clap::Args;

use nextscale_models::ModelError;
use nextscale_pipelines::error::PipelineError;

/// Arguments of `nextscale metadata`.
#[derive(Debug, Args)]
pub(super) struct MetadataArgs {
    /// A PNG picture, a video or a GIF
    file: PathBuf,
}

pub(super) fn run(args: &MetadataArgs) -> anyhow::Result<()> {
    let path = &args.file;
    let texts = nextscale_pipelines::media::tags(path)?;
    if texts.is_empty() {
        let (message, hint) = ("carries no metadata".to_owned(), None);
        let path = path.clone();
        return Err(PipelineError::Model(ModelError::Content {
            path,
            message,
            hint,
        })
        .into());
    }
    let shown: Vec<String> = texts
        .iter()
        .map(|(key, text)| format!("{key}:\n{text}"))
        .collect();
    crate::output::print(&shown.join("\n\n"))
}
