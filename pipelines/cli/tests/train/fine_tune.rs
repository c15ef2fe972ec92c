//! Fine-tuning of models that exist, on own images: whole and by adapters, and what becomes of the result.

use std::fs;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};

use crate::{Workplace, numbers};

/// A model in the repository.
fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../models")
        .join(name)
}

/// Images of one colour with a darker square, each with a caption beside it.
fn images(folder: &Path, side: u32, count: u8) {
    fs::create_dir_all(folder).unwrap();
    for i in 0..count {
        let image = RgbImage::from_fn(side, side, |x, y| {
            let inside = (side / 4..side / 2).contains(&x) && (side / 4..side / 2).contains(&y);
            let strength = if inside { 60 } else { 200 };
            Rgb([strength, 25 * i, 255 - strength])
        });
        image.save(folder.join(format!("{i}.png"))).unwrap();
        fs::write(
            folder.join(format!("{i}.txt")),
            format!("red apple {i}\nbox"),
        )
        .unwrap();
    }
}

const DATA: &str = "kind: folder\nfrom: images\nout: data\nsize: 64\nheld_out: 0.2\n";

const TRAIN: &str = "\
kind: fine_tune
from: default
data: data
seed: 3
batch: 2
train:
  budget: { steps: 4 }
  learning_rate: { peak: 2.0e-3, decay: constant }
  adamw: { beta_2: 0.97, weight_decay: 0 }
  average_decay: 0
  log_every: 1
";

const LORA: &str = "lora: { rank: 4, alpha: 8 }\n";

/// A place with a data set for the embedded model of images.
pub fn place() -> Workplace {
    let place = Workplace::new();
    images(&place.path().join("images"), 64, 10);
    place.write("data.yaml", DATA);
    place.succeed("data build data.yaml");
    place
}

fn bytes(place: &Workplace, name: &str) -> Vec<u8> {
    fs::read(place.path().join(name)).unwrap()
}

const APPLE: &str = "generate -p apple --seed 5 --no-metadata -o";

/// What the documentation names: training code that is right leaves a model as it is if the learning rate is 0, and every way out
/// of a run and back in keeps every number.
#[test]
fn a_step_at_learning_rate_zero_changes_no_byte() {
    let place = place();
    place.succeed(&format!("{APPLE} before.png"));
    let before = bytes(&place, "before.png");
    let still = TRAIN
        .replace("peak: 2.0e-3", "peak: 0")
        .replace("steps: 4", "steps: 1");
    place.write("whole.yaml", &still);
    place.succeed("train transformer whole.yaml --out whole");
    place.write("lora.yaml", &(still + LORA));
    place.succeed("train transformer lora.yaml --out lora");

    place.succeed("train export whole --out model");
    place.succeed("train export whole --out whole.safetensors");
    place.succeed("train export whole --out whole.pth");
    place.succeed("train export lora --out adapter");
    place.succeed("train export lora --out lora.safetensors");
    for arguments in [
        "--model model".to_owned(),
        "--lora adapter".to_owned(),
        "--lora lora.safetensors:0.5 --lora adapter/adapter_model.safetensors".to_owned(),
    ] {
        place.succeed(&format!("{APPLE} after.png {arguments}"));
        assert!(bytes(&place, "after.png") == before, "{arguments}");
    }
    // The same tensors in the file for PyTorch.
    place.succeed("convert whole.pth -o again.safetensors");
    let file = |name: &str| nextscale_weights::WeightFile::open(&place.path().join(name)).unwrap();
    let (first, again) = (file("whole.safetensors"), file("again.safetensors"));
    let official = file_of_model("icons");
    assert_eq!(first.shapes(), official.shapes());
    for name in official.names() {
        let values = |file: &nextscale_weights::WeightFile| -> Vec<f32> {
            file.read(name).unwrap().iter().collect()
        };
        assert_eq!(values(&first), values(&official), "{name}");
        assert_eq!(values(&again), values(&official), "{name}");
    }
}

/// The transformer of a model in the repository.
fn file_of_model(name: &str) -> nextscale_weights::WeightFile {
    let path = model(name).join("transformer.safetensors");
    nextscale_weights::WeightFile::open(&path).unwrap()
}

