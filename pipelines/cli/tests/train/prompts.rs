//! From images with names to a model of prompts, on a set of coloured squares.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use nextscale_data::{Entry, Manifest};
use nextscale_models::{Model, Placement};

use crate::{Workplace, numbers};

const SIZE: usize = 16;
const COLOURS: [(&str, [u8; 3]); 4] = [
    ("red", [220, 30, 30]),
    ("green", [20, 160, 40]),
    ("blue", [30, 60, 230]),
    ("grey", [120, 120, 120]),
];

/// Each colour as a small and a large square; one of them is held out.
fn squares(folder: &Path) {
    let (mut images, mut alpha, mut index) = (Vec::new(), Vec::new(), String::new());
    let styles = [("small", 4..12), ("large", 1..15)];
    let count = COLOURS.len() * styles.len();
    for (id, ((name, rgb), (style, inside))) in COLOURS
        .iter()
        .flat_map(|c| styles.iter().map(move |s| (c, s)))
        .enumerate()
    {
        for at in 0..SIZE * SIZE {
            let covered = inside.contains(&(at / SIZE)) && inside.contains(&(at % SIZE));
            images.extend(if covered { *rgb } else { [0; 3] });
            alpha.push(if covered { 255 } else { 0 });
        }
        let entry = Entry {
            id,
            name: format!("{name} square"),
            style: (*style).into(),
            flip: true,
            held_out: id == 5,
            ..Entry::default()
        };
        index += &(serde_json::to_string(&entry).unwrap() + "\n");
    }
    let manifest = Manifest {
        size: SIZE,
        count,
        held_out: 1,
        ..Manifest::default()
    };
    fs::create_dir_all(folder).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    write("images.bin", &images);
    write("alpha.bin", &alpha);
    write("index.jsonl", index.as_bytes());
    write("manifest.json", &serde_json::to_vec(&manifest).unwrap());
}

const TOKENIZER: &str = "\
data: data
seed: 1
batch: 8
model:
  bits: 4
  base_channels: 16
  encoder_mult: [1, 2]
  decoder_mult: [1, 2]
  encoder_blocks: 1
  decoder_blocks: 1
  norm_groups: 4
  pixel_patch: 2
scales: [[2, 2], [4, 4]]
loss: { commitment: 1.0, entropy: 0.05 }
train:
  budget: { steps: 120 }
  learning_rate: { peak: 5.0e-3, warmup_steps: 4 }
  average_decay: 0.9
  log_every: 1
";

const TRANSFORMER: &str = "\
data: data
tokenizer: tok
name: squares
seed: 2
batch: 8
scales: [[1, 1], [2, 2]]
patching: double
plain: { repeat: 2, captions: 0.5 }
scenes: 0.25
surroundings: 0.25
text: { vocabulary: 200, max_len: 24, width: 128, depth: 1, heads: 2, hidden: 64 }
model: { width: 32, depth: 2, heads: 2, mlp_ratio: 8 }
correction: { strength: 0.1, scales: 2 }
train:
  budget: { steps: 40 }
  learning_rate: { peak: 5.0e-3, warmup_steps: 4 }
  average_decay: 0.9
  log_every: 1
";

#[test]
fn from_pictures_to_a_model() {
    let place = Workplace::new();
    let folder = place.path();
    squares(&folder.join("data"));
    place.write("tok.yaml", TOKENIZER);
    place.write("model.yaml", TRANSFORMER);

    // A half run and its other half make the whole one.
    place.succeed("train tokenizer tok.yaml --out tok --max-steps 20");
    let resumed = place.succeed("train tokenizer tok.yaml --out tok");
    assert!(resumed.contains("resuming at step 20"), "{resumed}");
    let lines = place.log("tok");
    assert_eq!(lines.len(), 120);
    let mse = numbers(&lines, "mse");
    assert!(mse[119] < 0.5 * mse[0], "{lines:?}");
    assert!(lines[119]["psnr"].as_f64().unwrap() > 8.0, "{}", lines[119]);

    place.succeed("train transformer model.yaml --out run --export model");
    let loss = numbers(&place.log("run"), "loss");
    assert!((loss[0] - std::f64::consts::LN_2).abs() < 0.05);
    assert!(loss[39] < 0.6, "{}", loss[39]);

    // A larger decoder for the same codes takes the place of the first one.
    let larger = TOKENIZER.replace("decoder_blocks: 1", "decoder_blocks: 2");
    let larger = larger.replace("steps: 120", "steps: 5") + "encoder_of: tok\n";
    place.write("decoder.yaml", &larger);
    place.succeed("train tokenizer decoder.yaml --out decoder");
    place.succeed("train export run --out larger --decoder-of decoder");
    let exported = Model::open(&folder.join("larger").display().to_string()).unwrap();
    assert_eq!(exported.infinity().unwrap().vae.decoder_blocks, 2);
    exported.load_bsq_vae(&Placement::cpu()).unwrap();
    let other = larger.replace("bits: 4", "bits: 5");
    place.write("decoder.yaml", &other);
    place.fail(
        "train tokenizer decoder.yaml --out other",
        &["encoder_of", "tok"],
    );
    let fresh = TOKENIZER
        .replace("steps: 120", "steps: 5")
        .replace("seed: 1", "seed: 9");
    place.write("fresh.yaml", &fresh);
    place.succeed("train tokenizer fresh.yaml --out fresh");
    place.fail(
        "train export run --out mixed --decoder-of fresh",
        &["another encoder"],
    );
    assert!(!folder.join("mixed").exists());

    // The model folder needs neither run.
    for run in ["tok", "run"] {
        fs::remove_dir_all(folder.join(run)).unwrap();
    }
    let model = Model::open(&folder.join("model").display().to_string()).unwrap();
    assert_eq!(model.manifest().name(), "squares");
    let device = Device::flex();
    let words = model.known_words().unwrap().unwrap();
    let unknown = words.unknown_words("the red square, large style, and a zeppelin");
    assert_eq!(unknown, ["zeppelin"]);
    let features = model.load_text_encoder(&device).unwrap();
    let features = features.encode(&["red square, large style"]).unwrap();
    let largest = features.features.abs().max().into_scalar::<f32>();
    assert!(largest.is_finite());
    model.load_infinity(&Placement::cpu()).unwrap();
    model.load_bsq_vae(&Placement::cpu()).unwrap();
    it_learns_to_edit(&place);
}

