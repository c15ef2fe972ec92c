//! A pipeline as the user wrote it.

use std::path::Path;

use serde::Serialize;

use nextscale_files::bounded;

use crate::error::{Diagnostic, Mark, PipelineError};
use crate::media::image::find_pipeline;
use crate::settings::Settings;
use crate::stage_params::StageParams;
use crate::stages::prompt_text::decode;
use crate::untrusted::{self, Origin};
use crate::yaml::{Node, Value};

/// One wire: the stage that an input comes from.
#[derive(Debug, Clone)]
pub struct Wire {
    /// The input that it feeds; absent if the stage has only one.
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
    /// The value of `stage:`.
    pub kind: String,
    /// Where that was written.
    pub kind_mark: Mark,
    /// The value of `from:`.
    pub wires: Vec<Wire>,
    /// Every other key.
    pub params: Node,
}

/// A pipeline as it was written: settings and stages, not yet checked against each other.
#[derive(Debug, Clone)]
pub struct PipelineSpec {
    /// Every key except `stages`.
    pub settings: Settings,
    /// The stages in the order in which they were written.
    pub stages: Vec<StageSpec>,
    /// The whole text as a tree.
    pub root: Node,
}

impl PipelineSpec {
    /// Reads a pipeline from YAML; `origin` is what errors call the text.
    ///
    /// # Errors
    /// Text that is not YAML, an unknown key next to `stages`, a wrong type.
    pub fn from_yaml(text: &str, origin: &str) -> Result<Self, PipelineError> {
        Self::from_node(Node::parse(text, origin)?)
    }

    /// Reads a pipeline from a YAML file, or from an image or video that Nextscale made, without trust in the latter: see
    /// [`read_tree`].
    ///
    /// # Errors
    /// A file that cannot be read, and those of [`PipelineSpec::from_yaml`].
    pub fn from_file(path: &Path) -> Result<Self, PipelineError> {
        Self::from_node(read_tree(path, false)?)
    }

    /// A built-in pipeline, in the same language as everyone else's.
    ///
    /// # Errors
    /// None, unless the pipeline in this program is not YAML.
    pub fn preset(preset: Preset) -> Result<Node, PipelineError> {
        let (origin, text) = match preset {
            Preset::Prompts => ("preset default", include_str!("../presets/default.yaml")),
            Preset::Classes => ("preset classes", include_str!("../presets/classes.yaml")),
            Preset::Video => ("preset video", include_str!("../presets/video.yaml")),
        };
        Node::parse(text, origin)
    }

    /// Starts a pipeline in Rust; `settings` are the keys next to `stages`, for example
    /// `json!({ "seed": 7 })`.
    ///
    /// # Errors
    /// Settings that are not plain data.
    pub fn builder(settings: impl Serialize) -> Result<Builder, PipelineError> {
        let root = Node::from_data(&settings, "settings")?;
        Ok(Builder { root })
    }

    /// Reads a pipeline from a tree.
    ///
    /// # Errors
    /// An unknown key next to `stages`, a wrong type, a stage without `stage:`.
    pub fn from_node(root: Node) -> Result<Self, PipelineError> {
        let mut top = root.clone();
        if let Some(stages) = top.get_mut("stages") {
            stages.value = Value::Null;
        }
        let settings: Settings = top.read()?;
        let Some(stages) = root.get("stages") else {
            return Err(Diagnostic::new(&root.mark, "the key `stages` is missing").into());
        };
        if stages.entries().is_empty() {
            let message = "`stages` should be a mapping of names to stages";
            let hint = "for example `stages: { save: { stage: save, from: image } }`";
            return Err(Diagnostic::new(&stages.mark, message).hint(hint).into());
        }
        let (mut good, mut bad) = (vec![], vec![]);
        for entry in stages.entries() {
            match read_stage(&entry.key, &entry.mark, &entry.node) {
                Ok(stage) => good.push(stage),
                Err(diagnostic) => bad.push(diagnostic),
            }
        }
        if !bad.is_empty() {
            return Err(PipelineError::Invalid(bad));
        }
        Ok(Self {
            settings,
            stages: good,
            root,
        })
    }
}

/// A pipeline that is written in Rust, stage by stage.
#[derive(Debug, Clone)]
pub struct Builder {
    root: Node,
}