#[test]
fn adapters_are_trained_resumed_and_merged() {
    let place = place();
    let run = TRAIN.replace("steps: 4", "steps: 12") + "  evaluate_every: 1\n" + LORA;
    place.write("lora.yaml", &run);
    let told = place.succeed("train transformer lora.yaml --out run");
    for part in [
        "memory: about",
        "encoded 10 images",
        "encoded 10 captions",
        "best",
    ] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
    let whole = numbers(&place.log("run"), "loss");
    let held_out = numbers(&place.log("run"), "held_out_loss");
    assert!(held_out[11] < held_out[0] - 0.005, "{held_out:?}");
    let last = place.log("run").pop().unwrap();
    assert!(
        last["held_out_loss"].is_number() && last["right.3"].is_number(),
        "{last}"
    );

    // A half run and its other half have the same losses; nothing is encoded again.
    place.succeed("train transformer lora.yaml --out halves --max-steps 5");
    let told = place.succeed("train transformer lora.yaml --out halves");
    assert!(
        told.contains("resuming at step 5") && !told.contains("encoded"),
        "{told}"
    );
    assert_eq!(numbers(&place.log("halves"), "loss"), whole);
    // A step of two batches one after the other is that of the batches at the same time.
    let short = TRAIN.to_owned() + LORA;
    let both = short.replace("  log_every", "  parallel: 2\n  log_every");
    let after = short.replace("  log_every", "  accumulate: 2\n  log_every");
    place.write("both.yaml", &both);
    place.write("after.yaml", &after);
    place.succeed("train transformer both.yaml --out both");
    place.succeed("train transformer after.yaml --out after");
    let (both, after) = (place.log("both"), place.log("after"));
    for (a, b) in numbers(&both, "loss").iter().zip(numbers(&after, "loss")) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }

    // Added when the model is loaded, or merged before: the same image, and another one than without.
    place.succeed("train export run --out adapter");
    place.succeed(&format!("{APPLE} plain.png"));
    place.succeed(&format!("{APPLE} lora.png --lora adapter:4"));
    assert!(bytes(&place, "plain.png") != bytes(&place, "lora.png"));
    let icons = model("icons");
    let from = icons.join("transformer.safetensors").display().to_string();
    place.succeed(&format!(
        "convert {from} --merge-lora adapter:4 --dtype f32 -o merged.safetensors"
    ));
    let copy = place.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for name in [
        "nextscale.json",
        "tokenizer.json",
        "words.txt",
        "text.safetensors",
        "vae.safetensors",
    ] {
        fs::copy(icons.join(name), copy.join(name)).unwrap();
    }
    fs::rename(
        place.path().join("merged.safetensors"),
        copy.join("transformer.safetensors"),
    )
    .unwrap();
    // Another transformer than the description's: its checksum goes.
    let text = fs::read_to_string(copy.join("nextscale.json")).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["fingerprints"]
        .as_object_mut()
        .unwrap()
        .remove("transformer.safetensors");
    fs::write(copy.join("nextscale.json"), json.to_string()).unwrap();
    place.succeed(&format!("{APPLE} merged.png --model copy"));
    assert!(bytes(&place, "merged.png") == bytes(&place, "lora.png"));

    // The image knows its adapter, and YAML names it in both ways.
    place.succeed("generate -p apple --seed 5 --lora adapter:4 -o known.png");
    place.succeed("run known.png --set metadata=false -o again.png");
    assert!(bytes(&place, "again.png") == bytes(&place, "lora.png"));
    place.write(
        "p.yaml",
        "lora: [{ file: adapter, weight: 2 }, \"adapter:2\"]\nseed: 5\nmetadata: false\nstages:\n  prompts: { stage: prompts, prompts: [apple] }\n  encode: { stage: text-encoder, from: prompts }\n  scales: { stage: text-to-image, from: encode }\n  decode: { stage: decode, from: scales }\n  save: { stage: save, from: decode, path: yaml.png }\n",
    );
    place.succeed("run p.yaml");
    assert!(place.path().join("yaml.png").is_file());
}

