//! One image or video on several processes, which talk by MPI: the bytes of one process.

use std::process::{Command, Output};

use crate::{Place, stderr};

/// `nextscale` with these arguments on `count` processes.
fn ranks(place: &Place, count: usize, line: &str) -> Command {
    let mut command = Command::new("mpirun");
    command
        .args([
            "--allow-run-as-root",
            "--oversubscribe",
            // Bound to a core, the encoder of videos writes another number of threads into its files.
            "--bind-to",
            "none",
            "-n",
            &count.to_string(),
        ])
        .arg(env!("CARGO_BIN_EXE_nextscale"))
        .args(line.split_whitespace())
        .current_dir(place.folder.path());
    command
}

fn run(mut command: Command) -> Output {
    command.output().expect("mpirun is installed")
}

/// Compares the files of so many processes with those of one.
#[track_caller]
fn as_alone(place: &Place, counts: &[usize], line: &str, files: &[&str]) {
    let name = |line: &str| line.replace(|c: char| !c.is_ascii_alphanumeric(), "");
    let run_in = |folder: String, count: Option<usize>| {
        let folder = format!("{}-{folder}", name(line));
        place.make_dir(&folder);
        let line = line.replace("OUT", &folder);
        match count {
            None => {
                place.good(&line);
            }
            Some(count) => {
                let output = run(ranks(place, count, &format!("{line} --together")));
                assert!(output.status.success(), "{line}: {}", stderr(&output));
            }
        }
        files
            .iter()
            .map(|file| place.read(&format!("{folder}/{file}")))
            .collect::<Vec<_>>()
    };
    let alone = run_in("alone".to_owned(), None);
    for &count in counts {
        let together = run_in(format!("of-{count}"), Some(count));
        assert!(together == alone, "{line} of {count}");
    }
}

const PNGS: &str = "--seed 5 --device cpu -o OUT/{index}.png";
const TWO: [&str; 2] = ["00000.png", "00001.png"];

#[test]
fn processes_generate_an_image_together() {
    let place = Place::new();
    let line = format!("generate -p apple -p dog {PNGS}");
    as_alone(&place, &[2, 4], &line, &TWO);
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/fashion-mnist");
    let line = format!("generate -m {model} --class sneaker --class bag {PNGS}");
    as_alone(&place, &[2, 4], &line, &TWO);
}

#[test]
fn processes_share_every_kind_of_image() {
    let place = Place::new();
    for options in [
        // Two processes share the tokens of the only half.
        "--cfg-scale 1",
        "--negative-prompt red --batch-size 2",
        "--keep-tokens 0.5 --guidance-until 3",
        "--cache-budget 0.5 --scales 3",
        "--fast",
    ] {
        let line = format!("generate -p apple -p dog {options} {PNGS}");
        as_alone(&place, &[2], &line, &TWO);
    }
    place.good("generate -p apple --seed 1 -o apple.png --device cpu");
    let edit = "edit -i apple.png --box 8,8,40,40 -p dog --seed 2 --device cpu -o OUT/dog.png";
    as_alone(&place, &[2], edit, &["dog.png"]);
}

/// The first frame is an image of another model, which all processes need.
#[test]
fn processes_generate_a_video_together() {
    let place = Place::new();
    let line = "video -p apple --seed 5 --device cpu -o OUT/apple.mp4";
    as_alone(&place, &[2, 4], line, &["apple.mp4"]);
}

/// Without a seed, all have that of the first.
#[test]
fn processes_have_one_seed_and_one_pipeline() {
    let place = Place::new();
    let output = run(ranks(
        &place,
        2,
        "generate -p apple --together -o apple.png --device cpu",
    ));
    assert!(output.status.success(), "{}", stderr(&output));
    let told = stderr(&output);
    assert_eq!(told.matches("seed: ").count(), 1, "{told}");
    let seed: u64 = told
        .lines()
        .find_map(|line| line.strip_prefix("seed: "))
        .unwrap()
        .parse()
        .unwrap();
    place.good(&format!(
        "generate -p apple --seed {seed} -o alone.png --device cpu"
    ));
    assert!(place.read("apple.png") == place.read("alone.png"));

    let mut command = ranks(&place, 1, "generate -p apple --seed 1 --together -o a.png");
    command
        .args([":", "-n", "1"])
        .arg(env!("CARGO_BIN_EXE_nextscale"));
    command.args("generate -p dog --seed 1 --together -o a.png".split(' '));
    let output = run(command);
    assert!(!output.status.success());
    let expected = "of the pipeline differs: rank 0 has \"apple\", rank 1 has \"dog\"";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
}

#[test]
fn what_processes_cannot_do_together_is_refused() {
    let place = Place::new();
    for (count, line, expected) in [
        (
            3,
            "generate -p apple --seed 1 --together -o a.png --device cpu",
            "3 processes cannot share the 4 heads of `default` evenly",
        ),
        (
            6,
            "video -p apple --seed 1 --together -o a.mp4 --device cpu",
            "3 processes cannot share the 2 heads of `sprites` evenly",
        ),
        (
            4,
            "generate -p apple --seed 1 --together --keep-tokens 0.5 -o a.png --device cpu",
            "only without shortcuts",
        ),
        (
            2,
            "generate -p apple --seed 1 --together -o a.png --device cpu,cpu",
            "have one device each: name one device",
        ),
    ] {
        let output = run(ranks(&place, count, line));
        assert!(!output.status.success(), "{line}");
        assert!(
            stderr(&output).contains(expected),
            "{line}: {}",
            stderr(&output)
        );
    }
    let output = place
        .command("generate -p apple --together -o a.png")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(
        told.contains("--together is for several processes: start them with mpirun"),
        "{told}"
    );
    assert!(!place.path("a.png").exists());
}
