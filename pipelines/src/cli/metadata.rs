//! `nextscale metadata`.

use std::path::PathBuf;

use clap::Args;

use crate::error::PipelineError;

/// Arguments of `nextscale metadata`.
#[derive(Debug, Args)]
pub(super) struct MetadataArgs {
    /// A PNG picture, a video or a GIF
    file: PathBuf,
}

pub(super) fn run(args: &MetadataArgs) -> anyhow::Result<()> {
    let path = &args.file;
    let texts = crate::media::tags(path)?;
    if texts.is_empty() {
        let (message, hint) = ("carries no metadata".to_owned(), None);
        let path = path.clone();
        return Err(PipelineError::Content {
            path,
            message,
            hint,
        }
        .into());
    }
    let shown: Vec<String> = texts
        .iter()
        .map(|(key, text)| format!("{key}:\n{text}"))
        .collect();
    super::small::print(&shown.join("\n\n"))
}
