//! `nextscale bench` on the tiny models and on the embedded model of videos.

use serde_json::Value;

use super::Place;

fn seconds(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// What a line measures of a model of videos: the table and the JSON.
fn video(line: &str) -> (String, Value) {
    let place = Place::new();
    let table = place.stdout(&format!("bench --device cpu {line} --json b.json"));
    let text = std::fs::read_to_string(place.path("b.json")).unwrap();
    (table, serde_json::from_str(&text).unwrap())
}

/// The seconds of all entries of all clips.
fn sum(report: &Value, entries: &str) -> f64 {
    let clips = report["clips"].as_array().unwrap();
    let entries = clips
        .iter()
        .flat_map(|clip| clip[entries].as_array().unwrap());
    entries.map(|entry| seconds(&entry["seconds"])).sum()
}

#[test]
fn every_part_is_timed() {
    let place = Place::new();
    let table = place.stdout("bench --model @tiny --batch 2 --rounds 2 --json b.json");
    let text = std::fs::read_to_string(place.path("b.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["batch"], 2);
    assert_eq!(report["rounds"], 2);
    let scales = report["scales"].as_array().unwrap();
    assert!(!scales.is_empty());
    let parts: f64 = scales.iter().map(|scale| seconds(&scale["seconds"])).sum();
    let fastest = seconds(&report["fastest"]);
    assert!(fastest > 0.0 && fastest <= seconds(&report["total"]));
    assert!(parts > 0.0 && seconds(&report["decode"]) > 0.0);
    let a_picture = seconds(&report["seconds_a_picture"]);
    assert!((a_picture * 2.0 - seconds(&report["total"])).abs() < 1e-9);
    let rows = table
        .lines()
        .filter(|line| line.starts_with("scale "))
        .count();
    assert_eq!(rows, scales.len());
}

/// 17 frames are an image and two clips of four latent frames, which are decoded two at a time.
#[test]
fn every_pass_and_every_chunk_of_a_video_is_timed() {
    let (table, report) = video("-m @video -W 24 -H 16 --frames 17 --rounds 1 --warmup 0");
    assert_eq!((&report["frames"], &report["fps"]), (&17.into(), &8.into()));
    let clips = report["clips"].as_array().unwrap();
    let grids = |clip: &Value| {
        let passes = clip["passes"].as_array().unwrap();
        passes
            .iter()
            .map(|pass| pass["grid"].to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(grids(&clips[0]), ["[1,1,1]", "[1,1,1]", "[1,2,3]"]);
    assert_eq!(grids(&clips[1]), ["[4,1,1]", "[4,2,3]"]);
    assert_eq!(grids(&clips[2]), grids(&clips[1]));
    let chunks = |clip: &Value| {
        let chunks = clip["chunks"].as_array().unwrap();
        chunks
            .iter()
            .map(|chunk| chunk["frames"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        clips.iter().map(chunks).collect::<Vec<_>>(),
        [vec![1], vec![4, 4], vec![4, 4]]
    );
    // One round: the parts are the whole, up to the round's own bookkeeping.
    let (passes, decode, total) = (
        sum(&report, "passes"),
        sum(&report, "chunks"),
        seconds(&report["total"]),
    );
    let parts = seconds(&report["text"]) + passes + decode;
    assert!(
        passes > 0.0 && decode > 0.0 && parts <= total && parts > 0.9 * total,
        "{report}"
    );
    assert!((decode - seconds(&report["decode"])).abs() < 1e-9);
    assert!((seconds(&report["frames_a_second"]) * total - 17.0).abs() < 1e-6);
    let tokens = 1.0 + 1.0 + 6.0 + 2.0 * (4.0 + 24.0);
    assert!((seconds(&report["tokens_a_second"]) * passes - tokens).abs() < 1e-6);
    assert!(report["first_frame"].is_null());
    for row in [
        "clip 1 scale 1 (1x1x1) x 2 ",
        "clip 3 scale 2 (4x2x3) ",
        "clip 3 chunk 2 (4 frames) ",
    ] {
        assert!(table.contains(row), "{row} is not in {table}");
    }
}

#[test]
fn the_embedded_video_model_is_timed_with_its_first_frame() {
    let (table, report) = video("-m sprites --frames 1 --rounds 1 --warmup 0");
    let first = seconds(&report["first_frame"]);
    assert!(first > 0.0 && first < seconds(&report["total"]));
    assert_eq!(report["clips"].as_array().unwrap().len(), 1);
    assert!(table.contains("first frame "), "{table}");
}

#[test]
fn what_cannot_be_timed_is_told() {
    let place = Place::new();
    assert_eq!(place.run("bench --rounds 0").status.code(), Some(2));
    let refused = "
        -m @tiny --seconds 1    => generates images | hint: a length is for models of videos
        -m @video --frames 7    => makes no video of 7 frames | the nearest is 9 frames
        -m @video --batch 2     => videos are generated one at a time
        -m @video -W 16 -H 17   => does not generate 16x17 pixels
        --random-weights -m infinitystar-interact => could continue | hint: measure infinitystar-8b-480p";
    place.refuses_each("bench --device cpu", refused);
}
