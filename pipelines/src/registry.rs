//! Stage kinds by name: built-in and custom stages are registered in the same way.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::de::DeserializeOwned;

use crate::error::{Diagnostic, PipelineError, did_you_mean};
use crate::setup::Setup;
use crate::spec::StageSpec;
use crate::stage::Stage;
use crate::stage_params::StageParams;
use crate::yaml::Node;

type Factory = Box<dyn Fn(&Setup) -> Result<MadeStage, PipelineError> + Send + Sync>;

/// A stage, and the parameters that it was made from.
pub(crate) struct MadeStage {
    pub(crate) stage: Box<dyn Stage>,
    pub(crate) params: Node,
}

struct StageKind {
    factory: Factory,
    schema: Schema,
}

/// The stage kinds that a pipeline can use.
#[derive(Default)]
pub struct Registry {
    kinds: BTreeMap<String, StageKind>,
}

impl Registry {
    /// A registry without stages.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Adds a stage kind: `name` is the value of `stage:` in YAML, `P` are its parameters.
    ///
    /// The factory runs while a pipeline is checked; it must not load weights. Its errors by
    /// [`Setup::refuse`] are reported with the line and column of the parameter.
    pub fn register<P, S, F>(&mut self, name: &str, factory: F)
    where
        P: DeserializeOwned + JsonSchema,
        S: Stage + 'static,
        F: Fn(P, &Setup) -> Result<S, PipelineError> + Send + Sync + 'static,
    {
        self.insert::<P>(
            name,
            Box::new(move |setup| {
                Ok(MadeStage {
                    stage: Box::new(factory(setup.stage.params.read()?, setup)?),
                    params: setup.stage.params.clone(),
                })
            }),
        );
    }

    /// Adds a stage kind under the name that its parameters know. The record of a run has their defaults filled in.
    pub fn add<P, S, F>(&mut self, factory: F)
    where
        P: StageParams + JsonSchema,
        S: Stage + 'static,
        F: Fn(P, &Setup) -> Result<S, PipelineError> + Send + Sync + 'static,
    {
        self.insert::<P>(
            P::STAGE,
            Box::new(move |setup| {
                let read: P = setup.stage.params.read()?;
                let params = Node::from_data(&read, "record")?;
                let stage = Box::new(factory(read, setup)?);
                Ok(MadeStage { stage, params })
            }),
        );
    }

    fn insert<P: JsonSchema>(&mut self, name: &str, factory: Factory) {
        let generator = SchemaSettings::draft07().into_generator();
        let schema = generator.into_root_schema_for::<P>();
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
    pub(crate) fn make(&self, setup: &Setup) -> Result<MadeStage, PipelineError> {
        let StageSpec {
            kind, kind_mark, ..
        } = setup.stage;
        let Some(found) = self.kinds.get(kind) else {
            let names: Vec<&str> = self.kinds.keys().map(String::as_str).collect();
            let hint = did_you_mean(kind, &names, "the stages");
            let message = format!("there is no stage `{kind}`");
            return Err(Diagnostic::new(kind_mark, message).hint(hint).into());
        };
        (found.factory)(setup)
    }
}
