//! What videos leave out to be faster.

use super::with;
use crate::{Place, says, stderr, tiny};

/// A place with a model whose scales are repeated, in the folder `m`.
fn repeated() -> Place {
    let place = Place::new();
    place.make_dir("m");
    tiny::make_video(&place.path("m"), |manifest| {
        manifest.transformer.depth = 3;
        manifest.layout.image_repeats = vec![1, 3];
        manifest.layout.clip_repeats = vec![1, 4];
    });
    place
}

#[test]
fn a_scale_that_converges_is_repeated_from_the_record() {
    let place = repeated();
    let video = |more: &str, name: &str| {
        let line = format!("video -m ./m -p 'a red house' -s 7 {more} -o {name}");
        stderr(&place.good(&line))
    };
    video("--no-metadata", "full.mp4");
    video("--no-metadata --converge 0", "never.mp4");
    assert!(place.read("full.mp4") == place.read("never.mp4"));
    // Bits of random weights repeat by half: never all of them.
    let said = video("--converge 1 --timings", "early.mp4");
    says(&said, &["(converged in 2 of 3 passes)"]);
    says(
        &said,
        &["(converged in 2 of 4 passes, 6 of 9 passes in all)"],
    );
    says(&place.stdout("metadata early.mp4"), &["converge: 1"]);
    place.good("run early.mp4 --trust --set output=again.mp4");
    assert!(place.read("early.mp4") == place.read("again.mp4"));
    video("--no-metadata --converge 1", "a.mp4");
    video("--no-metadata --repeats 2", "b.mp4");
    assert!(place.read("a.mp4") == place.read("b.mp4"));
}

#[test]
fn tokens_that_are_left_out_are_repeated_from_the_record() {
    let place = repeated();
    let video = |more: &str, name: &str| {
        let line = format!("video -m ./m -p 'a red house' -s 7 {more} -o {name}");
        stderr(&place.good(&line))
    };
    video("--no-metadata", "full.mp4");
    video("--no-metadata --keep-tokens 1", "all.mp4");
    assert!(place.read("full.mp4") == place.read("all.mp4"));
    let said = video("--keep-tokens 0.5 --timings", "some.mp4");
    says(&said, &["scale 2 (50 % of tokens)"]);
    says(&place.stdout("metadata some.mp4"), &["keep-tokens:"]);
    place.good("run some.mp4 --trust --set output=again.mp4");
    assert!(place.read("some.mp4") == place.read("again.mp4"));
    video("--no-metadata --keep-tokens 0.5", "a.mp4");
    assert!(place.read("full.mp4") != place.read("a.mp4"));
}

#[test]
fn shortcuts_that_are_refused() {
    let place = repeated();
    place.refuses_each(
        "video -m ./m -p x -s 1 -o x.mp4",
        "
        --converge 1.5             => --converge: `converge` should be from 0 to 1, but it is 1.5
        --converge -0.5            => `converge` should be from 0 to 1
        --converge nan             => use a number, such as
        --repeats 2 --converge 0.3 => there are at most 2
        --keep-tokens 0            => `keep-tokens` should be above 0 and at most 1, but it is 0
        --keep-tokens 0.5,0.5      => `keep-tokens` has 2 numbers, but of 2 scales at most 1
        --repeats 0                => `repeats` should be at least 1
        --guidance-until 3         => `guidance-until` should be from 0 to 2",
    );
    place.refuses(&with("-o x.mp4 --converge 0.3"), &["there are at most 2"]);
}

#[test]
fn each_way_to_be_faster_is_measured() {
    let place = repeated();
    let said = place.stdout("eval fast --model ./m --count 1 --converge 1 --json r.json");
    says(&said, &["guided  tokens     repeats  converge  passes"]);
    let report: serde_json::Value = serde_json::from_slice(&place.read("r.json")).unwrap();
    let settings = report["settings"].as_array().unwrap();
    let passes = |k: usize| settings[k]["passes"].as_f64().unwrap();
    assert_eq!((settings.len(), passes(0), passes(1)), (2, 9.0, 6.0));
    assert!(settings[0]["psnr"].is_null() && settings[1]["psnr"].as_f64().unwrap() < 60.0);
    place.refuses(
        "eval fast --model ./m --count 1 --data .",
        &["of images, not of videos", "hint: leave --data out"],
    );
}
