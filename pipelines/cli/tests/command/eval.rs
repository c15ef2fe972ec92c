//! `nextscale eval` on the tiny model and a tiny data set.

use crate::{Place, says};

/// Writes a data set of 20 pictures of 16 pixels, half of them held out.
fn data(place: &Place) {
    let (size, count) = (16usize, 20usize);
    place.make_dir("icons");
    let manifest = serde_json::json!({
        "size": size, "count": count, "held_out": count / 2, "styles": {}, "recipe": "", "files": {}, "packages": [],
    });
    let mut index = String::new();
    let (mut images, mut alpha) = (Vec::new(), Vec::new());
    for id in 0..count {
        let entry = serde_json::json!({
            "id": id, "name": format!("house {id}"), "style": "3d", "synonyms": [], "category": "Objects",
            "flip": true, "held_out": id % 2 == 0, "plain": id % 2 == 1,
        });
        index += &format!("{entry}\n");
        images.extend((0..size * size * 3).map(|at| ((at * (id + 3)) % 251) as u8));
        alpha.extend(vec![255u8; size * size]);
    }
    place.write("icons/manifest.json", &manifest.to_string());
    place.write("icons/index.jsonl", &index);
    std::fs::write(place.path("icons/images.bin"), images).unwrap();
    std::fs::write(place.path("icons/alpha.bin"), alpha).unwrap();
}

fn json(place: &Place, name: &str) -> serde_json::Value {
    serde_json::from_slice(&place.read(name)).unwrap()
}

#[test]
fn recall_gives_a_table_a_sheet_and_the_same_result_again() {
    let place = Place::new();
    data(&place);
    let run = |json: &str, batch: &str| {
        let first = "eval recall --model @tiny --data icons --device cpu --seen 6 --held-out 4";
        place.good(&format!(
            "{first} --json {json} --sheet sheet.png --batch {batch}"
        ))
    };
    let text = String::from_utf8(run("a.json", "4").stdout).unwrap();
    says(&text, &["held out", "features"]);
    run("b.json", "16 --deterministic");
    let (a, b) = (json(&place, "a.json"), json(&place, "b.json"));
    assert_eq!(a, b, "the result depends on the size of a batch");
    assert_eq!(a["lists"][0]["prompts"].as_array().unwrap().len(), 6);
    assert_eq!(a["lists"][1]["candidates"], 10);
    assert_eq!(a["lists"][1]["chance"], 0.5);
    let sheet = image::open(place.path("sheet.png")).unwrap();
    assert_eq!(sheet.width(), 16 * 20 + 4);
}

#[test]
fn edits_are_compared_with_what_they_should_be() {
    let place = Place::new();
    data(&place);
    let run = |json: &str, batch: &str| {
        let first = "eval edits --model @instruct --data icons --device cpu --count 2";
        place.stdout(&format!(
            "{first} --json {json} --sheet sheet.png --batch {batch}"
        ))
    };
    let text = run("a.json", "4");
    says(&text, &["2 images", "of the auto-encoder"]);
    run("b.json", "16");
    let (a, b) = (json(&place, "a.json"), json(&place, "b.json"));
    assert_eq!(a, b, "the result depends on the size of a batch");
    let kinds = a["kinds"].as_array().unwrap();
    let edits = |kind: &serde_json::Value| kind[1]["edits"].as_u64().unwrap();
    assert_eq!(kinds.iter().map(edits).sum::<u64>(), a["all"]["edits"]);
    // The images are opaque, and in one style.
    let names: Vec<&str> = kinds.iter().filter_map(|kind| kind[0].as_str()).collect();
    let expected = [
        "colour", "turn", "mirror", "smaller", "bigger", "grey", "replace",
    ];
    assert_eq!(names, expected);
    assert_eq!(a["candidates"], 14.0);
    let sheet = image::open(place.path("sheet.png")).unwrap();
    assert_eq!(sheet.width(), 16 * 20 + 4);
    let refused = "eval edits --model @tiny --data icons --device cpu";
    place.refuses(refused, &["edits no image"]);
}

#[test]
fn the_tokenizer_is_measured_and_missing_data_is_told() {
    let place = Place::new();
    let line = "eval tokenizer --model @tiny --data icons --device cpu --json t.json";
    place.refuses(line, &["nextscale data build"]);
    data(&place);
    place.good(line);
    let report = json(&place, "t.json");
    assert_eq!(
        (report["pictures"].as_u64(), report["held_out"].as_bool()),
        (Some(10), Some(true))
    );
    assert!(report["psnr"].as_f64().unwrap() > 0.0);
    place.good(&format!(
        "{} --deterministic",
        line.replace("t.json", "d.json")
    ));
    assert_eq!(json(&place, "d.json"), report);
    assert_eq!(report["scales"].as_array().unwrap().len(), 3);
}

#[test]
fn models_and_settings_are_refused_with_hints() {
    Place::new().refuses_each(
        "",
        "
        eval motion --device cpu --model wat   => the model `wat` does not exist | hint: name a model folder
        bench --device cpu --model wat         => the model `wat` does not exist | hint: name a model folder
        eval motion --device cpu --model @tiny => Infinity, not InfinityStar
        eval motion --device cpu --count 1 --cfg-scale=-5 --deterministic => `cfg_scale` should be from 0 to 1000, but it is -5",
    );
}
