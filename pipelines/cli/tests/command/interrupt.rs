//! Ctrl-C in the middle of a batch.

#![cfg(unix)]

use std::process::Stdio;

use crate::{Place, says};

#[test]
fn finished_pictures_stay_and_no_part_of_one() {
    let place = Place::new();
    place.make_dir("out");
    let mut command = place.command("generate -m @tiny -p 'a cat' -b 100000 -s 1 -o out/");
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let rest = crate::signal_after(&mut child, libc::SIGINT, ".png", 3);
    says(&rest, &["error: stopped"]);
    let files = place.files("out");
    assert!((3..100_000).contains(&files.len()), "{} files", files.len());
    for name in files {
        assert!(name.ends_with(".png"), "{name}");
        image::open(place.path("out").join(&name)).unwrap();
    }
}
