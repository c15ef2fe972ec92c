//! A pipeline as the user wrote it.

use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, Visitor};
use serde::{Deserialize as DeriveDeserialize, Serialize};

use nextscale_models::ModelError;
use nextscale_models::device::{DeviceChoice, Dtype};

use crate::error::{Diagnostic, Mark, PipelineError};
use crate::yaml::{Node, SKIP, Value};

/// The settings of a pipeline: every key beside `stages`.
#[derive(Debug, Clone, PartialEq, DeriveDeserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The model: `default` for the one inside the program, a released one such as `infinity-2b` or `var-d16`, a model
    /// folder, or a checkpoint.
    #[serde(default = "default_model")]
    pub model: String,
    /// A folder in which the files of released models are looked for before everywhere else.
    #[serde(
        default,
        rename = "models-dir",
        skip_serializing_if = "Option::is_none"
    )]
    pub models_dir: Option<PathBuf>,
    /// Where to compute.
    #[serde(default)]
    pub device: DeviceChoice,
    /// Number type of the weights.
    #[serde(default)]
    pub dtype: Dtype,
    /// Seed of the first picture; each further one adds 1. Random if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// A file, a name with `{index}`, `{seed}` or `{prompt}`, a folder, or `-` for standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// A folder for the picture as it is after each scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
    /// Whether pictures carry their parameters.
    #[serde(default = "yes")]
    pub metadata: bool,
    /// Whether the text encoder stays in memory beside the transformer while there are prompts to come. Otherwise one
    /// of a gibibyte or more reads all prompts first and is gone before the transformer is loaded.
    #[serde(
        default,
        rename = "keep-loaded",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub keep_loaded: bool,
    /// The stages by name.
    #[serde(skip_serializing)]
    #[schemars(skip)]
    #[allow(dead_code)]
    stages: Skip,
}

fn default_model() -> String {
    "default".into()
}

fn yes() -> bool {
    true
}

/// Stands for a value that is read elsewhere.
#[derive(Debug, Clone, PartialEq)]
struct Skip;

impl<'de> Deserialize<'de> for Skip {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Unit;
        impl Visitor<'_> for Unit {
            type Value = Skip;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_unit<E>(self) -> Result<Skip, E> {
                Ok(Skip)
            }
        }
        deserializer.deserialize_newtype_struct(SKIP, Unit)
    }
}

/// One wire: the stage that a value comes from.
#[derive(Debug, Clone)]
pub struct Wire {
    /// The input that it goes to; absent if the stage has only one.
    pub port: Option<String>,
    /// Name of the stage that it comes from.
    pub from: String,
    /// Where it was written.
    pub mark: Mark,
}

/// One stage as it was written.
#[derive(Debug, Clone)]
pub struct StageSpec {
    /// Its name.
    pub name: String,
    /// Where the name was written.
    pub mark: Mark,
    /// What `stage:` says.
    pub kind: String,
    /// Where it says so.
    pub kind_mark: Mark,
    /// What `from:` says.
    pub wires: Vec<Wire>,
    /// Every other key.
    pub params: Node,
}

/// A pipeline as it was written: settings and stages, not yet checked against each other.
#[derive(Debug, Clone)]
pub struct PipelineSpec {
    /// Every key beside `stages`.
    pub settings: Settings,
    /// The stages in the order in which they were written.
    pub stages: Vec<StageSpec>,
    /// The whole text as a tree.
    pub root: Node,
}

impl PipelineSpec {
    /// Reads a pipeline from YAML; `origin` is the name that errors give the text.
    ///
    /// # Errors
    /// Text that is no YAML, an unknown key beside `stages`, a wrong type.
    pub fn from_yaml(text: &str, origin: &str) -> Result<Self, PipelineError> {
        Self::from_node(Node::parse(text, origin)?)
    }

    /// Reads a pipeline from a YAML file, or from a picture or video that Nextscale made.
    ///
    /// # Errors
    /// A file that cannot be read, and those of [`PipelineSpec::from_yaml`].
    pub fn from_file(path: &Path) -> Result<Self, PipelineError> {
        Self::from_node(read_tree(path)?)
    }

    /// A built-in pipeline by name: `default` from prompts, `classes` from classes, `video` for videos.
    pub fn preset(name: &str) -> Option<Node> {
        let (_, text) = PRESETS.iter().find(|(n, _)| *n == name)?;
        Node::parse(text, &format!("preset {name}")).ok()
    }

    /// Begins a pipeline in Rust; `settings` are the keys beside `stages`, for example
    /// `json!({ "seed": 7 })`.
    ///
    /// # Errors
    /// Settings that are no plain data.
    pub fn builder(settings: impl Serialize) -> Result<Builder, PipelineError> {
        let root = Node::from_data(&settings, "settings")?;
        Ok(Builder { root })
    }

