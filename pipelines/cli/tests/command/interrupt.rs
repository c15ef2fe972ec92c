//! Ctrl-C in the middle of a batch.

#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::{Place, tiny};

#[test]
fn finished_pictures_stay_and_no_part_of_one() {
    let place = Place::new();
    place.make_dir("out");
    let model = tiny::model().to_str().unwrap();
    let args = [
        "generate", "-m", model, "-p", "a cat", "-b", "100000", "-s", "1", "-o", "out/",
    ];
    let mut child = place.command(&args).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let painted = lines
        .by_ref()
        .filter(|l| l.ends_with(".png"))
        .take(3)
        .count();
    assert_eq!(painted, 3, "three pictures before the signal");
    // SAFETY: the child runs, so its number is that of no other process.
    assert_eq!(
        unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) },
        0
    );
    let rest: Vec<String> = lines.collect();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{rest:?}");
    assert!(
        rest.iter().any(|l| l.contains("error: stopped")),
        "{rest:?}"
    );
    let files = place.files("out");
    assert!((3..100_000).contains(&files.len()), "{} files", files.len());
    for name in files {
        assert!(name.ends_with(".png"), "{name}");
        image::open(place.path("out").join(&name)).unwrap();
    }
}
