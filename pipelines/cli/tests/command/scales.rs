//! What acts scale by scale: lists of weights, guidance inside the network, and where painting starts.

use image::RgbImage;

use crate::{Place, pipeline, says, stderr, tiny};

/// `generate` with the tiny model and further arguments.
fn args(more: &str) -> String {
    format!("generate -m @tiny -o x.png {more}")
}

fn paint(place: &Place, more: &str) -> RgbImage {
    place.good(&args(&format!("-p 'a red house' -s 1 {more}")));
    place.image("x.png")
}

#[test]
fn weights_and_temperatures_scale_by_scale() {
    let place = Place::new();
    let plain = paint(&place, "--cfg-scale 3 --temperature 0.8");
    let lists = "--cfg-scale 3,3,3 --temperature '0.8, 0.8, 0.8'";
    assert_eq!(paint(&place, lists), plain);
    assert_ne!(paint(&place, "--cfg-scale 1,1,9 --temperature 0.8"), plain);
    let text = pipeline(tiny::model());
    let set = "    from: text\n    cfg-scale: [1, 1, 9]\n    temperature: [0.8, 0.8, 0.8]\n";
    place.write("p.yaml", &text.replacen("    from: text\n", set, 1));
    place.good("run p.yaml --set seed=1 --set output=y.png");
    let painted = paint(&place, "--cfg-scale 1,1,9 --temperature 0.8");
    assert_eq!(place.image("y.png"), painted);
    let shown = place.stdout("metadata y.png");
    says(
        &shown,
        &["CFG scale: \"1,1,9\", Temperature: \"0.8,0.8,0.8\""],
    );
    place.good("run y.png --trust --set output=again.png");
    assert_eq!(place.image("again.png"), place.image("y.png"));
}

#[test]
fn weights_that_are_refused() {
    let place = Place::new();
    place.refuses_each(
        "generate -m @tiny -o x.png -p x -s 1",
        "
        --cfg-scale 3,3          => --cfg-scale: `cfg-scale` has 2 numbers for 3 scales
        --cfg-scale 0            => `cfg-scale` should be above 0
        --cfg-scale 1,0,1        => `cfg-scale` should be above 0
        --cfg-scale -1           => `cfg-scale` should be above 0
        --cfg-scale nan          => `nan` is no number
        --cfg-scale 1,2,nan      => `nan` is no number
        --temperature 0,1,1      => for all scales or for none
        --temperature 1,1        => `temperature` has 2 numbers for 3 scales
        --temperature -1         => `temperature` should be from 0
        --cfg-insertion-layer 1  => should be 0 or from -1 to -1
        --cfg-insertion-layer -2 => should be 0 or from -1 to -1",
    );
    let text = pipeline(tiny::model());
    let set = "    from: text\n    cfg-scale: .nan\n";
    place.write("p.yaml", &text.replacen("    from: text\n", set, 1));
    place.refuses("validate p.yaml", &["p.yaml:12:16:", ".nan"]);
}

/// Each switch gives another image of the same size, and the record of the image repeats it.
#[test]
fn shortcuts_are_repeated_from_the_record() {
    let place = Place::new();
    let plain = paint(&place, "--cfg-scale 9");
    for (switches, record) in [
        ("--scales 2", "scales: 2"),
        ("--guidance-until 1", "guidance-until: 1"),
        ("--fast", "guidance-until: 2"),
        ("--fast --scales 2", "scales: 2"),
    ] {
        let image = paint(&place, &format!("--cfg-scale 9 {switches}"));
        assert_eq!(image.dimensions(), plain.dimensions());
        assert!(image != plain, "{switches}");
        says(&place.stdout("metadata x.png"), &[record]);
        place.good("run x.png --trust --set output=again.png");
        assert_eq!(place.image("again.png"), image, "{switches}");
    }
    // The tiny model has no blocks between the first and the last.
    let embedded = |more: &str| {
        place.good(&format!("generate -p apple -s 1 -o x.png {more}"));
        place.image("x.png")
    };
    assert!(embedded("") != embedded("--keep-tokens 0.5"));
    let until = paint(&place, "--cfg-scale 9 --guidance-until 1");
    assert_eq!(until, paint(&place, "--cfg-scale 9,1,1"));
    place.good(&args(
        "-p x -s 1 --cfg-scale 9 --fast --scales 2 --print-pipeline",
    ));
    let shown = place.good(&args("-p x -s 1 --cfg-scale 9 --fast --timings"));
    let shown = stderr(&shown);
    says(&shown, &["scale 3 (no guidance)"]);
}

