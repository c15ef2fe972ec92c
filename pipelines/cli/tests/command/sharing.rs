//! Pipelines of somebody else's stages, shared between processes and devices.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nextscale_pipelines::artifact::Sample;
use nextscale_pipelines::stage::{Cancel, Event, Input, Output, Ports, Stage};
use nextscale_pipelines::{Artifact, Kind, Pipeline, PipelineError, PipelineSpec, Registry, Share};
use schemars::JsonSchema;
use serde::Deserialize;

const NUMBER: Kind = Kind::Custom("a number");

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

/// A source of so many numbers.
struct Numbers(usize);

impl Stage for Numbers {
    fn ports(&self) -> Ports {
        Ports::source(NUMBER)
    }

    fn run(&mut self, _: &Input, out: &mut Output) -> Result<(), PipelineError> {
        for index in 0..self.0 {
            let total = self.0;
            let sample = Sample {
                index,
                total,
                ..Sample::default()
            };
            out.sample(sample, Artifact::Custom("a number", Arc::new(index)))?;
        }
        Ok(())
    }
}

/// Copies of the stage in the middle, each with a number that it got.
type Seen = Vec<(usize, usize)>;

/// What a copy of the stage in the middle does.
#[derive(Clone, Copy)]
enum Kindness {
    /// Takes so many milliseconds for each number.
    Takes(u64),
    /// Fails at this number.
    FailsAt(usize),
    /// Sends nothing before it has all, and says so or not.
    Keeps { says: bool },
}

struct Middle {
    copy: usize,
    kindness: Kindness,
    kept: Vec<usize>,
    seen: Arc<Mutex<Seen>>,
}

impl Stage for Middle {
    fn ports(&self) -> Ports {
        Ports::one("number", NUMBER, NUMBER)
    }

    fn gathers(&self) -> bool {
        matches!(self.kindness, Kindness::Keeps { says: true })
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let index = input.sample.index;
        self.seen.lock().unwrap().push((self.copy, index));
        match self.kindness {
            Kindness::Takes(milliseconds) => {
                std::thread::sleep(Duration::from_millis(milliseconds));
            }
            Kindness::FailsAt(at) if at == index => {
                return Err(input.context.failed("as asked"));
            }
            Kindness::FailsAt(_) => std::thread::sleep(Duration::from_millis(5)),
            Kindness::Keeps { .. } => {
                self.kept.push(index);
                return Ok(());
            }
        }
        out.send(input, input.artifacts[0].clone())
    }

    fn finish(&mut self, out: &mut Output) -> Result<(), PipelineError> {
        for index in self.kept.drain(..) {
            let sample = Sample {
                index,
                ..Sample::default()
            };
            out.sample(sample, Artifact::Custom("a number", Arc::new(index)))?;
        }
        Ok(())
    }
}

/// Runs so many numbers on a device for each kindness. Returns the numbers that came out, sorted, and for each number the device on
/// which it was.
fn run(
    numbers: usize,
    share: Share,
    copies: &[Kindness],
) -> (Result<(), PipelineError>, Vec<usize>, Seen) {
    let seen = Arc::new(Mutex::new(vec![]));
    let mut registry = Registry::empty();
    registry.register("numbers", move |_: Nothing, _: &_| Ok(Numbers(numbers)));
    let (made, all, into) = (AtomicUsize::new(0), copies.to_vec(), seen.clone());
    registry.register("middle", move |_: Nothing, _: &_| {
        let copy = made.fetch_add(1, Ordering::SeqCst);
        Ok(Middle {
            copy,
            kindness: all[copy],
            kept: vec![],
            seen: into.clone(),
        })
    });
    let device = vec!["cpu"; copies.len()].join(",");
    let yaml = format!(
        "device: {device}\nseed: 1\nstages: {{ n: {{ stage: numbers }}, m: {{ stage: middle, from: n }} }}"
    );
    let mut spec = PipelineSpec::from_yaml(&yaml, "n.yaml").unwrap();
    spec.settings.share = share;
    let came = Arc::new(Mutex::new(vec![]));
    let into = came.clone();
    let observer = Arc::new(move |event: Event| {
        if let Event::Output { message, .. } = event {
            into.lock().unwrap().push(message.sample.index);
        }
    });
    let pipeline = Pipeline::with(spec, &registry).unwrap_or_else(|e| panic!("{e}"));
    let result = pipeline.run_blocking(Cancel::default(), observer);
    let mut came = came.lock().unwrap().clone();
    came.sort_unstable();
    let seen = seen.lock().unwrap().clone();
    (result, came, seen)
}

/// How many numbers were on a device.
fn on(seen: &[(usize, usize)], device: usize) -> usize {
    seen.iter().filter(|(copy, _)| *copy == device).count()
}

#[test]
fn a_process_generates_its_share_of_any_source() {
    let of_two = Share::new(1, 3).unwrap();
    let (result, came, _) = run(10, of_two, &[Kindness::Takes(0)]);
    result.unwrap();
    assert_eq!(came, [1, 4, 7]);
}

#[test]
fn the_device_that_is_free_takes_the_next_sample() {
    let copies = [Kindness::Takes(60), Kindness::Takes(2)];
    let (result, came, seen) = run(20, Share::default(), &copies);
    result.unwrap();
    assert_eq!(came, (0..20).collect::<Vec<_>>());
    let (slow, fast) = (on(&seen, 0), on(&seen, 1));
    assert!(fast >= 14 && slow >= 1, "{slow} and {fast}");
}

#[test]
fn two_samples_go_to_two_devices() {
    let copies = [Kindness::Takes(20), Kindness::Takes(20)];
    let (result, _, seen) = run(2, Share::default(), &copies);
    result.unwrap();
    assert_eq!((on(&seen, 0), on(&seen, 1)), (1, 1));
}

#[test]
fn a_stage_that_keeps_its_inputs_gets_the_same_number_on_each_device() {
    for says in [true, false] {
        let copies = [Kindness::Keeps { says }; 3];
        let (result, came, seen) = run(30, Share::default(), &copies);
        result.unwrap();
        assert_eq!(came, (0..30).collect::<Vec<_>>());
        let counts = [0, 1, 2].map(|device| on(&seen, device));
        assert!(!says || counts == [10; 3], "{counts:?}");
    }
}

#[test]
fn an_error_on_one_device_stops_all() {
    let copies = [Kindness::FailsAt(6), Kindness::FailsAt(6)];
    let (result, came, _) = run(1000, Share::default(), &copies);
    let error = result.unwrap_err().to_string();
    assert_eq!(error, "the stage `m` failed: as asked");
    assert!(came.len() < 20, "{} came", came.len());
}
