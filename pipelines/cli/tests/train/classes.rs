//! From IDX files to a class-conditional model folder, on stripes and blocks of three classes; runs that are killed and resumed.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nextscale_data::Dataset;
use nextscale_files::checksum;
use nextscale_models::{Model, Placement};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::{Workplace, numbers};

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
    format!("{{ file: {name}, sha256: {} }}", checksum::of_bytes(&bytes))
}

/// IDX files of `counts` images, to train on and held out, and the recipe `data.yaml`.
pub fn recipe(folder: &Path, counts: [usize; 2]) -> String {
    let place = folder.join("idx");
    fs::create_dir_all(&place).unwrap();
    let mut text = format!(
        "kind: idx\nsize: 16\nout: data\ncache: cache\nclasses: [{}]\nfrom: [{{ folder: idx }}]\n",
        CLASSES.join(", ")
    );
    for (part, count) in ["train", "held_out"].iter().zip(counts) {
        let labels: Vec<u8> = (0..count).map(|i| (i % 3) as u8).collect();
        let images: Vec<u8> = (0..count).flat_map(|i| image(i % 3, i / 3)).collect();
        let file = |kind: &str, dims: &[usize], bytes: &[u8]| {
            idx(&place, &format!("{part}-{kind}"), dims, bytes)
        };
        let images = file("images", &[count, SIDE, SIDE], &images);
        let labels = file("labels", &[count], &labels);
        text += &format!("{part}:\n  images: {images}\n  labels: {labels}\n");
    }
    fs::write(folder.join("data.yaml"), &text).unwrap();
    text
}

pub const TOKENIZER: &str = "\
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

pub const TRANSFORMER: &str = "\
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

