//! `nextscale warm-up` where there is no card, its archives, and `--deterministic`.

use std::process::Output;

use super::{Place, says, stderr};

/// A place with a cache folder of its own, in which there are made-up kernels.
fn with_kernels() -> Place {
    let place = Place::new();
    std::fs::create_dir_all(place.path("cache/nextscale/kernels")).unwrap();
    place.write("cache/nextscale/kernels/card.db", "kernels");
    place.write("cache/nextscale/kernels/card.db-wal", "journal");
    place
}

fn run(place: &Place, line: &str, cache: &str) -> Output {
    let mut command = place.command(line);
    command.env("XDG_CACHE_HOME", place.path(cache));
    command.output().unwrap()
}

fn good(place: &Place, line: &str, cache: &str) -> String {
    let output = run(place, line, cache);
    assert!(output.status.success(), "{line}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(place: &Place, line: &str, cache: &str, parts: &[&str]) {
    let output = run(place, line, cache);
    assert_eq!(output.status.code(), Some(1), "{line}");
    says(&stderr(&output), parts);
}

#[test]
fn the_cpu_needs_none() {
    let place = Place::new();
    for model in [
        "@tiny",
        "@classes",
        "@video",
        "infinity-2b --random-weights",
    ] {
        let line = format!("warm-up --device cpu --model {model} --deterministic");
        let said = good(&place, &line, "cache");
        assert_eq!(
            said,
            "only a CUDA card needs a warm-up: nothing that is compiled elsewhere is kept\n"
        );
    }
    assert!(!place.path("cache").exists());
}

#[test]
fn what_cannot_be_warmed_up_is_told() {
    let place = Place::new();
    place.refuses_each(
        "warm-up --device cpu",
        "
        --model none => none
        --model infinity-3b --random-weights => no size `infinity-3b`
        --model @tiny -W 17 -H 16 => does not generate 17x16 | 16x16
        --model @tiny --aspect 1:1 --aspect 10:1 => does not generate that: the nearest that it generates is 24x16",
    );
    #[cfg(not(feature = "cuda"))]
    place.refuses("warm-up --device cuda", &["--device cuda is not possible"]);
    for wrong in [
        "-W 16",
        "--aspect wide",
        "--prompt-tokens 0",
        "--seconds x",
        "export",
    ] {
        let output = place.run(&format!("warm-up {wrong}"));
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn kernels_go_through_an_archive() {
    let place = with_kernels();
    let said = good(&place, "warm-up export k.tar", "cache");
    says(&said, &["k.tar", "2 files"]);
    let said = good(&place, "warm-up import k.tar", "other");
    says(&said, &["2 files in ", "other/nextscale/kernels"]);
    for name in ["card.db", "card.db-wal"] {
        let unpacked = place.read(&format!("other/nextscale/kernels/{name}"));
        let packed = place.read(&format!("cache/nextscale/kernels/{name}"));
        assert_eq!(unpacked, packed, "{name}");
    }
    assert_eq!(place.files("other/nextscale/kernels").len(), 2);
    assert_eq!(place.files("."), ["cache", "k.tar", "other"]);
}

#[test]
fn other_archives_are_refused() {
    let place = with_kernels();
    good(&place, "warm-up export k.tar", "cache");
    let empty = "there are no kernels in | nextscale warm-up --model";
    let empty: Vec<&str> = empty.split(" | ").collect();
    refused(&place, "warm-up export x.tar", "none", &empty);
    refused(
        &place,
        "warm-up import x.tar",
        "other",
        &["cannot read `x.tar`"],
    );
    place.write("x.tar", "not an archive");
    let none = "`x.tar` is no archive of kernels";
    refused(&place, "warm-up import x.tar", "other", &[none]);
    // The same archive of another program.
    let mut bytes = place.read("k.tar");
    let key = b"\"program\": \"";
    let at = bytes
        .windows(key.len())
        .position(|part| part == key)
        .unwrap()
        + key.len();
    bytes[at..at + 64].fill(b'0');
    std::fs::write(place.path("x.tar"), bytes).unwrap();
    let parts = [
        "`x.tar` was packed by another build of nextscale",
        "--force",
    ];
    refused(&place, "warm-up import x.tar", "other", &parts);
    assert_eq!(place.files("."), ["cache", "k.tar", "x.tar"]);
    let output = run(&place, "warm-up import x.tar --force", "other");
    assert!(output.status.success(), "{}", stderr(&output));
    says(
        &stderr(&output),
        &["warning: `x.tar` was packed by another build"],
    );
    assert_eq!(place.files("other/nextscale/kernels").len(), 2);
}

#[test]
fn deterministic_is_a_key_of_the_pipeline_and_changes_nothing_on_the_cpu() {
    let place = Place::new();
    let first = "generate -m @tiny -p 'a cat' -s 1 --device cpu --no-metadata";
    let yaml = place.stdout(&format!("{first} --deterministic --print-pipeline"));
    says(&yaml, &["\ndeterministic: true\n"]);
    place.write("p.yaml", &yaml.replace("deterministic: true\n", ""));
    let plain = place.make(first, "a.png");
    assert_eq!(
        place.make(&format!("{first} --deterministic"), "b.png"),
        plain
    );
    assert_eq!(place.make("run p.yaml --deterministic", "c.png"), plain);
    place.good("bench -m @tiny --rounds 1 --device cpu --deterministic");
}
