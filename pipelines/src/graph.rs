//! A checked pipeline: every stage made, every wire typed, no weight loaded.

use std::collections::HashMap;

use serde_json::json;

use crate::artifact::{ArtifactType, Kind};
use crate::error::{Diagnostic, PipelineError, did_you_mean};
use crate::registry::Registry;
use crate::setup::{Models, Setup};
use crate::spec::{PipelineSpec, StageSpec, Wire};
use crate::stage::{Ports, Stage};
use crate::yaml::Node;

/// A stage with the stages that its inputs come from.
pub(crate) struct GraphNode {
    pub(crate) name: String,
    pub(crate) stage: Box<dyn Stage>,
    /// For each input, the index of the stage that feeds it.
    pub(crate) sources: Vec<usize>,
}

/// A pipeline that was checked and can run.
pub struct Pipeline {
    pub(crate) spec: PipelineSpec,
    pub(crate) stages: Vec<GraphNode>,
}

impl Pipeline {
    /// Checks a pipeline with the built-in stages.
    ///
    /// # Errors
    /// All mistakes found, each with its place.
    pub fn new(spec: PipelineSpec) -> Result<Self, PipelineError> {
        Self::with(spec, &Registry::builtin())
    }

    /// Checks a pipeline with the stages of a registry: names, keys, types, wires and files.
    ///
    /// # Errors
    /// All mistakes found, each with its place.
    pub fn with(spec: PipelineSpec, registry: &Registry) -> Result<Self, PipelineError> {
        let mut bad = vec![];
        let by_name = spec.stages.iter().enumerate();
        let by_name: HashMap<&str, usize> = by_name.map(|(i, s)| (s.name.as_str(), i)).collect();
        check_names(&spec, &by_name, &mut bad);
        let models = Models::default();
        let (mut made, mut told) = (vec![], vec![]);
        for stage in &spec.stages {
            let (settings, root, models) = (&spec.settings, &spec.root, &models);
            match registry.make(&Setup {
                stage,
                settings,
                root,
                models,
            }) {
                Ok(stage) => made.push(stage),
                Err(PipelineError::Invalid(more)) => {
                    // Several stages may stumble over the same model.
                    bad.extend(more.into_iter().filter(|d| !told.contains(d)));
                    told = bad.clone();
                }
                Err(other) => return Err(other),
            }
        }
        if !bad.is_empty() {
            return Err(PipelineError::Invalid(bad));
        }
        let ports: Vec<Ports> = made.iter().map(|s| s.ports()).collect();
        let mut sources = vec![];
        for (stage, own) in spec.stages.iter().zip(&ports) {
            sources.push(connect(stage, own, &spec, &ports, &by_name, &mut bad));
        }
        if !bad.is_empty() {
            return Err(PipelineError::Invalid(bad));
        }
        let stages = spec.stages.iter().zip(made).zip(sources);
        let stages = stages
            .map(|((spec, stage), sources)| GraphNode {
                name: spec.name.clone(),
                stage,
                sources,
            })
            .collect();
        Ok(Self { spec, stages })
    }

    /// The pipeline as it was written.
    pub fn spec(&self) -> &PipelineSpec {
        &self.spec
    }

    /// Sets the seed of the first image.
    pub fn set_seed(&mut self, seed: u64) {
        self.spec.settings.seed = Some(seed);
    }

    /// The pipeline with every default filled in; without the places where results go, so that the
    /// same picture has the same record wherever it was written to.
    ///
    /// # Errors
    /// A stage whose parameters are no plain data.
    pub fn resolved(&self) -> Result<Node, PipelineError> {
        let mut settings = self.spec.settings.clone();
        (settings.output, settings.preview) = (None, None);
        settings.keep_loaded = false;
        let mut root = Node::from_data(&settings, "record")?;
        for (spec, node) in self.spec.stages.iter().zip(&self.stages) {
            let mut record = Node::from_data(&json!({ "stage": spec.kind }), "record")?;
            let written = self.spec.root.get("stages");
            if let Some(from) = written.and_then(|s| s.get(&spec.name)?.get("from")) {
                put(&mut record, &["from"], from.clone())?;
            }
            let resolved = node.stage.resolved();
            let params = if resolved.is_null() {
                spec.params.clone()
            } else {
                Node::from_data(&resolved, "record")?
            };
            for entry in params.entries() {
                put(&mut record, &[&entry.key], entry.node.clone())?;
            }
            put(&mut root, &["stages", &spec.name], record)?;
        }
        Ok(root)
    }
}

fn put(root: &mut Node, path: &[&str], new: Node) -> Result<(), PipelineError> {
    root.set(path, new).map_err(Into::into)
}

/// Reports wires to stages that do not exist, and cycles.
fn check_names(spec: &PipelineSpec, by_name: &HashMap<&str, usize>, bad: &mut Vec<Diagnostic>) {
    let names: Vec<&str> = spec.stages.iter().map(|s| s.name.as_str()).collect();
    for (stage, wire) in spec
        .stages
        .iter()
        .flat_map(|s| s.wires.iter().map(move |w| (s, w)))
    {
        if !by_name.contains_key(wire.from.as_str()) {
            let message = format!(
                "`{}` comes from `{}`, but there is no such stage",
                stage.name, wire.from
            );
            let hint = did_you_mean(&wire.from, &names, "the stages");
            bad.push(Diagnostic::new(&wire.mark, message).hint(hint));
        }
    }
    let mut done = vec![false; spec.stages.len()];
    for start in 0..spec.stages.len() {
        let mut path = vec![];
        if let Some((wire, cycle)) = find_cycle(spec, by_name, start, &mut path, &mut done) {
            let round: Vec<&str> = cycle.iter().map(|&i| names[i]).collect();
            let message = format!(
                "the stages feed each other in a circle: {}",
                round.join(" <- ")
            );
            let hint = "one of them has to come from a stage outside the circle";
            bad.push(Diagnostic::new(&wire.mark, message).hint(hint));
            return;
        }
    }
}

