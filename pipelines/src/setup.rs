//! What a stage may look at while a pipeline is checked: its own keys, the settings, and models.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use nextscale_models::ModelError;
use nextscale_models::bundle::{BlockStorage, Bundle, ClassBundle, Model, Places, StarBundle};

use crate::error::{Diagnostic, Mark, PipelineError};
use crate::spec::{Settings, StageSpec};
use crate::yaml::Node;

/// Models that were opened while a pipeline is checked: each only once.
#[derive(Default)]
pub(crate) struct Models(RefCell<HashMap<String, Model>>);

/// What a factory may look at.
pub struct Setup<'a> {
    /// The stage as it was written.
    pub stage: &'a StageSpec,
    /// The settings of the pipeline.
    pub settings: &'a Settings,
    /// Where the settings were written.
    pub(crate) root: &'a Node,
    pub(crate) models: &'a Models,
}

impl Setup<'_> {
    /// Where a parameter was written; the stage's name if it was not written at all.
    pub fn mark(&self, key: &str) -> &Mark {
        let own = self.stage.params.get(key).or_else(|| self.root.get(key));
        own.map_or(&self.stage.mark, |node| &node.mark)
    }

    /// An error at a parameter.
    pub fn refuse(&self, key: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.mark(key), message)
    }

    /// How the transformer of a stage holds its blocks, which stay in their file with `stream`.
    pub(crate) fn blocks(&self, stream: bool) -> Result<BlockStorage, PipelineError> {
        match (
            stream,
            nextscale_models::device::blocks(self.settings.dtype),
        ) {
            (false, held) => Ok(held),
            (true, BlockStorage::Int8) => {
                let message = "blocks that stay in their file keep its numbers, and dtype int8 makes others of them";
                let refused = self.refuse("stream", message);
                Err(refused.hint("take one of the two").into())
            }
            (true, _) => Ok(BlockStorage::Streamed),
        }
    }

    /// The stages of a kind in the whole pipeline: name, keys, and whether this stage feeds them.
    pub(crate) fn others(&self, kind: &str) -> Vec<(&str, &Node, bool)> {
        let stages = self
            .root
            .get("stages")
            .map(Node::entries)
            .unwrap_or_default();
        let says = |node: &Node| node.get("stage").and_then(Node::as_str) == Some(kind);
        let own = self.stage.name.as_str();
        let fed = |node: &Node| {
            let from = node.get("from");
            let mapped = from.into_iter().flat_map(Node::entries);
            let mut names = mapped.map(|entry| &entry.node).chain(from);
            names.any(|name| name.as_str() == Some(own))
        };
        let found = stages.iter().filter(|entry| says(&entry.node));
        found
            .map(|entry| (entry.key.as_str(), &entry.node, fed(&entry.node)))
            .collect()
    }

    /// Opens a model: reads its description and the headers of its weights, not the weights.
    ///
    /// # Errors
    /// No such model, or one whose parts do not fit, at the place of the key `model`.
    pub fn model(&self, model: Option<&str>) -> Result<Model, PipelineError> {
        let name = model.unwrap_or(&self.settings.model);
        if let Some(model) = self.models.0.borrow().get(name) {
            return Ok(model.clone());
        }
        let places = Places::new(self.settings.models_dir.as_deref());
        let model = Model::open_in(name, &places).map_err(|error| match error {
            ModelError::Refused { .. } => PipelineError::from(error),
            _ => {
                let hint = error.hint().map(str::to_owned);
                let mut diagnostic = self.refuse("model", error.to_string());
                diagnostic.hint = hint;
                diagnostic.into()
            }
        })?;
        let mut models = self.models.0.borrow_mut();
        models.insert(name.to_owned(), model.clone());
        Ok(model)
    }

    /// Opens a model that paints prompts.
    ///
    /// # Errors
    /// As [`Setup::model`], and a model of another kind.
    pub fn text_model(&self, model: Option<&str>) -> Result<Arc<Bundle>, PipelineError> {
        match self.model(model)? {
            Model::Text(bundle) => Ok(bundle),
            Model::Class(bundle) => {
                let message = format!("the model `{}` paints classes, not prompts", bundle.name());
                let hint =
                    "ask for a class: --class NAME, or the stages `classes` and `class-to-image`";
                Err(self.refuse("model", message).hint(hint).into())
            }
            Model::Video(bundle) => Err(self.only_videos(&bundle)),
        }
    }

    /// Opens a model that makes videos.
    ///
    /// # Errors
    /// As [`Setup::model`], and a model of another kind.
    pub fn video_model(&self, model: Option<&str>) -> Result<Arc<StarBundle>, PipelineError> {
        let model = self.model(model)?;
        match model {
            Model::Video(bundle) => Ok(bundle),
            Model::Text(_) | Model::Class(_) => {
                let message = format!("the model `{}` paints pictures, not videos", model.name());
                let hint = "name a video model, such as sprites or infinitystar-8b-480p, or use `nextscale generate`";
                Err(self.refuse("model", message).hint(hint).into())
            }
        }
    }

    /// Opens a model that paints pictures, of prompts or classes.
    ///
    /// # Errors
    /// As [`Setup::model`], and a model of videos.
    pub fn picture_model(&self, model: Option<&str>) -> Result<Model, PipelineError> {
        match self.model(model)? {
            Model::Video(bundle) => Err(self.only_videos(&bundle)),
            model => Ok(model),
        }
    }

    fn only_videos(&self, bundle: &StarBundle) -> PipelineError {
        let message = format!("the model `{}` makes videos, not pictures", bundle.name());
        let hint = "use `nextscale video`, with `--seconds 0` for a picture";
        self.refuse("model", message).hint(hint).into()
    }

    /// Opens a model that paints classes.
    ///
    /// # Errors
    /// As [`Setup::model`], and a model of another kind.
    pub fn class_model(&self, model: Option<&str>) -> Result<Arc<ClassBundle>, PipelineError> {
        match self.model(model)? {
            Model::Class(bundle) => Ok(bundle),
            Model::Video(bundle) => Err(self.only_videos(&bundle)),
            Model::Text(bundle) => {
                let message = format!("the model `{}` paints prompts, not classes", bundle.name());
                let hint = "name a class-conditional model, such as var-d16, or ask for a prompt";
                Err(self.refuse("model", message).hint(hint).into())
            }
        }
    }
}