#[test]
fn shortcuts_that_are_refused() {
    let place = Place::new();
    place.refuses_each(
        "generate -m @tiny -o x.png -p x -s 1",
        "
        --scales 0              => --scales: `scales` should be from 1 to 3, but it is 0
        --scales 4              => `scales` should be from 1 to 3
        --scales 2 --guidance-until 3 => `guidance-until` should be from 0 to 2
        --cfg-scale 1 --guidance-until 2 => which `cfg-scale` turns off
        --keep-tokens 0         => `keep-tokens` should be above 0
        --keep-tokens 1.5       => `keep-tokens` should be above 0 and at most 1
        --keep-tokens 0.5,0.5,0.5 => of 3 scales at most 2",
    );
}

/// A smaller cache gives another image, one with everything in it the same; the record needs no index.
#[test]
fn smaller_caches() {
    let place = Place::new();
    let embedded = |more: &str| place.make(&format!("generate -p apple -s 1 {more}"), "x.png");
    let pixels = |more: &str| {
        embedded(more);
        place.image("x.png")
    };
    let plain = pixels("");
    assert_eq!(pixels("--cache-budget 1"), plain);
    assert_ne!(pixels("--cache-budget 0.3"), plain);
    let table = place.stdout("calibrate --count 2 -o index.json");
    says(&table, &["layer  kind", "drafter", "refiner"]);
    let index: serde_json::Value = serde_json::from_slice(&place.read("index.json")).unwrap();
    assert_eq!(index["images"], 2);
    assert_eq!(index["layers"][0]["by_scale"].as_array().unwrap().len(), 3);
    for (switches, record) in [
        ("--cache-index index.json", "cache-budget: 0.1"),
        (
            "--cache-index index.json --cache-budget 0.5",
            "cache-budget: 0.5",
        ),
        ("--cache-budget 0.4 --keep-tokens 0.6", "cache-budget: 0.4"),
        (
            "--cache-budget 0.4 --fast --batch-size 2",
            "guidance-until: 3",
        ),
    ] {
        let image = embedded(switches);
        let shown = place.stdout("metadata x.png");
        says(&shown, &[record, "Cache budget"]);
        assert!(!shown.contains("index.json"), "{shown}");
        let has_drafters = shown.contains("drafters:");
        assert_eq!(has_drafters, switches.contains("index"), "{shown}");
        place.good("run x.png --overwrite --set output=again.png");
        assert_eq!(place.read("again.png"), image, "{switches}");
    }
    place.refuses(
        "generate -m @tiny -p x -o x.png --cache-index index.json",
        &["--cache-index: the cache index is of the model `"],
    );
    place.write("wrong.json", "{}");
    place.refuses_each(
        "generate -p x -o y.png",
        "
        --cache-budget 0         => --cache-budget: `cache-budget` should be above 0 and at most 1
        --cache-budget 1.5       => `cache-budget` should be above 0
        --cache-index wrong.json => wrong.json | is no cache index | `nextscale calibrate` writes one
        --cache-index none.json  => none.json",
    );
    let measured = place.stdout("eval fast --count 1 --cache-index index.json");
    says(&measured, &["cache", "10%"]);
}

#[test]
fn guidance_inside_the_network() {
    let place = Place::new();
    let logits = paint(&place, "--cfg-scale 9");
    assert_eq!(
        paint(&place, "--cfg-scale 9 --cfg-insertion-layer 0"),
        logits
    );
    let inside = "--cfg-scale 9 --cfg-insertion-layer -1";
    assert_ne!(paint(&place, inside), logits);
    let shown = place.stdout("metadata x.png");
    says(&shown, &["cfg-insertion-layer: -1"]);
}

#[test]
fn words_for_faces_and_long_prompts() {
    let place = Place::new();
    let people = |more: &str| {
        place.good(&args(&format!("-p 'a man' -s 1 {more}")));
        place.image("x.png")
    };
    assert_ne!(people("--positive-prompt"), people(""));
    assert_eq!(paint(&place, "--positive-prompt"), paint(&place, ""));
    let long = "house ".repeat(5000);
    let output = place.good(&args(&format!("-p '{long}' -s 1")));
    let said = stderr(&output);
    says(&said, &["tokens was cut to 16: its end has no effect"]);
}