/// Starts a command and kills it without warning when its run has logged `lines` steps.
fn kill_after(place: &Workplace, args: &str, run: &str, lines: usize) {
    let mut child = place.command(args).stderr(Stdio::null()).spawn().unwrap();
    let (log, started) = (place.path().join(run).join("log.jsonl"), Instant::now());
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

#[test]
fn from_idx_files_to_a_model_that_paints_classes() {
    let place = Workplace::new();
    let folder = place.path();
    recipe(folder, [48, 9]);
    place.succeed("data build data.yaml");
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
    place.succeed("data build data.yaml --out again --force");
    for file in ["manifest.json", "images.bin", "alpha.bin", "index.jsonl"] {
        let bytes = |set: &str| fs::read(folder.join(set).join(file)).unwrap();
        assert_eq!(bytes("data"), bytes("again"), "{file}");
    }

    place.write("tok.yaml", TOKENIZER);
    place.write("model.yaml", TRANSFORMER);
    place.succeed("train tokenizer tok.yaml --out tok");
    kill_after(
        &place,
        "train tokenizer tok.yaml --out killed",
        "killed",
        23,
    );
    // The CPU has no choice of kernels.
    assert!(
        place
            .succeed("train tokenizer tok.yaml --out killed --deterministic")
            .contains("resuming")
    );
    let (whole, parts) = (place.log("tok"), place.log("killed"));
    assert_eq!(whole.len(), 60);
    for key in ["loss", "used", "revived", "perplexity.2"] {
        assert_eq!(numbers(&whole, key), numbers(&parts, key), "{key}");
    }
    let (mse, last) = (numbers(&whole, "mse"), &whole[59]);
    assert!(mse[59] < 0.3 * mse[0], "{} then {}", mse[0], mse[59]);
    assert!(last["revived"].as_f64().unwrap() > 0.0, "{last}");
    assert!(last["used"].as_f64().unwrap() > 0.3, "{last}");
    assert!(last["psnr"].as_f64().unwrap() > 8.0, "{last}");

    place.succeed("train transformer model.yaml --out run --export model");
    kill_after(&place, "train transformer model.yaml --out cut", "cut", 20);
    assert!(
        place
            .succeed("train transformer model.yaml --out cut --deterministic")
            .contains("resuming")
    );
    let (whole, parts) = (place.log("run"), place.log("cut"));
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
    model.load_var(&Placement::cpu()).unwrap();
    model.load_vq_vae(&Placement::cpu()).unwrap();
    place.succeed("eval tokenizer --model model --data data --json eval.json");
    let text = fs::read(folder.join("eval.json")).unwrap();
    let report: Value = serde_json::from_slice(&text).unwrap();
    assert!(report["psnr"].as_f64().unwrap() > 8.0, "{report}");
    assert_eq!(report["styles"]["rows"]["pictures"], 3);
    assert_eq!(report["scales"].as_array().unwrap().len(), 3);
    let used = report["used_codes"][0].as_u64().unwrap();
    assert!((3..=24).contains(&used), "{report}");
    place.succeed("generate --model model --class columns --seed 1 -o columns.png");
    assert_eq!(
        image::image_dimensions(folder.join("columns.png")).unwrap(),
        (16, 16)
    );
}

/// Kills a run and resumes it, again and again; whenever one gets to its end, its log is that of `whole`, and another begins.
fn kill_at_random(place: &Workplace, command: &str, whole: &str, longest: Duration) {
    let mut rng = StdRng::seed_from_u64(11);
    let (mut kills, mut ended) = (0, 0);
    let all = std::env::var("NEXTSCALE_KILLS").map_or(8, |text| text.parse().unwrap());
    // The last run is left to end.
    while ended == 0 || kills < all || place.path().join("killed").exists() {
        let mut run = place.command(&format!("{command} --out killed"));
        let mut child = run.stderr(Stdio::piped()).spawn().unwrap();
        if kills < all {
            std::thread::sleep(longest.mul_f64(rng.random()));
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        if output.status.code().is_none() {
            kills += 1;
            continue;
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "after {kills} kills: {said}");
        let (whole, parts) = (place.log(whole), place.log("killed"));
        for key in ["step", "loss"] {
            assert_eq!(numbers(&whole, key), numbers(&parts, key), "{key}");
        }
        fs::remove_dir_all(place.path().join("killed")).unwrap();
        ended += 1;
    }
}

#[test]
fn runs_killed_at_random_moments_resume_on_the_same_curve() {
    let place = Workplace::new();
    recipe(place.path(), [48, 9]);
    place.succeed("data build data.yaml");
    place.write("tok.yaml", &TOKENIZER.replace("steps: 60", "steps: 30"));
    place.write("model.yaml", TRANSFORMER);
    for (command, whole) in [
        ("train tokenizer tok.yaml", "tok"),
        ("train transformer model.yaml", "run"),
    ] {
        let started = Instant::now();
        place.succeed(&format!("{command} --out {whole}"));
        kill_at_random(&place, command, whole, started.elapsed() / 2);
    }
}

#[test]
fn files_that_are_not_what_the_recipe_says_are_refused() {
    let place = Workplace::new();
    let folder = place.path();
    let text = recipe(folder, [6, 3]);
    let refused = |text: &str, parts: &[&str]| {
        place.write("data.yaml", text);
        place.fail("data build data.yaml", parts);
    };
    for (from, to, parts) in [
        (
            "[rows, columns, block]",
            "[rows, columns]",
            &["the label 2 is none of 2 classes"][..],
        ),
        ("size: 16", "size: 8", &["12x12 pixels do not fit into 8x8"]),
        ("kind: idx", "kind: idy", &["idy", "line 1"]),
    ] {
        refused(&text.replace(from, to), parts);
    }
    // Files that were right are kept, wherever they came from.
    fs::remove_dir_all(folder.join("cache")).unwrap();
    let elsewhere = text.replace("folder: idx", "folder: elsewhere");
    refused(&elsewhere, &["train-images", "elsewhere"]);
    let files = folder.join("idx");
    idx(&files, "train-labels", &[6], &[0, 1, 2, 0, 1, 1]);
    refused(&text, &["train-labels", "SHA-256"]);
    assert!(!folder.join("data/manifest.json").exists());
}

#[test]
fn mistakes_of_class_runs_are_told_before_anything_is_trained() {
    let place = Workplace::new();
    let folder = place.path();
    recipe(folder, [6, 3]);
    place.succeed("data build data.yaml");
    for (from, to, parts) in [
        ("kind: vq", "kind: vp", &["c.yaml:1:7", "vp"][..]),
        (
            "vocabulary: 24",
            "vocabulry: 24",
            &["c.yaml:7:", "vocabulry"],
        ),
        ("[4, 4]]", "[5, 5]]", &["5x5", "4x4"]),
        ("norm_groups: 4", "norm_groups: 3", &["3 norm groups"]),
        ("phis: 2", "phis: 0", &["phis"]),
    ] {
        place.write("c.yaml", &TOKENIZER.replace(from, to));
        place.fail("train tokenizer c.yaml --out tok", parts);
    }

    place.write("tok.yaml", &TOKENIZER.replace("steps: 60", "steps: 1"));
    place.succeed("train tokenizer tok.yaml --out tok");
    place.write("bits.yaml", BITS);
    place.succeed("train tokenizer bits.yaml --out bits");
    for (from, to, out, parts) in [
        ("heads: 2", "heads: 3", "run", &["3 heads"][..]),
        ("from: 2", "from: 4", "run", &["progressive.from"]),
        ("kind: var\n", "", "run", &["c.yaml"]),
        (
            "tokenizer: tok",
            "tokenizer: nowhere",
            "other",
            &["nowhere", "train tokenizer"],
        ),
        (
            "tokenizer: tok",
            "tokenizer: bits",
            "other",
            &["`bits` is of another kind"],
        ),
    ] {
        place.write("c.yaml", &TRANSFORMER.replace(from, to));
        place.fail(&format!("train transformer c.yaml --out {out}"), parts);
    }
}
