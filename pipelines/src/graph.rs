//! A checked pipeline: every stage is made, every wire is typed, no weight is loaded.

use std::collections::HashMap;

use nextscale_models::parts::Parts;
use serde_json::json;

use crate::error::{Diagnostic, PipelineError, did_you_mean};
use crate::registry::{MadeStage, Registry};
use crate::setup::{Models, Setup};
use crate::spec::{PipelineSpec, StageSpec, Wire};
use crate::stage::Stage;
use crate::uploads::Uploads;
use crate::wiring::Wiring;
use crate::yaml::Node;

/// A stage with the stages that feed its inputs.
pub(crate) struct GraphNode {
    pub(crate) name: String,
    pub(crate) stage: Box<dyn Stage>,
    /// The same for each further device; none of a source.
    pub(crate) copies: Vec<Box<dyn Stage>>,
    params: Node,
    /// For each input, the index of the stage that feeds it.
    pub(crate) sources: Vec<usize>,
}

/// A checked pipeline, ready to run.
pub struct Pipeline {
    pub(crate) spec: PipelineSpec,
    pub(crate) stages: Vec<GraphNode>,
    pub(crate) parts: Parts,
    uploads: Option<Uploads>,
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
        let made = make_stages(&spec, registry, &models, &mut bad)?;
        if !bad.is_empty() {
            return Err(PipelineError::Invalid(bad));
        }
        let ports = made.iter().map(|made| made.stage.ports()).collect();
        let mut wiring = Wiring {
            spec: &spec,
            ports,
            by_name,
            bad,
        };
        let sources: Vec<_> = (0..made.len()).map(|i| wiring.sources(i)).collect();
        if !wiring.bad.is_empty() {
            return Err(PipelineError::Invalid(wiring.bad));
        }
        let nodes = spec.stages.iter().zip(made).zip(sources);
        let nodes = nodes.map(|((stage, made), sources)| GraphNode {
            name: stage.name.clone(),
            stage: made.stage,
            copies: vec![],
            params: made.params,
            sources,
        });
        let mut stages: Vec<GraphNode> = nodes.collect();
        add_copies(&mut stages, &spec, registry, &models)?;
        Ok(Self {
            spec,
            stages,
            parts: Parts::default(),
            uploads: None,
        })
    }

    /// The pipeline as it was written.
    pub fn spec(&self) -> &PipelineSpec {
        &self.spec
    }

    /// Takes the parts of its models from these, so that runs share them. By default a run loads its own and drops them.
    pub fn share(&mut self, parts: &Parts) {
        self.parts = parts.clone();
    }

    /// Records name files of this folder as uploads, and not by their paths.
    pub fn name_uploads(&mut self, uploads: &Uploads) {
        self.uploads = Some(uploads.clone());
    }

    /// Sets the seed of the first sample.
    pub fn set_seed(&mut self, seed: u64) {
        self.spec.settings.seed = Some(seed);
    }

    /// The pipeline with every default filled in. It leaves out where files are written to, and all devices but the first, so that
    /// the same image has the same record in every place.
    ///
    /// # Errors
    /// A stage whose parameters are not plain data.
    pub fn resolved(&self) -> Result<Node, PipelineError> {
        let mut settings = self.spec.settings.clone();
        (settings.output, settings.preview) = (None, None);
        settings.keep_loaded = false;
        settings.device = settings.device.first().into();
        let mut root = Node::from_data(&settings, "record")?;
        for (spec, node) in self.spec.stages.iter().zip(&self.stages) {
            let mut record = Node::from_data(&json!({ "stage": spec.kind }), "record")?;
            let written = self.spec.root.get("stages");
            if let Some(from) = written.and_then(|s| s.get(&spec.name)?.get("from")) {
                record.set(&["from"], from.clone())?;
            }
            let params = match node.stage.resolved() {
                Some(resolved) => Node::from_data(&resolved, "record")?,
                None => node.params.clone(),
            };
            for entry in params.entries() {
                record.set(&[&entry.key], entry.node.clone())?;
            }
            root.set(&["stages", &spec.name], record)?;
        }
        if let Some(uploads) = &self.uploads {
            uploads.name(&mut root);
        }
        Ok(root)
    }
}

/// Makes all stages; mistakes are added to `bad`, and any other error is returned.
fn make_stages(
    spec: &PipelineSpec,
    registry: &Registry,
    models: &Models,
    bad: &mut Vec<Diagnostic>,
) -> Result<Vec<MadeStage>, PipelineError> {
    let mut made = vec![];
    for stage in &spec.stages {
        match registry.make(&setup(stage, spec, models)) {
            Ok(stage) => made.push(stage),
            Err(PipelineError::Invalid(more)) => {
                // Several stages may report the same model.
                let new: Vec<_> = more.into_iter().filter(|d| !bad.contains(d)).collect();
                bad.extend(new);
            }
            Err(other) => return Err(other),
        }
    }
    Ok(made)
}

/// Makes all stages but the sources again for each further device.
fn add_copies(
    nodes: &mut [GraphNode],
    spec: &PipelineSpec,
    registry: &Registry,
    models: &Models,
) -> Result<(), PipelineError> {
    for _ in spec.settings.device.iter().skip(1) {
        for (node, stage) in nodes.iter_mut().zip(&spec.stages) {
            if !node.sources.is_empty() {
                let made = registry.make(&setup(stage, spec, models))?;
                node.copies.push(made.stage);
            }
        }
    }
    Ok(())
}

/// What a stage sees that is made.
fn setup<'a>(stage: &'a StageSpec, spec: &'a PipelineSpec, models: &'a Models) -> Setup<'a> {
    Setup {
        stage,
        stages: &spec.stages,
        settings: &spec.settings,
        root: &spec.root,
        models,
    }
}

/// Reports wires to stages that do not exist, and cycles.
fn check_names(spec: &PipelineSpec, by_name: &HashMap<&str, usize>, bad: &mut Vec<Diagnostic>) {
    let names: Vec<&str> = spec.stages.iter().map(|s| s.name.as_str()).collect();
    for StageSpec { name, wires, .. } in &spec.stages {
        for Wire { from, mark, .. } in wires {
            if !by_name.contains_key(from.as_str()) {
                let message = format!("`{name}` comes from `{from}`, but there is no such stage");
                let hint = did_you_mean(from, &names, "the stages");
                bad.push(Diagnostic::new(mark, message).hint(hint));
            }
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