    /// Reads a pipeline from a tree.
    ///
    /// # Errors
    /// An unknown key beside `stages`, a wrong type, a stage without `stage:`.
    pub fn from_node(root: Node) -> Result<Self, PipelineError> {
        let settings: Settings = root.read()?;
        let Some(stages) = root.get("stages") else {
            return Err(Diagnostic::new(&root.mark, "the key `stages` is missing").into());
        };
        if !matches!(stages.value, Value::Map(_)) || stages.entries().is_empty() {
            let message = "`stages` should be a mapping of names to stages";
            let hint = "for example `stages: { save: { stage: save, from: image } }`";
            return Err(Diagnostic::new(&stages.mark, message).hint(hint).into());
        }
        let (mut good, mut bad) = (vec![], vec![]);
        for entry in stages.entries() {
            match stage(&entry.key, &entry.mark, &entry.node) {
                Ok(stage) => good.push(stage),
                Err(diagnostic) => bad.push(diagnostic),
            }
        }
        match bad.is_empty() {
            true => Ok(Self {
                settings,
                stages: good,
                root,
            }),
            false => Err(PipelineError::Invalid(bad)),
        }
    }
}

/// A pipeline that is written in Rust.
#[derive(Debug, Clone)]
pub struct Builder {
    root: Node,
}

impl Builder {
    /// Adds a stage. `from` is what `from:` says in YAML, empty for a source; mistakes in `params`
    /// are later reported as those of "stage NAME".
    ///
    /// # Errors
    /// Parameters that are no plain data.
    pub fn stage(
        mut self,
        name: &str,
        kind: &str,
        from: &str,
        params: impl Serialize,
    ) -> Result<Self, PipelineError> {
        let origin = format!("stage {name}");
        let mut node = Node::from_data(&params, &origin)?;
        node.set(&["stage"], Node::from_data(&kind, &origin)?)?;
        if !from.is_empty() {
            node.set(&["from"], Node::from_data(&from, &origin)?)?;
        }
        self.root.set(&["stages", name], node)?;
        Ok(self)
    }

    /// The pipeline as it was written.
    ///
    /// # Errors
    /// Those of [`PipelineSpec::from_node`].
    pub fn finish(self) -> Result<PipelineSpec, PipelineError> {
        PipelineSpec::from_node(self.root)
    }
}

/// The built-in pipelines, in the language of everybody else's.
pub const PRESETS: &[(&str, &str)] = &[
    ("default", include_str!("../presets/default.yaml")),
    ("classes", include_str!("../presets/classes.yaml")),
    ("video", include_str!("../presets/video.yaml")),
];

/// The tree of a YAML file, or of the pipeline inside a picture or video.
///
/// # Errors
/// A file that cannot be read, that is no YAML, or a picture or video without a pipeline.
pub fn read_tree(path: &Path) -> Result<Node, PipelineError> {
    let origin = path.display().to_string();
    if crate::media::carrier(path)?.is_some() {
        let text = crate::media::image::find_pipeline(path, crate::media::tags(path)?)?;
        return Node::parse(&text, &origin);
    }
    let bytes = std::fs::read(path).map_err(PipelineError::io("read", path))?;
    let text = String::from_utf8(bytes).map_err(|_| {
        PipelineError::Model(ModelError::Content {
            path: path.to_owned(),
            message: "is neither YAML nor a picture or video with a pipeline in it".into(),
            hint: None,
        })
    })?;
    Node::parse(&text, &origin)
}

fn stage(name: &str, mark: &Mark, node: &Node) -> Result<StageSpec, Diagnostic> {
    if !matches!(node.value, Value::Map(_)) {
        let message = format!(
            "the stage `{name}` should be a mapping, but it is {}",
            node.value.describe()
        );
        return Err(Diagnostic::new(&node.mark, message).hint("write `stage: KIND` below its name"));
    }
    let mut params = node.clone();
    let Some(kind) = params.remove("stage") else {
        let message = format!("the stage `{name}` does not say what it is");
        return Err(Diagnostic::new(mark, message).hint("add `stage: KIND`"));
    };
    let Some(kind_name) = kind.as_str() else {
        return Err(Diagnostic::new(
            &kind.mark,
            "`stage` should be the name of a stage kind",
        ));
    };
    let wires = params
        .remove("from")
        .map_or(Ok(vec![]), |from| wires(&from))?;
    Ok(StageSpec {
        name: name.to_owned(),
        mark: mark.clone(),
        kind: kind_name.to_owned(),
        kind_mark: kind.mark.clone(),
        wires,
        params,
    })
}

fn wires(from: &Node) -> Result<Vec<Wire>, Diagnostic> {
    let one = |port: Option<&str>, node: &Node| {
        let mark = node.mark.clone();
        let name = node.as_str().ok_or_else(|| {
            let message = format!(
                "`from` should name a stage, but it is {}",
                node.value.describe()
            );
            Diagnostic::new(&mark, message)
        })?;
        Ok(Wire {
            port: port.map(str::to_owned),
            from: name.to_owned(),
            mark: mark.clone(),
        })
    };
    match &from.value {
        Value::Map(entries) => entries.iter().map(|e| one(Some(&e.key), &e.node)).collect(),
        _ => Ok(vec![one(None, from)?]),
    }
}
