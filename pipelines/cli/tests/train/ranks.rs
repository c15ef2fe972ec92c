//! One run on several processes, which talk by MPI.

use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fine_tune::place;
use crate::{Workplace, numbers};

const RUN: &str = "\
kind: fine_tune
from: default
data: data
seed: 3
batch: 1
train:
  accumulate: 4
  budget: { steps: 20 }
  learning_rate: { peak: 1.0e-4, decay: constant }
  average_decay: 0
  log_every: 1
";

const TRAIN: &str = "train transformer run.yaml --device cpu --out";

/// `nextscale` with these arguments on `count` processes.
fn ranks(place: &Workplace, count: usize, arguments: &str) -> Command {
    let mut command = Command::new("mpirun");
    command
        .args(["--allow-run-as-root", "--oversubscribe", "-n"])
        .arg(count.to_string())
        .arg(env!("CARGO_BIN_EXE_nextscale"))
        .args(arguments.split_whitespace())
        .current_dir(place.path())
        .stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn succeed(mut command: Command) -> String {
    let output = command.output().expect("mpirun is installed");
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

#[track_caller]
fn near(ours: &[Value], theirs: &[Value]) {
    for key in ["loss", "gradient_norm"] {
        let pairs = numbers(ours, key).into_iter().zip(numbers(theirs, key));
        pairs.for_each(|(a, b)| assert!((a - b).abs() <= 1e-6 * b.abs(), "{key}: {a} {b}"));
    }
}

#[test]
fn ranks_train_as_one_process_does() {
    let place = place();
    place.write("run.yaml", RUN);
    place.succeed(&format!("{TRAIN} one"));
    let one = place.log("one");
    assert_eq!(one.len(), 20);

    let told = succeed(ranks(&place, 2, &format!("{TRAIN} two")));
    // The first alone reports.
    assert_eq!(told.matches("finished at step 20").count(), 1, "{told}");
    assert_eq!(place.log("two").len(), 20);
    near(&place.log("two"), &one);

    // With a part of the moments each, and other ranks at the end than at the beginning.
    place.write("run.yaml", &(RUN.to_owned() + "  shard_optimizer: true\n"));
    let half = format!("{TRAIN} four --max-steps 10");
    succeed(ranks(&place, 4, &half));
    assert_eq!(place.log("four").len(), 10);
    succeed(ranks(&place, 2, &format!("{TRAIN} four")));
    assert_eq!(place.log("four").len(), 20);
    near(&place.log("four"), &one);

    for run in ["one", "two", "four"] {
        place.succeed(&format!("train export {run} --out {run}.safetensors"));
    }
    let file = |name: &str| nextscale_weights::WeightFile::open(&place.path().join(name)).unwrap();
    let values = |file: &nextscale_weights::WeightFile, name: &str| -> Vec<f32> {
        file.read(name).unwrap().iter().collect()
    };
    let one = file("one.safetensors");
    for run in ["two", "four"] {
        let ours = file(&format!("{run}.safetensors"));
        for name in one.names() {
            let (ours, one) = (values(&ours, name), values(&one, name));
            let far = relative_error(&ours, &one);
            assert!(far <= 1e-6, "{run}, {name}: {far}");
            // No single weight is off by more than a tenth of what one step moves it.
            let pairs = ours.iter().zip(&one);
            let far = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(far <= 1e-5, "{run}, {name}: {far}");
        }
    }
}

/// The norm of the differences, as a share of the norm of the second.
fn relative_error(ours: &[f32], theirs: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let pairs = ours.iter().zip(theirs);
    let off: f64 = pairs
        .map(|(&a, &b)| square(f64::from(a) - f64::from(b)))
        .sum();
    let all: f64 = theirs.iter().map(|&b| square(f64::from(b))).sum();
    (off / all.max(f64::MIN_POSITIVE)).sqrt()
}

#[test]
fn a_killed_rank_ends_all_and_the_run_goes_on() {
    let place = place();
    place.write("run.yaml", RUN);
    place.succeed(&format!("{TRAIN} whole"));
    place.write("run.yaml", &(RUN.to_owned() + "  checkpoint_minutes: 0\n"));
    let mut command = ranks(&place, 2, &format!("{TRAIN} killed"));
    let all = command
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let logged =
        || std::fs::read_to_string(place.path().join("killed/log.jsonl")).unwrap_or_default();
    let started = Instant::now();
    while logged().lines().count() < 5 {
        assert!(started.elapsed() < Duration::from_secs(120), "{}", logged());
        sleep(Duration::from_millis(20));
    }
    let children = Command::new("pgrep")
        .args(["-P", &all.id().to_string()])
        .output()
        .unwrap();
    let children = String::from_utf8(children.stdout).unwrap();
    let last = children.lines().last().expect("two processes");
    assert!(
        Command::new("kill")
            .args(["-9", last])
            .status()
            .unwrap()
            .success()
    );
    let ended = all.wait_with_output().unwrap();
    assert!(!ended.status.success());
    let told = text(&ended);
    assert!(told.contains("process rank 1"), "{told}");
    let steps = logged().lines().count();
    assert!(steps < 20, "{steps} steps before the kill");

    succeed(ranks(&place, 2, &format!("{TRAIN} killed")));
    assert_eq!(place.log("killed").len(), 20);
    near(&place.log("killed"), &place.log("whole"));
}

#[test]
fn ranks_that_differ_are_refused() {
    let place = place();
    place.write("run.yaml", RUN);
    place.write("other.yaml", &RUN.replace("1.0e-4", "2.0e-4"));
    let mut command = ranks(&place, 1, &format!("{TRAIN} run"));
    command
        .args([":", "-n", "1"])
        .arg(env!("CARGO_BIN_EXE_nextscale"))
        .args("train transformer other.yaml --device cpu --out run".split(' '));
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let expected = "`train.learning_rate.peak` of the configuration differs: rank 0 has 0.0001, rank 1 has 0.0002; start all processes \
                    with the same program, files and options";
    assert!(text(&output).contains(expected), "{}", text(&output));

    let output = ranks(&place, 3, &format!("{TRAIN} run")).output().unwrap();
    assert!(!output.status.success());
    let expected = "a step has 4 batches (`parallel` times `accumulate`), which 3 processes cannot share evenly";
    assert!(text(&output).contains(expected), "{}", text(&output));
    assert!(!place.path().join("run").exists());

    // Started by something else than MPI.
    let mut command = place.command(&format!("{TRAIN} run"));
    let output = command
        .env("RANK", "0")
        .env("WORLD_SIZE", "2")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let expected = "torchrun says 2 processes, but MPI connects 1";
    assert!(text(&output).contains(expected), "{}", text(&output));
}
