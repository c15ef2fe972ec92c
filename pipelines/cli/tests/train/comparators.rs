//! What VAR is compared with, trained on stripes and blocks; and studies of the trained and the untrained.

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