/// From the folder of a model to one that edits by instruction.
fn it_learns_to_edit(place: &Workplace) {
    let edits = TRANSFORMER
        .replace("tokenizer: tok", "from: model\nedits: true")
        .replace("steps: 40", "steps: 6");
    place.write("both.yaml", &edits);
    let parts = ["both.yaml: edits: instructions are made of no scenes"];
    place.fail("train transformer both.yaml", &parts);
    let edits = edits.replace("scenes: 0.25\nsurroundings: 0.25\n", "");
    place.write("wide.yaml", &edits.replace("width: 32", "width: 64"));
    place.fail("train transformer wide.yaml", &["from: ", "other sizes"]);
    place.write(
        "two.yaml",
        &edits.replace("seed: 2", "tokenizer: tok\nseed: 2"),
    );
    place.fail("train transformer two.yaml", &["tokenizer: ", "not both"]);

    place.write("edits.yaml", &edits);
    place.succeed("train transformer edits.yaml --out edits --max-steps 3");
    let resumed = place.succeed("train transformer edits.yaml --out edits --export editor");
    assert!(resumed.contains("resuming at step 3"), "{resumed}");
    // It starts from a trained model.
    let loss = numbers(&place.log("edits"), "loss");
    assert!(loss.len() == 6 && loss[0] < 0.68, "{loss:?}");
    let editor = place.path().join("editor");
    let editor = Model::open(&editor.display().to_string()).unwrap();
    assert!(editor.edits_by_instruction());
    let words = editor.known_words().unwrap().unwrap();
    let unknown = words.unknown_words("turn the large red square upside down, it into a zeppelin");
    assert_eq!(unknown, ["zeppelin"]);
    editor.load_infinity(&Placement::cpu()).unwrap();
}

#[test]
fn mistakes_are_told_before_anything_is_trained() {
    let place = Workplace::new();
    let folder = place.path();
    squares(&folder.join("data"));
    for (from, to, parts) in [
        ("batch: 8", "bach: 8", ["c.yaml:3:", "bach"]),
        ("[4, 4]]", "[5, 5]]", ["5x5", "4x4"]),
        ("norm_groups: 4", "norm_groups: 7", ["7", "norm groups"]),
        ("data: data", "data: nowhere", ["nowhere", "data build"]),
        (
            "train:",
            "train:\n  muon: { momentum: 1 }",
            ["momentum is 1", "below 1"],
        ),
        (
            "train:",
            "train:\n  muon: { rate: 0 }",
            ["rate is 0", "learning rate"],
        ),
    ] {
        place.write("c.yaml", &TOKENIZER.replace(from, to));
        place.fail("train tokenizer c.yaml --out tok", &parts);
    }

    place.write("c.yaml", &TOKENIZER.replace("steps: 120", "steps: 1"));
    place.succeed("train tokenizer c.yaml");
    assert!(folder.join("runs/c/log.jsonl").is_file());

    place.write("c.yaml", TRANSFORMER);
    let parts = ["tok", "train tokenizer"];
    place.fail("train transformer c.yaml --out run", &parts);
}

#[test]
fn a_run_belongs_to_one_program() {
    let place = Workplace::new();
    let folder = place.path();
    squares(&folder.join("data"));
    place.write("c.yaml", TOKENIZER);
    fs::create_dir(folder.join("tok")).unwrap();
    let lock = fs::File::create(folder.join("tok/lock")).unwrap();
    lock.lock().unwrap();
    place.fail("train tokenizer c.yaml --out tok", &["another program"]);
}
