//! `classes`: the source of a class-to-image pipeline.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use smart_default::SmartDefault;

use super::batch::one;
use crate::artifact::{Artifact, ArtifactType, Kind, Sample};
use crate::error::PipelineError;
use crate::setup::Setup;
use crate::stage::{Input, Output, Ports, Stage};
use crate::stage_params::StageParams;

/// Classes to generate images of.
#[skip_serializing_none]
#[derive(Debug, Clone, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassesParams {
    /// The model whose classes they are, instead of the pipeline's.
    pub model: Option<String>,
    /// Names or numbers.
    #[serde(default)]
    pub classes: Vec<ClassRef>,
    /// Number of images per class.
    #[default(1)]
    #[serde(default = "one::<u32>")]
    pub count: u32,
}

impl StageParams for ClassesParams {
    const STAGE: &'static str = "classes";
}

/// A class by number or by name.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ClassRef {
    /// Its number, from 0.
    Number(i64),
    /// Its name.
    Name(String),
}

pub(crate) struct Classes {
    name: String,
    params: ClassesParams,
    /// Number and name of each.
    classes: Vec<(usize, String)>,
    /// Number of classes of the model.
    known: usize,
}

impl Classes {
    pub(crate) fn new(params: ClassesParams, setup: &Setup) -> Result<Self, PipelineError> {
        if params.count == 0 {
            return Err(setup.refuse("count", "`count` should be at least 1").into());
        }
        if params.classes.is_empty() {
            return Err(setup.refuse("classes", "there is no class").into());
        }
        let model = setup.class_model(params.model.as_deref())?;
        let names = model.var()?.class_names();
        let find = |class: &ClassRef| {
            let wanted = match class {
                ClassRef::Number(number) => number.to_string(),
                ClassRef::Name(name) => name.clone(),
            };
            let found = names.find(&wanted);
            let found = found.map_err(|e| setup.refuse_error("classes", &e.into()))?;
            Ok((found, names.label(found)))
        };
        let classes: Result<Vec<_>, PipelineError> = params.classes.iter().map(find).collect();
        Ok(Self {
            name: setup.stage.name.clone(),
            classes: classes?,
            params,
            known: names.count(),
        })
    }
}

impl Stage for Classes {
    fn ports(&self) -> Ports {
        let output = ArtifactType::new(Kind::Class).constraint("numbers below", self.known);
        Ports::source(output)
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let first = input.context.settings.seed.unwrap_or_default();
        let count = self.params.count as usize;
        let total = self.classes.len() * count;
        for index in 0..total {
            let (class, name) = &self.classes[index / count];
            let seed = first.wrapping_add(index as u64);
            let alone = ClassesParams {
                classes: vec![ClassRef::Number(*class as i64)],
                count: 1,
                ..self.params.clone()
            };
            let sample = Sample {
                index,
                total,
                prompt: name.clone(),
                seed,
                pins: alone.pins(&self.name, seed)?,
                ..Sample::default()
            };
            out.sample(sample, Artifact::Class(*class))?;
        }
        Ok(())
    }
}
