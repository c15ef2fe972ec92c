//! What VAR is compared with, trained on stripes and blocks; and studies of the trained and the untrained.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::classes::{TOKENIZER, TRANSFORMER, recipe};
use crate::{Workplace, numbers};

fn transformer(kind: &str, tokenizer: &str, more: &str) -> String {
    format!(
        "kind: {kind}
data: data
tokenizer: {tokenizer}
seed: 2
batch: 8
augment: {{ keep: 1, flip: 0, colour: 0 }}
model: {{ width: 32, depth: 2, heads: 2 }}
{more}train:
  parallel: 2
  budget: {{ steps: 40 }}
  learning_rate: {{ peak: 3.0e-3, warmup_steps: 4, decay: constant }}
  average_decay: 0.9
  log_every: 1
  checkpoint_minutes: 0
"
    )
}

#[test]
fn comparators_learn_and_are_resumed() {
    let place = Workplace::new();
    recipe(place.path(), [48, 9]);
    place.succeed("data build data.yaml");
    let single = TOKENIZER.replace("[[1, 1], [2, 2], [4, 4]]", "[[4, 4]]");
    place.write("tok.yaml", &single);
    place.write("scales.yaml", TOKENIZER);
    place.succeed("train tokenizer tok.yaml --out tok --max-steps 40");
    place.succeed("train tokenizer scales.yaml --out scales --max-steps 10");
    place.write("raster.yaml", &transformer("raster", "tok", ""));
    place.write("flow.yaml", &transformer("dit", "tok", "process: flow\n"));
    place.write(
        "ddpm.yaml",
        &transformer("dit", "scales", "process: ddpm\npatch: 2\n"),
    );
    for name in ["raster", "flow", "ddpm"] {
        let train = format!("train transformer {name}.yaml --out");
        place.succeed(&format!("{train} {name}"));
        let whole = place.log(name);
        let losses = numbers(&whole, "loss");
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let (first, last) = (mean(&losses[..5]), mean(&losses[35..]));
        assert!(last < 0.85 * first, "{name}: {first} then {last}");
        assert!(whole[39]["held_out_loss"].as_f64().unwrap().is_finite());
        place.succeed(&format!("{train} {name}-twice --max-steps 13"));
        place.succeed(&format!("{train} {name}-twice"));
        assert_eq!(
            numbers(&place.log(&format!("{name}-twice")), "loss"),
            losses
        );
        let export = format!("train export {name} --out model");
        place.fail(&export, &["is the run of a comparator"]);
    }
    place.write("many.yaml", &transformer("raster", "scales", ""));
    place.fail(
        "train transformer many.yaml --out many",
        &["takes one with a single scale, this one has 3"],
    );
    place.write("patch.yaml", &transformer("dit", "tok", "patch: 3\n"));
    place.fail(
        "train transformer patch.yaml --out patch",
        &["patch: a latent of 4x4 cells is not made of patches of 3x3"],
    );

    let study = "study scaling --data data --tokenizer scales --sizes 32x1,64x1 --images 320 --device cpu -o laws";
    place.succeed(study);
    let laws = std::fs::read_to_string(place.path().join("laws/laws-of-size.csv")).unwrap();
    assert_eq!(laws.lines().count(), 5, "{laws}");
    let lines = place.log("laws/runs/var-64x1").len();
    // What is trained is not trained again.
    let started = std::time::Instant::now();
    place.succeed(study);
    assert!(started.elapsed().as_secs() < 20);
    assert_eq!(place.log("laws/runs/var-64x1").len(), lines);
    place.fail(
        "study scaling --data data --tokenizer scales --sizes 32x1 -o one",
        &["there is nothing to measure: a law needs two sizes"],
    );
}

