//! Which output feeds which input, and whether they fit.

use std::collections::HashMap;

use crate::artifact::{ArtifactType, Kind};
use crate::error::{Diagnostic, did_you_mean};
use crate::spec::{PipelineSpec, StageSpec, Wire};
use crate::stage::Ports;

/// The check of the wires against the ports of the stages.
pub(crate) struct Wiring<'a> {
    pub(crate) spec: &'a PipelineSpec,
    /// By stage.
    pub(crate) ports: Vec<Ports>,
    pub(crate) by_name: HashMap<&'a str, usize>,
    pub(crate) bad: Vec<Diagnostic>,
}

impl Wiring<'_> {
    /// For each input of a stage, the index of the stage that feeds it; what does not fit is reported.
    pub(crate) fn sources(&mut self, index: usize) -> Vec<usize> {
        let stage = &self.spec.stages[index];
        let inputs = self.ports[index].inputs.clone();
        self.check_ports(stage, &inputs);
        let mut sources = vec![];
        for (name, wanted) in &inputs {
            let fits = |w: &&Wire| w.port.as_deref().is_none_or(|p| p == *name);
            let Some(wire) = stage.wires.iter().find(fits) else {
                let (name, kind) = (&stage.name, wanted.kind);
                let message = format!("`{name}` needs {kind} but nothing feeds it");
                let hint = format!("add `from: NAME`{}", self.outputs_of_kind(kind));
                let missing = Diagnostic::new(&stage.mark, message).hint(hint);
                self.bad.push(missing);
                continue;
            };
            // A wire to a stage that does not exist is reported already.
            let Some(&source) = self.by_name.get(wire.from.as_str()) else {
                continue;
            };
            let output = self.ports[source].output.as_ref();
            match self.mismatch(stage, wire, wanted, output) {
                Some(diagnostic) => self.bad.push(diagnostic),
                None => sources.push(source),
            }
        }
        sources
    }

    /// Reports wires to inputs that the stage does not have.
    fn check_ports(&mut self, stage: &StageSpec, inputs: &[(&'static str, ArtifactType)]) {
        let name = &stage.name;
        let inputs: Vec<&str> = inputs.iter().map(|(name, _)| *name).collect();
        for wire in &stage.wires {
            let (message, hint) = match wire.port.as_deref() {
                _ if inputs.is_empty() => (
                    format!("`{name}` is a source: it takes nothing `from` another stage"),
                    "leave out `from`".to_owned(),
                ),
                Some(port) if !inputs.contains(&port) => (
                    format!("`{name}` has no input `{port}`"),
                    did_you_mean(port, &inputs, "the inputs"),
                ),
                None if inputs.len() > 1 => (
                    format!("`{name}` has {} inputs: say which", inputs.len()),
                    format!("`from:` with one line for each of: {}", inputs.join(", ")),
                ),
                _ => continue,
            };
            self.bad
                .push(Diagnostic::new(&wire.mark, message).hint(hint));
        }
    }

    fn mismatch(
        &self,
        stage: &StageSpec,
        wire: &Wire,
        wanted: &ArtifactType,
        output: Option<&ArtifactType>,
    ) -> Option<Diagnostic> {
        let (name, from, kind) = (&stage.name, &wire.from, wanted.kind);
        let message = match output {
            None => format!("`{name}` needs {kind}, but nothing comes out of `{from}`"),
            Some(output) if output.kind != kind => {
                format!("`{name}` needs {kind}, but `{from}` gives {}", output.kind)
            }
            Some(output) => {
                // A constraint that only one end states is not compared.
                let clash = wanted
                    .constraints
                    .iter()
                    .find_map(|(constraint, expected)| {
                        let mut stated = output.constraints.iter();
                        let (_, found) = stated.find(|(name, _)| name == constraint)?;
                        (found != expected).then_some((constraint, expected, found))
                    });
                let (constraint, expected, found) = clash?;
                let message = format!(
                    "`{name}` and `{from}` do not belong together: `{name}` needs {kind} with {constraint} {expected}, `{from}` gives {found}"
                );
                let hint = "use the tokenizer, the text encoder and the transformer of one model";
                return Some(Diagnostic::new(&wire.mark, message).hint(hint));
            }
        };
        let outputs = self.outputs_of_kind(kind);
        let hint = format!("`from` should name another stage{outputs}");
        Some(Diagnostic::new(&wire.mark, message).hint(hint))
    }

    /// The stages whose output is of a kind, in words.
    fn outputs_of_kind(&self, kind: Kind) -> String {
        let of_kind = |p: &Ports| p.output.as_ref().is_some_and(|o| o.kind == kind);
        let stages = self.spec.stages.iter().zip(&self.ports);
        let names: Vec<String> = stages
            .filter(|(_, ports)| of_kind(ports))
            .map(|(stage, _)| format!("`{}`", stage.name))
            .collect();
        if names.is_empty() {
            format!(" (no stage gives {kind})")
        } else {
            format!(" ({kind} comes from {})", names.join(" or "))
        }
    }
}