#[test]
fn an_adapter_of_another_model_is_refused_by_name() {
    let place = place();
    place.write("lora.yaml", &(TRAIN.replace("steps: 4", "steps: 1") + LORA));
    place.succeed("train transformer lora.yaml --out run");
    place.succeed("train export run --out adapter");
    let fashion = model("fashion-mnist").display().to_string();
    let icons = model("icons").display().to_string();
    place.fail(
        &format!("generate --model {fashion} --class bag --lora adapter -o x.png"),
        &["does not fit the model", "was trained for another model"],
    );
    place.fail(
        &format!("{APPLE} x.png --lora none"),
        &["there is no adapter `none`"],
    );
    place.fail(
        &format!("{APPLE} x.png --lora adapter:lots"),
        &["`lots` is no weight"],
    );
    place.write("text.safetensors", "hello, this is no adapter");
    place.fail(
        &format!("{APPLE} x.png --lora text.safetensors"),
        &["is no adapter that can be used"],
    );
    place.fail(
        &format!("convert {icons}/vae.safetensors --merge-lora adapter -o x.safetensors"),
        &["adapters are for transformers"],
    );
    assert!(!place.path().join("x.png").exists());
}

#[test]
fn mistakes_in_a_fine_tune_are_told_before_anything_is_trained() {
    let place = place();
    let lora = |text: &str| TRAIN.to_owned() + text + "\n";
    for (yaml, parts) in [
        (
            TRAIN.replace("from: default", "from: nothing"),
            &["`nothing` does not exist"][..],
        ),
        (lora("lora: { rank: 0 }"), &["rank must be at least 1"]),
        (
            lora("lora: { targets: [to_q] }"),
            &["`to_q` is no layer", "sa.mat_qkv"],
        ),
        (lora("lora: { rnak: 4 }"), &["rnak"]),
        (
            lora("frozen: [block]"),
            &[
                "`block` is the beginning of no parameter's name",
                "word_embed",
            ],
        ),
        (lora("storage: bf16"), &["`storage` is for `lora`"]),
        (lora("label_smoothing: 0.1"), &["models of classes"]),
        (
            lora("condition_drop: 2"),
            &["condition_drop: 2 is not between 0 and 1"],
        ),
        (
            lora("samples: { every_steps: 0, prompts: [a] }"),
            &["every_steps"],
        ),
        (
            TRAIN.replace("data: data", "data: none"),
            &["none", "nextscale data build"],
        ),
        (
            TRAIN.replace(
                "from: default",
                &format!("from: {}", model("fashion-mnist").display()),
            ),
            &["needs images with classes"],
        ),
        (
            TRAIN.replace("from: default", "from: sprites"),
            &["holds images", "kind: videos"],
        ),
        (
            TRAIN.replace("from: default", "from: edits"),
            &["edits by instruction"],
        ),
    ] {
        place.write("bad.yaml", &yaml);
        place.fail("train transformer bad.yaml --out bad", parts);
    }
    let shapes = DATA.replace("size: 64", "sizes: [[64, 32], [32, 32]]");
    place.write("shapes.yaml", &shapes.replace("out: data", "out: shapes"));
    place.succeed("data build shapes.yaml");
    let common =
        "data: shapes\nbatch: 2\ntrain: { budget: { steps: 1 }, learning_rate: { peak: 1 } }\n";
    for (kind, own) in [
        (
            "tokenizer",
            "kind: vq\nmodel: { vocabulary: 8, channels: 4, base_channels: 8, mult: [1, 2], blocks: 1, phis: 1, phi_ratio: 0.5, norm_groups: 4 }\nscales: [[1, 1]]\n",
        ),
        (
            "transformer",
            "kind: var\ntokenizer: none\nmodel: { width: 32, depth: 1, heads: 2 }\n",
        ),
    ] {
        place.write("bad.yaml", &format!("{common}{own}"));
        let parts = ["images of several shapes", "size: N"];
        place.fail(&format!("train {kind} bad.yaml --out bad"), &parts);
    }
    place.write(
        "small.yaml",
        &DATA
            .replace("size: 64", "size: 32")
            .replace("out: data", "out: small"),
    );
    place.succeed("data build small.yaml");
    place.write("bad.yaml", &TRAIN.replace("data: data", "data: small"));
    place.fail(
        "train transformer bad.yaml --out bad",
        &["does not generate 32x32 pixels"],
    );
}