impl Builder {
    /// Adds a built-in stage by the type of its parameters. `from` is the value of `from:` in YAML, empty for a source.
    ///
    /// # Errors
    /// Parameters that are not plain data.
    pub fn add<P: StageParams>(
        self,
        name: &str,
        from: &str,
        params: P,
    ) -> Result<Self, PipelineError> {
        self.stage(name, P::STAGE, from, params)
    }

    /// Adds a stage by the name of its kind. `from` is the value of `from:` in YAML, empty for a source; mistakes in
    /// `params` are later reported as those of "stage NAME".
    ///
    /// # Errors
    /// Parameters that are not plain data.
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

/// The built-in pipelines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Images from prompts.
    Prompts,
    /// Images from classes.
    Classes,
    /// Videos from prompts.
    Video,
}

/// The tree of a pipeline in YAML or JSON that came from elsewhere, such as over a network: it may do no more than one inside an image or a
/// video ([`read_tree`]), and of files it may name only uploads ([`Uploads`](crate::uploads::Uploads)).
///
/// # Errors
/// Text that is not YAML, and a pipeline that asks for more than it may.
pub fn parse_untrusted(text: &str, origin: &str) -> Result<Node, PipelineError> {
    let mut root = Node::parse(text, origin)?;
    untrusted::restrict(&mut root, Origin::Network)?;
    Ok(root)
}

/// The tree of a YAML file, or of the pipeline inside an image or video. The latter is data of whoever made the file: unless
/// it is trusted, it may name no other computer, no variable of the environment, no model by its path, no file outside the
/// working folder and no place to write, and it replaces no file.
///
/// # Errors
/// A file that cannot be read or is not YAML, an image or video without a pipeline, a pipeline that asks for more than it may.
pub fn read_tree(path: &Path, is_trusted: bool) -> Result<Node, PipelineError> {
    let origin = path.display().to_string();
    if crate::media::carrier(path)?.is_some() {
        let text = find_pipeline(path, crate::media::tags(path)?)?;
        let mut root = Node::parse(&text, &origin)?;
        if !is_trusted {
            untrusted::restrict(&mut root, Origin::File)?;
        }
        return Ok(root);
    }
    let bytes = bounded::read(path, bounded::MOST_TEXT).map_err(PipelineError::io("read", path))?;
    if bytes.contains(&0) && !bytes.starts_with(&[0xff, 0xfe]) && !bytes.starts_with(&[0xfe, 0xff])
    {
        let message = "is neither YAML nor an image or video with a pipeline in it";
        return Err(PipelineError::content(path, message, None));
    }
    Node::parse(&decode(&bytes, &origin)?, &origin)
}

fn read_stage(name: &str, mark: &Mark, node: &Node) -> Result<StageSpec, Diagnostic> {
    if !matches!(node.value, Value::Map(_)) {
        let found = node.value.describe();
        let message = format!("the stage `{name}` should be a mapping, but it is {found}");
        return Err(Diagnostic::new(&node.mark, message).hint("write `stage: KIND` below its name"));
    }
    let mut params = node.clone();
    let Some(kind) = params.remove("stage") else {
        let message = format!("the stage `{name}` does not say what it is");
        return Err(Diagnostic::new(mark, message).hint("add `stage: KIND`"));
    };
    let Some(kind_name) = kind.as_str() else {
        let message = "`stage` should be the name of a stage kind";
        return Err(Diagnostic::new(&kind.mark, message));
    };
    let from = params.remove("from");
    Ok(StageSpec {
        name: name.to_owned(),
        mark: mark.clone(),
        kind: kind_name.to_owned(),
        kind_mark: kind.mark.clone(),
        wires: from.as_ref().map_or(Ok(vec![]), read_wires)?,
        params,
    })
}

fn read_wires(from: &Node) -> Result<Vec<Wire>, Diagnostic> {
    let wire = |port: Option<&str>, node: &Node| {
        let name = node.as_str().ok_or_else(|| {
            let found = node.value.describe();
            let message = format!("`from` should name a stage, but it is {found}");
            Diagnostic::new(&node.mark, message)
        })?;
        Ok(Wire {
            port: port.map(str::to_owned),
            from: name.to_owned(),
            mark: node.mark.clone(),
        })
    };
    match &from.value {
        Value::Map(entries) => entries
            .iter()
            .map(|e| wire(Some(&e.key), &e.node))
            .collect(),
        _ => Ok(vec![wire(None, from)?]),
    }
}