/// Follows the wires from `at` against the flow; a stage met twice on one path closes a circle.
fn find_cycle<'a>(
    spec: &'a PipelineSpec,
    by_name: &HashMap<&str, usize>,
    at: usize,
    path: &mut Vec<usize>,
    done: &mut [bool],
) -> Option<(&'a Wire, Vec<usize>)> {
    if done[at] {
        return None;
    }
    path.push(at);
    for wire in &spec.stages[at].wires {
        let Some(&next) = by_name.get(wire.from.as_str()) else {
            continue;
        };
        if let Some(first) = path.iter().position(|&i| i == next) {
            let mut cycle = path[first..].to_vec();
            cycle.push(next);
            return Some((wire, cycle));
        }
        let found = find_cycle(spec, by_name, next, path, done);
        if found.is_some() {
            return found;
        }
    }
    path.pop();
    done[at] = true;
    None
}

/// For each input of a stage the stage that feeds it; what does not fit is reported.
fn connect(
    stage: &StageSpec,
    own: &Ports,
    spec: &PipelineSpec,
    ports: &[Ports],
    by_name: &HashMap<&str, usize>,
    bad: &mut Vec<Diagnostic>,
) -> Vec<usize> {
    let inputs: Vec<&str> = own.inputs.iter().map(|(name, _)| *name).collect();
    for wire in &stage.wires {
        let known = wire.port.as_deref().is_none_or(|p| inputs.contains(&p));
        if inputs.is_empty() {
            let message = format!(
                "`{}` is a source: it takes nothing `from` another stage",
                stage.name
            );
            bad.push(Diagnostic::new(&wire.mark, message).hint("leave out `from`"));
        } else if !known {
            let port = wire.port.as_deref().unwrap_or_default();
            let message = format!("`{}` has no input `{port}`", stage.name);
            let hint = did_you_mean(port, &inputs, "the inputs");
            bad.push(Diagnostic::new(&wire.mark, message).hint(hint));
        } else if wire.port.is_none() && inputs.len() > 1 {
            let message = format!("`{}` has {} inputs: say which", stage.name, inputs.len());
            let hint = format!("`from:` with one line for each of: {}", inputs.join(", "));
            bad.push(Diagnostic::new(&wire.mark, message).hint(hint));
        }
    }
    let mut sources = vec![];
    for (name, wanted) in &own.inputs {
        let fits = |w: &&Wire| w.port.as_deref().is_none_or(|p| p == *name);
        let Some(wire) = stage.wires.iter().find(fits) else {
            let message = format!(
                "`{}` needs {} but nothing feeds it",
                stage.name, wanted.kind
            );
            let hint = format!("add `from: NAME`{}", offers(spec, ports, wanted.kind));
            bad.push(Diagnostic::new(&stage.mark, message).hint(hint));
            continue;
        };
        let Some(&source) = by_name.get(wire.from.as_str()) else {
            continue;
        };
        match mismatch(stage, wire, wanted, ports[source].output.as_ref()) {
            Some(d) if d.hint.is_none() => {
                let hint = format!(
                    "`from` should name another stage{}",
                    offers(spec, ports, wanted.kind)
                );
                bad.push(d.hint(hint));
            }
            Some(d) => bad.push(d),
            None => sources.push(source),
        }
    }
    sources
}

fn mismatch(
    stage: &StageSpec,
    wire: &Wire,
    wanted: &ArtifactType,
    given: Option<&ArtifactType>,
) -> Option<Diagnostic> {
    let (name, from) = (&stage.name, &wire.from);
    let Some(given) = given else {
        let message = format!(
            "`{name}` needs {}, but nothing comes out of `{from}`",
            wanted.kind
        );
        return Some(Diagnostic::new(&wire.mark, message));
    };
    if given.kind != wanted.kind {
        let message = format!(
            "`{name}` needs {}, but `{from}` gives {}",
            wanted.kind, given.kind
        );
        return Some(Diagnostic::new(&wire.mark, message));
    }
    let (fact, here, there) = wanted.mismatch(given)?;
    let message = format!(
        "`{name}` and `{from}` do not belong together: `{name}` needs {} with {fact} {here}, `{from}` gives {there}",
        wanted.kind
    );
    let hint = "use the tokenizer, the text encoder and the transformer of one model";
    Some(Diagnostic::new(&wire.mark, message).hint(hint))
}

fn offers(spec: &PipelineSpec, ports: &[Ports], kind: Kind) -> String {
    let gives = |p: &Ports| p.output.as_ref().is_some_and(|o| o.kind == kind);
    let names = spec.stages.iter().zip(ports).filter(|(_, p)| gives(p));
    let names: Vec<String> = names.map(|(s, _)| format!("`{}`", s.name)).collect();
    match names.is_empty() {
        true => format!(" (no stage gives {kind})"),
        false => format!(" ({kind} comes from {})", names.join(" or ")),
    }
}
