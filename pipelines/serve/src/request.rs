//! What requests of every kind put into their pipelines.

use nextscale_pipelines::PipelineError;
use nextscale_pipelines::yaml::Node;
use serde::Serialize;

use crate::options::Options;

/// Sets a key of a pipeline.
pub(crate) fn set(
    root: &mut Node,
    path: &[&str],
    value: &impl Serialize,
) -> Result<(), PipelineError> {
    root.set(path, Node::from_data(value, "request")?)?;
    Ok(())
}

/// Fills in what the server was started with, where the pipeline does not say it.
pub(crate) fn fill(options: &Options, root: &mut Node) -> Result<(), PipelineError> {
    let first = options.models.first().map_or("", String::as_str);
    if root.get("model").is_none() {
        set(root, &["model"], &first)?;
    }
    if root.get("device").is_none() {
        set(root, &["device"], &options.device)?;
    }
    if root.get("dtype").is_none() {
        set(root, &["dtype"], &options.dtype)?;
    }
    match &options.models_dir {
        Some(folder) => set(root, &["models-dir"], &folder.display().to_string()),
        None => Ok(()),
    }
}
