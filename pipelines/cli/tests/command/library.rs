//! Pipelines of somebody else's stages: how items flow.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nextscale_pipelines::artifact::{Message, Sample};
use nextscale_pipelines::stage::{Cancel, Event, Input, Output, Ports, Stage};
use nextscale_pipelines::{
    Artifact, ArtifactType, Kind, Pipeline, PipelineError, PipelineSpec, Registry,
};
use schemars::JsonSchema;
use serde::Deserialize;

const NUMBER: Kind = Kind::Custom("a number");

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NumbersParams {
    count: usize,
}

/// A source of 0, 1, 2, ...
struct Numbers(usize, Arc<AtomicUsize>);

impl Stage for Numbers {
    fn ports(&self) -> Ports {
        Ports::source(NUMBER)
    }

    fn run(&mut self, _: &Input, out: &mut Output) -> Result<(), PipelineError> {
        for index in 0..self.0 {
            let sample = Arc::new(Sample {
                index,
                ..Sample::default()
            });
            let artifact = Artifact::Custom("a number", Arc::new(index));
            out.message(Message {
                sample,
                preview: None,
                artifact,
            })?;
            self.1.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AddParams {
    fail_at: Option<usize>,
}

/// Adds its two inputs.
struct Add {
    params: AddParams,
    sent: Arc<AtomicUsize>,
    /// The most that the source was ahead.
    ahead: Arc<AtomicUsize>,
}

fn number(artifact: &Artifact) -> usize {
    match artifact {
        Artifact::Custom(_, value) => *value.downcast_ref().unwrap(),
        other => panic!("{other:?}"),
    }
}

impl Stage for Add {
    fn ports(&self) -> Ports {
        let number = || ArtifactType::new(NUMBER);
        Ports {
            inputs: vec![("left", number()), ("right", number())],
            output: Some(number()),
        }
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        std::thread::sleep(std::time::Duration::from_millis(1));
        let ahead = self
            .sent
            .load(Ordering::SeqCst)
            .saturating_sub(input.sample.index);
        self.ahead.fetch_max(ahead, Ordering::SeqCst);
        if self.params.fail_at == Some(input.sample.index) {
            return Err(input.context.failed("as asked"));
        }
        let sum = number(&input.artifacts[0]) + number(&input.artifacts[1]);
        out.send(input, Artifact::Custom("a number", Arc::new(sum)))
    }
}

/// The two stages, which count what the source has sent and the most that it was ahead.
fn registry(sent: &Arc<AtomicUsize>, ahead: &Arc<AtomicUsize>) -> Registry {
    let mut registry = Registry::empty();
    let counter = sent.clone();
    registry.register("numbers", move |p: NumbersParams, _: &_| {
        Ok(Numbers(p.count, counter.clone()))
    });
    let (sent, ahead) = (sent.clone(), ahead.clone());
    registry.register("add", move |params: AddParams, _: &_| {
        let (sent, ahead) = (sent.clone(), ahead.clone());
        Ok(Add {
            params,
            sent,
            ahead,
        })
    });
    registry
}

struct Outcome {
    result: Result<(), PipelineError>,
    numbers: Vec<usize>,
    sent: usize,
    ahead: usize,
}

/// Runs a pipeline of numbers; stops it after so many results.
fn run(yaml: &str, stop_after: usize) -> Outcome {
    let (sent, ahead) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let registry = registry(&sent, &ahead);
    let spec = PipelineSpec::from_yaml(yaml, "n.yaml").unwrap();
    let cancel = Cancel::default();
    let numbers = Arc::new(Mutex::new(vec![]));
    let (into, stop) = (numbers.clone(), cancel.clone());
    let observer = Arc::new(move |event: Event| {
        if let Event::Output { message, .. } = event {
            let mut all = into.lock().unwrap();
            all.push(number(&message.artifact));
            if all.len() == stop_after {
                stop.cancel();
            }
        }
    });
    let pipeline = Pipeline::with(spec, &registry).unwrap_or_else(|e| panic!("{e}"));
    let result = pipeline.run_blocking(cancel, observer);
    let numbers = numbers.lock().unwrap().clone();
    let load = |n: &AtomicUsize| n.load(Ordering::SeqCst);
    Outcome {
        result,
        numbers,
        sent: load(&sent),
        ahead: load(&ahead),
    }
}

const DOUBLE: &str = "
stages:
  n: { stage: numbers, count: 100 }
  sum: { stage: add, from: { left: n, right: n } }
";

#[test]
fn items_flow_in_order_through_bounded_queues() {
    let outcome = run(DOUBLE, usize::MAX);
    outcome.result.unwrap();
    assert_eq!(outcome.numbers, (0..100).map(|n| 2 * n).collect::<Vec<_>>());
    assert!(
        (1..8).contains(&outcome.ahead),
        "the source was {} ahead",
        outcome.ahead
    );
}

#[test]
fn an_error_of_a_stage_stops_all_and_is_told() {
    let outcome = run(
        &DOUBLE.replace("from: {", "fail_at: 5, from: {"),
        usize::MAX,
    );
    let error = outcome.result.unwrap_err().to_string();
    assert_eq!(error, "the stage `sum` failed: as asked");
    assert_eq!(outcome.numbers.len(), 5);
    assert!(outcome.sent < 20, "{} sent", outcome.sent);
}

#[test]
fn inputs_of_different_lengths_are_an_error() {
    let yaml = DOUBLE
        .replace("right: n", "right: m")
        .replace("stages:", "stages:\n  m: { stage: numbers, count: 7 }");
    let outcome = run(&yaml, usize::MAX);
    let error = outcome.result.unwrap_err().to_string();
    assert!(
        error.ends_with("do not have the same number of items"),
        "{error}"
    );
    assert_eq!(outcome.numbers.len(), 7);
}

#[test]
fn a_stop_keeps_what_is_done() {
    let outcome = run(DOUBLE, 3);
    assert!(matches!(outcome.result, Err(PipelineError::Cancelled)));
    assert_eq!(outcome.numbers, [0, 2, 4]);
}

#[test]
fn a_stage_of_two_inputs_wants_to_know_which() {
    let yaml = DOUBLE.replace("{ left: n, right: n }", "n");
    let registry = registry(&Arc::default(), &Arc::default());
    let spec = PipelineSpec::from_yaml(&yaml, "n.yaml").unwrap();
    let error = Pipeline::with(spec, &registry).err().unwrap();
    assert!(
        error.to_string().contains("`sum` has 2 inputs: say which"),
        "{error}"
    );
    assert!(error.to_string().starts_with("n.yaml:4:28"), "{error}");
}
