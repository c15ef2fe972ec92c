//! From IDX files to a class-conditional model folder, on stripes and blocks of three classes; runs that are killed and resumed.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use burn::tensor::Device;
use nextscale_data::Dataset;
use nextscale_models::{Model, Placement};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Side of the images in the files.
const SIDE: usize = 12;
const CLASSES: [&str; 3] = ["rows", "columns", "block"];

/// An image of a class; `at` shifts and shades it.
fn image(class: usize, at: usize) -> Vec<u8> {
    let bright = (160 + at * 23 % 90) as u8;
    let lit = |y: usize, x: usize| match class {
        0 => ((y + at) / 3).is_multiple_of(2),
        1 => ((x + at) / 3).is_multiple_of(2),
        _ => (2..8).contains(&(y.wrapping_sub(at % 3))) && (2..8).contains(&x),
    };
    let pixel = |i: usize| if lit(i / SIDE, i % SIDE) { bright } else { 0 };
    (0..SIDE * SIDE).map(pixel).collect()
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// Writes a gzipped IDX file and returns its line of the recipe.
fn idx(folder: &Path, name: &str, dims: &[usize], content: &[u8]) -> String {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    for &dim in dims {
        bytes.extend((dim as u32).to_be_bytes());
    }
    bytes.extend(content);
    let file = fs::File::create(folder.join(format!("{name}.gz"))).unwrap();
    let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    packed.write_all(&bytes).unwrap();
    packed.finish().unwrap();
    format!("{{ file: {name}, sha256: {} }}", sha256(&bytes))
}

/// IDX files of `counts` images, to train on and held out, and the recipe `data.yaml`.
fn recipe(folder: &Path, counts: [usize; 2]) -> String {
    let place = folder.join("idx");
    fs::create_dir_all(&place).unwrap();
    let mut text = format!(
        "kind: idx\nsize: 16\nout: data\ncache: cache\nclasses: [{}]\nfrom: [{{ folder: idx }}]\n",
        CLASSES.join(", ")
    );
    for (part, count) in ["train", "held_out"].iter().zip(counts) {
        let labels: Vec<u8> = (0..count).map(|i| (i % 3) as u8).collect();
        let images: Vec<u8> = (0..count).flat_map(|i| image(i % 3, i / 3)).collect();
        let images = idx(
            &place,
            &format!("{part}-images"),
            &[count, SIDE, SIDE],
            &images,
        );
        let labels = idx(&place, &format!("{part}-labels"), &[count], &labels);
        text += &format!("{part}:\n  images: {images}\n  labels: {labels}\n");
    }
    fs::write(folder.join("data.yaml"), &text).unwrap();
    text
}

const TOKENIZER: &str = "\
kind: vq
data: data
seed: 1
batch: 8
augment: { keep: 1, flip: 0, colour: 0 }
model:
  vocabulary: 24
  channels: 6
  base_channels: 8
  mult: [1, 2, 2]
  blocks: 1
  phis: 2
  phi_ratio: 0.5
  norm_groups: 4
scales: [[1, 1], [2, 2], [4, 4]]
revival: { after_steps: 10, every_steps: 5, until: 1 }
train:
  budget: { steps: 60 }
  learning_rate: { peak: 3.0e-3, warmup_steps: 4, decay: constant }
  average_decay: 0.9
  log_every: 1
  checkpoint_minutes: 0
";

const BITS: &str = "\
data: data
batch: 2
model:
  bits: 4
  base_channels: 8
  encoder_mult: [1, 2]
  decoder_mult: [1, 2]
  encoder_blocks: 1
  decoder_blocks: 1
  norm_groups: 4
  pixel_patch: 2
scales: [[2, 2], [4, 4]]
train: { budget: { steps: 1 }, learning_rate: { peak: 1.0e-3 } }
";

const TRANSFORMER: &str = "\
kind: var
data: data
tokenizer: tok
name: stripes
seed: 2
batch: 8
augment: { keep: 1, flip: 0, colour: 0 }
model: { width: 32, depth: 2, heads: 2 }
progressive: { from: 2, steps: 15, warmup_steps: 3 }
train:
  parallel: 2
  budget: { steps: 50 }
  learning_rate: { peak: 5.0e-3, warmup_steps: 4, decay: constant }
  adamw: { beta_2: 0.95, weight_decay: 0.05, clip_norm: 2 }
  average_decay: 0.9
  log_every: 1
  checkpoint_minutes: 0
";

fn command(folder: &Path, args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nextscale"));
    command.args(args.split_whitespace()).current_dir(folder);
    command
}

fn run(folder: &Path, args: &str) -> (bool, String) {
    let Output { status, stderr, .. } = command(folder, args).output().unwrap();
    (
        status.success(),
        String::from_utf8_lossy(&stderr).into_owned(),
    )
}

fn succeed(folder: &Path, args: &str) -> String {
    let (success, text) = run(folder, args);
    assert!(success, "nextscale {args}: {text}");
    text
}

fn fail(folder: &Path, args: &str) -> String {
    let (success, text) = run(folder, args);
    assert!(!success, "nextscale {args} should fail");
    assert!(!text.contains("panicked"), "{text}");
    text
}

/// Starts a command and kills it without warning when its run has logged `lines` steps.
fn kill_after(folder: &Path, args: &str, run: &str, lines: usize) {
    let mut child = command(folder, args).stderr(Stdio::null()).spawn().unwrap();
    let (log, started) = (folder.join(run).join("log.jsonl"), Instant::now());
    loop {
        let text = fs::read_to_string(&log).unwrap_or_default();
        if text.lines().count() >= lines {
            break;
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        assert!(started.elapsed() < Duration::from_secs(120), "too slow");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

fn log(folder: &Path, run: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder.join(run).join("log.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn numbers(lines: &[Value], key: &str) -> Vec<f64> {
    let number = |line: &Value| {
        line[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key}: {line}"))
    };
    lines.iter().map(number).collect()
}

#[test]
fn from_idx_files_to_a_model_that_paints_classes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    recipe(folder, [48, 9]);
    succeed(folder, "data build data.yaml");
    let set = Dataset::load(&folder.join("data")).unwrap();
    assert_eq!(
        (set.len(), set.size(), set.held_out_ids().len()),
        (57, 16, 9)
    );
    assert_eq!(
        (set.classes(), set.class(4)),
        (&CLASSES.map(String::from)[..], Some(1))
    );
    // Centred on black: a rim of two pixels.
    let shown = set.image(5, [255; 3]);
    assert_eq!(shown[..2 * 16 * 3], [0; 2 * 16 * 3]);
    let inside: Vec<u8> = (0..SIDE * SIDE)
        .map(|i| shown[((i / SIDE + 2) * 16 + i % SIDE + 2) * 3])
        .collect();
    assert_eq!(inside, image(2, 1));
    // The same recipe gives the same bytes.
    succeed(folder, "data build data.yaml --out again --force");
    for file in ["manifest.json", "images.bin", "alpha.bin", "index.jsonl"] {
        let bytes = |set: &str| fs::read(folder.join(set).join(file)).unwrap();
        assert_eq!(bytes("data"), bytes("again"), "{file}");
    }

    fs::write(folder.join("tok.yaml"), TOKENIZER).unwrap();
    fs::write(folder.join("model.yaml"), TRANSFORMER).unwrap();
    succeed(folder, "train tokenizer tok.yaml --out tok");
    kill_after(
        folder,
        "train tokenizer tok.yaml --out killed",
        "killed",
        23,
    );
    assert!(succeed(folder, "train tokenizer tok.yaml --out killed").contains("resuming"));
    let (whole, parts) = (log(folder, "tok"), log(folder, "killed"));
    assert_eq!(whole.len(), 60);
    for key in ["loss", "used", "revived", "perplexity.2"] {
        assert_eq!(numbers(&whole, key), numbers(&parts, key), "{key}");
    }
    let (mse, last) = (numbers(&whole, "mse"), &whole[59]);
    assert!(mse[59] < 0.3 * mse[0], "{} then {}", mse[0], mse[59]);
    assert!(last["revived"].as_f64().unwrap() > 0.0, "{last}");
    assert!(last["used"].as_f64().unwrap() > 0.3, "{last}");
    assert!(last["psnr"].as_f64().unwrap() > 8.0, "{last}");

    succeed(
        folder,
        "train transformer model.yaml --out run --export model",
    );
    kill_after(folder, "train transformer model.yaml --out cut", "cut", 20);
    assert!(succeed(folder, "train transformer model.yaml --out cut").contains("resuming"));
    let (whole, parts) = (log(folder, "run"), log(folder, "cut"));
    assert_eq!(numbers(&whole, "loss"), numbers(&parts, "loss"));
    let last = &whole[49];
    // A code out of 24 is a guess at ln 24; stripes can be learned.
    assert!(
        last["held_out_loss"].as_f64().unwrap() < 24f64.ln() - 0.5,
        "{last}"
    );

    // The model folder needs neither run, and generates.
    for run in ["tok", "run"] {
        fs::remove_dir_all(folder.join(run)).unwrap();
    }
    let name = folder.join("model").display().to_string();
    let model = Model::open(&name).unwrap();
    assert_eq!(model.manifest().name(), "stripes");
    let classes = model.var().unwrap().class_names();
    assert_eq!(classes.find("block").unwrap(), 2);
    let device = Device::flex();
    model.load_var(&Placement::cpu()).unwrap();
    model.load_vq_vae(&device).unwrap();
    let eval = "eval tokenizer --model model --data data --json eval.json";
    succeed(folder, eval);
    let text = fs::read(folder.join("eval.json")).unwrap();
    let report: Value = serde_json::from_slice(&text).unwrap();
    assert!(report["psnr"].as_f64().unwrap() > 8.0, "{report}");
    assert_eq!(report["styles"]["rows"]["pictures"], 3);
    assert_eq!(report["scales"].as_array().unwrap().len(), 3);
    let used = report["used_codes"][0].as_u64().unwrap();
    assert!((3..=24).contains(&used), "{report}");
    succeed(
        folder,
        "generate --model model --class columns --seed 1 -o columns.png",
    );
    assert_eq!(
        image::image_dimensions(folder.join("columns.png")).unwrap(),
        (16, 16)
    );
}

#[test]
fn files_that_are_not_what_the_recipe_says_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let text = recipe(folder, [6, 3]);
    let write = |text: &str| fs::write(folder.join("data.yaml"), text).unwrap();
    let build = || fail(folder, "data build data.yaml");

    write(&text.replace("[rows, columns, block]", "[rows, columns]"));
    assert!(build().contains("the label 2 is none of 2 classes"));
    write(&text.replace("size: 16", "size: 8"));
    assert!(build().contains("12x12 pixels do not fit into 8x8"));
    write(&text.replace("kind: idx", "kind: idy"));
    let error = build();
    assert!(error.contains("idy") && error.contains("line 1"), "{error}");
    // Files that were right are kept, wherever they came from.
    fs::remove_dir_all(folder.join("cache")).unwrap();
    write(&text.replace("folder: idx", "folder: elsewhere"));
    let error = build();
    assert!(
        error.contains("train-images") && error.contains("elsewhere"),
        "{error}"
    );
    let place = folder.join("idx");
    idx(&place, "train-labels", &[6], &[0, 1, 2, 0, 1, 1]);
    write(&text);
    let error = build();
    assert!(
        error.contains("train-labels") && error.contains("SHA-256"),
        "{error}"
    );
    assert!(!folder.join("data/manifest.json").exists());
}

#[test]
fn mistakes_of_class_runs_are_told_before_anything_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    recipe(folder, [6, 3]);
    succeed(folder, "data build data.yaml");
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    let tokenizer = |from: &str, to: &str| {
        write("c.yaml", &TOKENIZER.replace(from, to));
        fail(folder, "train tokenizer c.yaml --out tok")
    };
    let error = tokenizer("kind: vq", "kind: vp");
    assert!(
        error.contains("c.yaml:1:7") && error.contains("vp"),
        "{error}"
    );
    let error = tokenizer("vocabulary: 24", "vocabulry: 24");
    assert!(
        error.contains("c.yaml:7:") && error.contains("vocabulry"),
        "{error}"
    );
    let error = tokenizer("[4, 4]]", "[5, 5]]");
    assert!(error.contains("5x5") && error.contains("4x4"), "{error}");
    let error = tokenizer("norm_groups: 4", "norm_groups: 3");
    assert!(error.contains("3 norm groups"), "{error}");
    let error = tokenizer("phis: 2", "phis: 0");
    assert!(error.contains("phis"), "{error}");

    write("tok.yaml", &TOKENIZER.replace("steps: 60", "steps: 1"));
    succeed(folder, "train tokenizer tok.yaml --out tok");
    let transformer = |from: &str, to: &str| {
        write("c.yaml", &TRANSFORMER.replace(from, to));
        fail(folder, "train transformer c.yaml --out run")
    };
    let error = transformer("heads: 2", "heads: 3");
    assert!(error.contains("3 heads"), "{error}");
    let error = transformer("from: 2", "from: 4");
    assert!(error.contains("progressive.from"), "{error}");
    let error = transformer("kind: var\n", "");
    assert!(error.contains("c.yaml"), "{error}");
    write(
        "c.yaml",
        &TRANSFORMER.replace("tokenizer: tok", "tokenizer: nowhere"),
    );
    let error = fail(folder, "train transformer c.yaml --out other");
    assert!(
        error.contains("nowhere") && error.contains("train tokenizer"),
        "{error}"
    );
    write("bits.yaml", BITS);
    succeed(folder, "train tokenizer bits.yaml --out bits");
    write(
        "c.yaml",
        &TRANSFORMER.replace("tokenizer: tok", "tokenizer: bits"),
    );
    let error = fail(folder, "train transformer c.yaml --out other");
    assert!(error.contains("`bits` is of another kind"), "{error}");
}
