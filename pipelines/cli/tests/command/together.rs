//! One image on several processes, which talk by MPI: the bytes of one process.

use std::process::{Command, Output};

use crate::{Place, stderr};

/// `nextscale` with these arguments on `count` processes.
fn ranks(place: &Place, count: usize, line: &str) -> Command {
    let mut command = Command::new("mpirun");
    command
        .args([
            "--allow-run-as-root",
            "--oversubscribe",
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

#[test]
fn processes_generate_an_image_together() {
    let place = Place::new();
    for (name, options) in [
        ("plain", "-p apple -p dog --seed 5"),
        // Two processes share the tokens of the only half.
        ("off", "-p apple -p dog --seed 5 --cfg-scale 1"),
        (
            "negative",
            "-p apple -p dog --seed 5 --negative-prompt red --batch-size 2",
        ),
    ] {
        place.make_dir(name);
        place.good(&format!(
            "generate {options} -o {name}/one-{{index}}.png --device cpu"
        ));
        for count in [2, 4] {
            let line = format!(
                "generate {options} --together -o {name}/of{count}-{{index}}.png --device cpu"
            );
            let output = run(ranks(&place, count, &line));
            assert!(output.status.success(), "{}", stderr(&output));
            for index in ["00000", "00001"] {
                let bytes = |of: &str| place.read(&format!("{name}/{of}-{index}.png"));
                assert!(
                    bytes(&format!("of{count}")) == bytes("one"),
                    "{name} of {count}"
                );
            }
        }
    }
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
            4,
            "generate -p apple --seed 1 --together --keep-tokens 0.5 -o a.png --device cpu",
            "only without shortcuts",
        ),
        (
            2,
            "generate -p apple --seed 1 --together -o a.png --device cpu,cpu",
            "have one device each: name one device",
        ),
        (
            2,
            "video -p apple --seed 1 --together -o a.mp4 --device cpu",
            "and no videos: leave out `--together`",
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