#[test]
fn paradigms_are_compared() {
    let place = Workplace::new();
    recipe(place.path(), [192, 144]);
    place.succeed("data build data.yaml");
    let study = "study paradigms --data data --size 32x2 --minutes 0.05 --tokenizer-minutes 0.05 --classifier-minutes 0.05 \
                 --steps 3 --guidance 1,2 --device cpu";
    place.succeed(&format!("{study} --count 130 -o found"));
    let read = |path: &str| std::fs::read_to_string(place.path().join(path)).unwrap();
    let rows = |path: &str| -> Vec<Vec<f64>> {
        let text = read(path);
        let mut lines = csv_rows(&text);
        lines.remove(0);
        let numbers = |row: &[String]| row[1..].iter().map(|n| n.parse().unwrap()).collect();
        lines.iter().map(|row| numbers(row)).collect()
    };
    let quality = rows("found/quality.csv");
    assert_eq!(quality.len(), 6, "{quality:?}");
    let distances: Vec<f64> = quality.iter().map(|row| row[0]).collect();
    let held_out = distances[3];
    // Models that have hardly begun are farther from the training images than other real ones are.
    assert!(
        distances[..3].iter().all(|&d| d > held_out),
        "{distances:?}"
    );
    for row in &quality {
        let [_, score, precision, recall] = row[..] else {
            panic!("{row:?}")
        };
        assert!((1.0..=3.001).contains(&score), "{row:?}");
        assert!((0.0..=1.0).contains(&precision) && (0.0..=1.0).contains(&recall));
    }
    let cost = rows("found/cost.csv");
    let passes: Vec<f64> = cost.iter().map(|row| row[4]).collect();
    assert_eq!(passes, [5.0, 64.0, 3.0]);
    let (least, most) = cost.iter().fold((f64::MAX, 0f64), |(a, b), row| {
        (a.min(row[0]), b.max(row[0]))
    });
    assert!(most < 1.6 * least, "parameters: {cost:?}");
    let page = read("found/report.html");
    assert_eq!(page.matches("<svg").count(), 2);
    assert!(page.contains("classifier of 3 classes trained on"));
    assert!(place.path().join("found/sheet-1.png").exists());
    // What is measured is not measured again, and what is trained not trained again.
    let measured = read("found/measured.json");
    let steps = place.log("found/runs/dit-32x2").len();
    place.succeed(&format!("{study} --count 130 -o found"));
    assert_eq!(read("found/measured.json"), measured);
    assert_eq!(place.log("found/runs/dit-32x2").len(), steps);

    let eval = "eval fid --classifier found/runs/classifier --device cpu --json fid.json";
    place.succeed(&format!("{eval} data data"));
    let json: Value = serde_json::from_str(&read("fid.json")).unwrap();
    assert!(json["fid"].as_f64().unwrap().abs() < 1e-3, "{json}");
    let label = json["features"].as_str().unwrap();
    assert!(label.starts_with("classifier of 3 classes"), "{label}");
    place.fail(
        "eval fid --classifier found/runs/var-32x2 data data",
        &["config.yaml", "kind"],
    );

    place.fail(
        &format!("{study} --count 100 -o bad"),
        &["the study has 100 images, and a Frechet distance needs at least 128"],
    );
    place.fail(
        &study.replace("32x2", "32x3"),
        &["3 blocks are no even number"],
    );
    assert!(!place.path().join("bad").exists());
}

/// The cells of a CSV file without line breaks in cells.
fn csv_rows(text: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(text.as_bytes());
    let rows = reader.records().map(|row| {
        let row = row.unwrap();
        row.iter().map(str::to_owned).collect()
    });
    rows.collect()
}

