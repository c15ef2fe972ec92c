//! Options of the command line, put into a pipeline.

use serde::Serialize;

use nextscale_pipelines::error::PipelineError;
use nextscale_pipelines::yaml::Node;

/// A pipeline that takes options. Each value remembers its option as its place, for error messages.
pub(crate) struct Settings<'a>(pub(crate) &'a mut Node);

impl Settings<'_> {
    /// Sets a key of the pipeline itself, if the option of the same name was given.
    pub(crate) fn pipeline(
        &mut self,
        key: &str,
        value: &Option<impl Serialize>,
    ) -> Result<(), PipelineError> {
        self.pipeline_as(&format!("--{key}"), key, value)
    }

    /// Sets a key of the pipeline itself, if the option was given.
    pub(crate) fn pipeline_as(
        &mut self,
        option: &str,
        key: &str,
        value: &Option<impl Serialize>,
    ) -> Result<(), PipelineError> {
        if let Some(value) = value {
            self.0.set(&[key], Node::from_data(value, option)?)?;
        }
        Ok(())
    }

    /// Sets a key of every stage of a kind, whatever the stage is called, if the option of the same name was given.
    pub(crate) fn stage(
        &mut self,
        kind: &str,
        key: &str,
        value: &Option<impl Serialize>,
    ) -> Result<(), PipelineError> {
        self.stage_as(kind, &format!("--{key}"), key, value)
    }

    /// Sets a key of every stage of a kind, whatever the stage is called, if the option was given.
    pub(crate) fn stage_as(
        &mut self,
        kind: &str,
        option: &str,
        key: &str,
        value: &Option<impl Serialize>,
    ) -> Result<(), PipelineError> {
        let Some(value) = value else {
            return Ok(());
        };
        let stages = self.0.get("stages").map(Node::entries).unwrap_or_default();
        let is_kind = |node: &Node| node.get("stage").and_then(Node::as_str) == Some(kind);
        let names = stages.iter().filter(|e| is_kind(&e.node));
        let names: Vec<String> = names.map(|e| e.key.clone()).collect();
        for name in names {
            let node = Node::from_data(value, option)?;
            self.0.set(&["stages", &name, key], node)?;
        }
        Ok(())
    }
}

/// A flag as the value of a key: `true`, or absent.
pub(crate) fn flag(given: bool) -> Option<bool> {
    given.then_some(true)
}
