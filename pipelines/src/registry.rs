//! Stage kinds by name: one door for the built-in stages and for everybody else's.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::de::DeserializeOwned;

use crate::bundle::{Blocks, Bundle, ClassBundle, Model, Places, StarBundle};
use crate::error::{Diagnostic, Mark, PipelineError, nearest};
use crate::node::Node;
use crate::spec::{Settings, StageSpec};
use crate::stage::Stage;

type Factory = Box<dyn Fn(&Setup) -> Result<Box<dyn Stage>, PipelineError> + Send + Sync>;

struct StageKind {
    factory: Factory,
    schema: Schema,
}

/// The stage kinds that a pipeline may use.
#[derive(Default)]
pub struct Registry {
    kinds: BTreeMap<String, StageKind>,
}

impl Registry {
    /// A registry that knows no stage.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The built-in stages.
    pub fn builtin() -> Self {
        let mut registry = Self::empty();
        crate::stages::register(&mut registry);
        registry
    }

    /// Adds a stage kind: `name` is what `stage:` says in YAML, `P` are its parameters.
    ///
    /// The factory runs while a pipeline is checked; it must not load weights. What it refuses by
    /// [`Setup::refuse`] is reported with the line and column of the parameter.
    pub fn register<P, S, F>(&mut self, name: &str, factory: F)
    where
        P: DeserializeOwned + JsonSchema,
        S: Stage + 'static,
        F: Fn(P, &Setup) -> Result<S, PipelineError> + Send + Sync + 'static,
    {
        let generator = SchemaSettings::draft07().into_generator();
        let schema = generator.into_root_schema_for::<P>();
        let factory: Factory = Box::new(move |setup| {
            let params: P = setup.stage.params.read()?;
            Ok(Box::new(factory(params, setup)?))
        });
        self.kinds
            .insert(name.to_owned(), StageKind { factory, schema });
    }

    /// The names of all kinds with the JSON Schema of their parameters.
    pub fn schemas(&self) -> impl Iterator<Item = (&str, &Schema)> {
        self.kinds
            .iter()
            .map(|(name, kind)| (name.as_str(), &kind.schema))
    }

    /// Makes the stage that a specification asks for.
    pub(crate) fn make(&self, setup: &Setup) -> Result<Box<dyn Stage>, PipelineError> {
        let StageSpec {
            kind, kind_mark, ..
        } = setup.stage;
        let Some(found) = self.kinds.get(kind) else {
            let names: Vec<&str> = self.kinds.keys().map(String::as_str).collect();
            let hint = match nearest(kind, names.iter().copied()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("the stages here: {}", names.join(", ")),
            };
            let message = format!("there is no stage `{kind}`");
            return Err(Diagnostic::new(kind_mark, message).hint(hint).into());
        };
        (found.factory)(setup)
    }
}

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
    pub(crate) fn blocks(&self, stream: bool) -> Result<Blocks, PipelineError> {
        match (stream, crate::device::blocks(self.settings.dtype)) {
            (false, held) => Ok(held),
            (true, Blocks::Int8) => {
                let message = "blocks that stay in their file keep its numbers, and dtype int8 makes others of them";
                let refused = self.refuse("stream", message);
                Err(refused.hint("take one of the two").into())
            }
            (true, _) => Ok(Blocks::Streamed),
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
            PipelineError::Refused { .. } => error,
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