#[test]
fn variations_share_their_first_scales() {
    let place = Place::new();
    place.good(&args("-p 'a red house' -s 1"));
    let first = place.image("x.png");
    let vary = |from: &str, seed: &str, out: &str| {
        let first = "generate --variation-of x.png -m @tiny --from-scale";
        place.good(&format!("{first} {from} -s {seed} -o {out}"));
        place.image(out)
    };
    assert_eq!(
        vary("3", "2", "a.png"),
        first,
        "all scales are the original's"
    );
    let other = vary("0", "2", "b.png");
    place.good("generate -m @tiny -p 'a red house' -s 2 -o c.png");
    assert_eq!(other, place.image("c.png"), "no scale is the original's");
    let half = vary("1", "2", "d.png");
    assert!(half != first && half != other);
    place.good("run d.png --trust --set output=again.png");
    assert_eq!(place.image("again.png"), half);
    // The preview of the first scale is the same picture, that of the second is not.
    let preview = |line: &str, folder: &str| {
        place.make_dir(folder);
        place.good(&format!("{line} -o e.png --preview {folder}"));
        [1, 2].map(|k| place.image(&format!("{folder}/00000-scale-0{k}.png")))
    };
    let vary = preview(
        "generate --variation-of x.png -m @tiny --from-scale 1 -s 2",
        "v",
    );
    let original = preview("generate -m @tiny -p 'a red house' -s 1", "o");
    assert_eq!(vary[0], original[0]);
    assert_ne!(vary[1], original[1]);
    // A variation of a variation shares at most what the first one shares with the original.
    let again = |from: &str| {
        place.run(&format!(
            "generate --variation-of d.png -m @tiny --from-scale {from} -s 2 -o f.png"
        ))
    };
    assert!(again("1").status.success());
    assert_eq!(place.image("f.png"), half);
    let said = stderr(&again("2"));
    says(&said, &["is itself a variation", "--from-scale 1"]);
}

#[test]
fn several_variations_at_once() {
    let place = Place::new();
    place.good(&args("-p 'a red house' -s 1"));
    place.good("generate --variation-of x.png -m @tiny -b 3 -s 5 -o {seed}.png");
    assert_eq!(place.files("."), ["5.png", "6.png", "7.png", "x.png"]);
    place.refuses_each(
        "generate --variation-of x.png -m @tiny",
        "
        --from-scale 4 -o y.png => `from-scale` is 4, but the image has 3 scales
        -p 'a dog'              => cannot be used with",
    );
}

#[test]
fn a_picture_gives_the_first_scales() {
    let place = Place::new();
    RgbImage::from_fn(40, 40, |x, y| image::Rgb([x as u8 * 6, y as u8 * 6, 90]))
        .save(place.path("a.png"))
        .unwrap();
    let start = |from: &str, seed: &str| {
        place.good(&args(&format!(
            "-p 'a cat' -s {seed} -i a.png --from-scale {from}"
        )));
        place.image("x.png")
    };
    assert_eq!(
        start("3", "1"),
        start("3", "2"),
        "nothing is left to be drawn"
    );
    assert_ne!(start("2", "1"), start("2", "2"));
    assert_ne!(start("2", "1"), start("0", "1"));
    place.good("run x.png --trust --set output=again.png");
    assert_eq!(place.image("again.png"), place.image("x.png"));
    std::fs::remove_file(place.path("x.png")).unwrap();
    place.refuses_each(
        "generate -m @tiny -o x.png -p 'a red house' -s 1",
        "
        -i a.png --from-scale 4 => `from-scale` is 4, but the image has 3 scales
        -i nowhere.png          => --init-image: cannot read `nowhere.png`
        --from-scale 1          => --from-scale needs an image",
    );
}

#[test]
fn classes_start_from_pictures_too() {
    let place = Place::new();
    let paint = |more: &str, out: &str| {
        place.good(&format!("generate -m @classes --class cat {more} -o {out}"));
        place.image(out)
    };
    let first = paint("-s 1", "a.png");
    let vary = |from: &str, out: &str| {
        place.good(&format!(
            "generate --variation-of a.png -m @classes --from-scale {from} -s 2 -o {out}"
        ));
        place.image(out)
    };
    assert_eq!(vary("3", "b.png"), first);
    assert_eq!(vary("0", "c.png"), paint("-s 2", "d.png"));
    let from =
        |seed: &str, from: &str| paint(&format!("-i a.png --from-scale {from} -s {seed}"), "e.png");
    assert_eq!(from("1", "3"), from("2", "3"));
    assert_ne!(from("1", "1"), from("2", "1"));
}
