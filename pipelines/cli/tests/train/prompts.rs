//! `nextscale train` from images to a model folder, on a set of coloured squares.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use burn::tensor::Device;
use nextscale_data::{Entry, Manifest};
use nextscale_models::{Model, Placement};
use serde_json::Value;

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
text: { vocabulary: 200, max_len: 24, width: 128, depth: 1, heads: 2, hidden: 64 }
model: { width: 32, depth: 2, heads: 2, mlp_ratio: 8 }
correction: { strength: 0.1, scales: 2 }
train:
  budget: { steps: 40 }
  learning_rate: { peak: 5.0e-3, warmup_steps: 4 }
  average_decay: 0.9
  log_every: 1
";

fn nextscale(folder: &Path, args: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nextscale"))
        .args(args.split_whitespace())
        .current_dir(folder)
        .output()
        .unwrap()
}

fn succeed(folder: &Path, args: &str) -> String {
    let output = nextscale(folder, args);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "nextscale {args}: {text}");
    text
}

fn fail(folder: &Path, args: &str) -> String {
    let output = nextscale(folder, args);
    assert!(!output.status.success(), "nextscale {args} should fail");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn log(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("log.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn from_pictures_to_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    squares(&folder.join("data"));
    fs::write(folder.join("tok.yaml"), TOKENIZER).unwrap();
    fs::write(folder.join("model.yaml"), TRANSFORMER).unwrap();

    // A half run and its other half make the whole one.
    succeed(folder, "train tokenizer tok.yaml --out tok --max-steps 20");
    let resumed = succeed(folder, "train tokenizer tok.yaml --out tok");
    assert!(resumed.contains("resuming at step 20"), "{resumed}");
    let lines = log(&folder.join("tok"));
    assert_eq!(lines.len(), 120);
    let mse = |line: &Value| line["mse"].as_f64().unwrap();
    assert!(mse(&lines[119]) < 0.5 * mse(&lines[0]), "{lines:?}");
    assert!(lines[119]["psnr"].as_f64().unwrap() > 8.0, "{}", lines[119]);

    succeed(
        folder,
        "train transformer model.yaml --out run --export model",
    );
    let lines = log(&folder.join("run"));
    let loss = |line: &Value| line["loss"].as_f64().unwrap();
    assert!((loss(&lines[0]) - std::f64::consts::LN_2).abs() < 0.05);
    assert!(loss(&lines[39]) < 0.6, "{}", lines[39]);

    // A larger decoder for the same codes takes the place of the first one.
    let larger = TOKENIZER.replace("decoder_blocks: 1", "decoder_blocks: 2");
    let larger = larger.replace("steps: 120", "steps: 5") + "encoder_of: tok\n";
    fs::write(folder.join("decoder.yaml"), &larger).unwrap();
    succeed(folder, "train tokenizer decoder.yaml --out decoder");
    succeed(folder, "train export run --out larger --decoder-of decoder");
    let exported = Model::open(&folder.join("larger").display().to_string()).unwrap();
    assert_eq!(exported.infinity().unwrap().vae.decoder_blocks, 2);
    exported.load_bsq_vae(&Device::flex()).unwrap();
    let other = larger.replace("bits: 4", "bits: 5");
    fs::write(folder.join("decoder.yaml"), other).unwrap();
    let error = fail(folder, "train tokenizer decoder.yaml --out other");
    assert!(
        error.contains("encoder_of") && error.contains("tok"),
        "{error}"
    );
    let fresh = TOKENIZER
        .replace("steps: 120", "steps: 5")
        .replace("seed: 1", "seed: 9");
    fs::write(folder.join("fresh.yaml"), fresh).unwrap();
    succeed(folder, "train tokenizer fresh.yaml --out fresh");
    let error = fail(folder, "train export run --out mixed --decoder-of fresh");
    assert!(error.contains("another encoder"), "{error}");
    assert!(!folder.join("mixed").exists());

    // The model folder needs neither run.
    for run in ["tok", "run"] {
        fs::remove_dir_all(folder.join(run)).unwrap();
    }
    let model = Model::open(&folder.join("model").display().to_string()).unwrap();
    assert_eq!(model.manifest().name(), "squares");
    let device = Device::flex();
    let features = model.load_text_encoder(&device).unwrap();
    let features = features.encode(&["red square, large style"]).unwrap();
    assert!(
        features
            .features
            .abs()
            .max()
            .into_scalar::<f32>()
            .is_finite()
    );
    model.load_infinity(&Placement::cpu()).unwrap();
    model.load_bsq_vae(&device).unwrap();
}

#[test]
fn mistakes_are_told_before_anything_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    squares(&folder.join("data"));
    let write = |text: &str| fs::write(folder.join("c.yaml"), text).unwrap();

    write(&TOKENIZER.replace("batch: 8", "bach: 8"));
    let error = fail(folder, "train tokenizer c.yaml --out tok");
    assert!(
        error.contains("c.yaml:3:") && error.contains("bach"),
        "{error}"
    );

    write(&TOKENIZER.replace("[4, 4]]", "[5, 5]]"));
    let error = fail(folder, "train tokenizer c.yaml --out tok");
    assert!(error.contains("5x5") && error.contains("4x4"), "{error}");

    write(&TOKENIZER.replace("norm_groups: 4", "norm_groups: 7"));
    let error = fail(folder, "train tokenizer c.yaml --out tok");
    assert!(
        error.contains("7") && !error.contains("panicked"),
        "{error}"
    );

    write(&TOKENIZER.replace("data: data", "data: nowhere"));
    let error = fail(folder, "train tokenizer c.yaml --out tok");
    assert!(
        error.contains("nowhere") && error.contains("data build"),
        "{error}"
    );

    write(&TOKENIZER.replace("steps: 120", "steps: 1"));
    succeed(folder, "train tokenizer c.yaml");
    assert!(folder.join("runs/c/log.jsonl").is_file());

    write(TRANSFORMER);
    let error = fail(folder, "train transformer c.yaml --out run");
    assert!(
        error.contains("tok") && error.contains("train tokenizer"),
        "{error}"
    );
}

#[test]
fn a_run_belongs_to_one_program() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    squares(&folder.join("data"));
    fs::write(folder.join("c.yaml"), TOKENIZER).unwrap();
    fs::create_dir(folder.join("tok")).unwrap();
    let lock = fs::File::create(folder.join("tok/lock")).unwrap();
    lock.lock().unwrap();
    let error = fail(folder, "train tokenizer c.yaml --out tok");
    assert!(error.contains("another program"), "{error}");
}