#[test]
fn an_interrupted_study_goes_on() {
    let place = Workplace::new();
    recipe(place.path(), [48, 9]);
    place.succeed("data build data.yaml");
    place.write("scales.yaml", TOKENIZER);
    place.succeed("train tokenizer scales.yaml --out scales --max-steps 10");
    let study = "study scaling --data data --tokenizer scales --sizes 32x1,64x1 --images 1600 --device cpu -o laws";
    let mut child = place.command(study);
    let child = child.stderr(Stdio::piped()).spawn().unwrap();
    let log = place.path().join("laws/runs/var-32x1/log.jsonl");
    let start = Instant::now();
    while !std::fs::read_to_string(&log).is_ok_and(|text| text.lines().count() > 1) {
        assert!(
            start.elapsed().as_secs() < 120,
            "no line in {}",
            log.display()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .arg("-INT")
            .arg(id)
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{told}");
    assert!(
        told.contains("stopped: the same command goes on where it was"),
        "{told}"
    );
    assert!(!place.path().join("laws/report.html").exists());
    place.succeed(study);
    let steps = numbers(&place.log("laws/runs/var-32x1"), "step");
    assert!(steps.is_sorted_by(|a, b| a < b), "{steps:?}");
    assert_eq!(steps.last(), Some(&50.0));
    assert!(place.path().join("laws/report.html").exists());
    // No machine has the memory of a billion channels.
    place.fail(
        "study scaling --data data --tokenizer scales --sizes 32x1,3200000x40 --device cpu -o huge",
        &["3200000x40 does not fit the memory"],
    );
}

#[test]
fn a_model_of_classes_draws_parts_of_images() {
    let place = Workplace::new();
    recipe(place.path(), [48, 9]);
    place.succeed("data build data.yaml");
    place.write("tok.yaml", TOKENIZER);
    place.write("var.yaml", TRANSFORMER);
    place.succeed("train tokenizer tok.yaml --out tok --max-steps 40");
    place.succeed("train transformer var.yaml --out var --max-steps 10 --export model");
    let study = "study zero-shot --model ./model --data data --device cpu";
    place.succeed(&format!("{study} --count 4 -o found"));
    let table = std::fs::read_to_string(place.path().join("found/errors.csv")).unwrap();
    let rows: Vec<Vec<f64>> = table
        .lines()
        .skip(1)
        .map(|line| {
            line.split(',')
                .skip(1)
                .map(|n| n.parse().unwrap())
                .collect()
        })
        .collect();
    assert_eq!(rows.len(), 3, "{table}");
    for row in rows {
        let [outside, coded, inside] = row[..] else {
            panic!("{table}")
        };
        // What is kept is nearly as the auto-encoder has it; what is new is not.
        assert!(outside > inside && (outside - coded).abs() < 6.0, "{table}");
    }
    assert!(place.path().join("found/sheet-3.png").exists());
    place.fail(
        "study zero-shot --model default --data data -o bad",
        &["default"],
    );
    assert!(!place.path().join("bad").exists());
}

#[test]
fn cost_is_counted_and_measured() {
    let place = Workplace::new();
    let study = "study cost --sizes 32x1x2 --sides 2,3,4 --steps 4 --no-paper-sizes --device cpu";
    place.succeed(&format!("{study} -o cost"));
    let read = |path: &str| std::fs::read_to_string(place.path().join(path)).unwrap();
    let table = read("cost/cost-32x1.csv");
    assert_eq!(table.lines().count(), 1 + 4 * 3, "{table}");
    assert!(!table.contains("left out"), "{table}");
    assert!(read("cost/report.html").contains("<svg"));
    // A second run takes over what is measured.
    let measured = read("cost/measured.json");
    place.succeed(&format!("{study} -o cost"));
    assert_eq!(read("cost/measured.json"), measured);
    place.succeed(&format!("{study} -o counted --limit 0"));
    let counted = read("counted/cost-32x1.csv");
    assert_eq!(counted.matches("left out").count(), 8, "{counted}");
    place.fail(
        "study cost --sizes 32x1x5 -o bad",
        &["a multiple of 4 channels"],
    );
    place.fail(
        "study cost --sizes 32x1x2 --sides 4 -o bad",
        &["an exponent needs two sides"],
    );
    assert!(!place.path().join("bad").exists());
}