/// The last checkpoints stay when there is no room for the next one.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_last_checkpoints() {
    let place = place();
    let often = TRAIN.replace(
        "  log_every: 1",
        "  checkpoint_minutes: 0\n  keep: 2\n  log_every: 1",
    );
    place.write("lora.yaml", &(often + LORA));
    place.succeed("train transformer lora.yaml --out run");
    let steps = || {
        let mut names: Vec<String> = fs::read_dir(place.path().join("run"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("step-") || name.ends_with(".part"))
            .collect();
        names.sort();
        names
    };
    assert_eq!(steps(), ["step-00000003", "step-00000004"]);
    // Files may have 100 KiB from here on; a signal would come before the error.
    let program = env!("CARGO_BIN_EXE_nextscale");
    let line = format!(
        "trap '' XFSZ; ulimit -f 100; exec {program} train transformer lora.yaml --out run --max-steps 6"
    );
    let output = std::process::Command::new("bash")
        .args(["-c", &line])
        .current_dir(place.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && told.contains("File too large"),
        "{told}"
    );
    assert!(!told.contains("panicked"), "{told}");
    assert_eq!(steps(), ["step-00000003", "step-00000004"]);
    place.succeed("train transformer lora.yaml --out run --max-steps 6");
}

#[test]
fn classes_and_clips_are_fine_tuned_too() {
    let place = Workplace::new();
    for class in ["bag", "sneaker"] {
        images(&place.path().join("images").join(class), 32, 4);
    }
    place.write(
        "data.yaml",
        &(DATA.replace("size: 64", "size: 32") + "labels: classes\n"),
    );
    place.succeed("data build data.yaml");
    let fashion = model("fashion-mnist").display().to_string();
    let var = TRAIN.replace("from: default", &format!("from: {fashion}"));
    place.write("var.yaml", &(var.clone() + LORA + "drop_path: 0.2\n"));
    place.succeed("train transformer var.yaml --out var");
    place.succeed("train export var --out var-lora");
    place.succeed(&format!(
        "generate --model {fashion} --class bag --lora var-lora --seed 1 -o bag.png"
    ));
    place.write(
        "var.yaml",
        &(var + "frozen: [blocks.0, class_emb]\nlabel_smoothing: 0.1\n"),
    );
    place.succeed("train transformer var.yaml --out var-whole");
    place.succeed("train export var-whole --out var-model");
    place.succeed("generate --model var-model --class bag --seed 1 -o bag2.png");

    // Clips: those that the embedded model makes.
    if cfg!(feature = "ffmpeg") {
        fs::create_dir(place.path().join("clips")).unwrap();
        for (i, prompt) in ["red apple bouncing", "blue car"].iter().enumerate() {
            let out = place.path().join(format!("clips/{i}.mp4"));
            let mut command = place.command(&format!("video --seed {i} -o"));
            let status = command.arg(&out).args(["-p", prompt]).output().unwrap();
            assert!(status.status.success());
            place.write(&format!("clips/{i}.txt"), prompt);
        }
        let info = nextscale_models::Model::open("sprites").unwrap();
        let manifest = info.infinity_star().unwrap();
        let (frames, fps) = (manifest.frames.default, manifest.fps);
        let side = manifest.sizes[0].width;
        place.write(
            "clips.yaml",
            &format!("kind: videos\nfrom: clips\nout: clips-data\nsize: {side}\nframes: {frames}\nfps: {fps}\nheld_out: 0\n"),
        );
        place.succeed("data build clips.yaml");
        let star = TRAIN.replace("from: default", "from: sprites");
        let star = star
            .replace("data: data", "data: clips-data")
            .replace("batch: 2", "batch: 1");
        place.write("star.yaml", &(star + LORA));
        place.succeed("train transformer star.yaml --out star");
        let loss = numbers(&place.log("star"), "loss");
        assert!(loss[3] < loss[0], "{loss:?}");
        place.succeed("train export star --out star-lora");
        place.succeed("video --lora star-lora -p apple --seed 1 -o apple.mp4");
    }
}
