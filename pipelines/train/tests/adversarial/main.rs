//! Tokenizers that are trained with VGG16 and a discriminator: runs that are stopped and resumed, checkpoints, what reads them.

#[path = "../../../metrics/tests/hashed_vgg/mod.rs"]
mod hashed_vgg;
mod recipes;
mod workplace;

use serde_json::Value;

use crate::recipes::{BITS, CLASSES, CLIPS, CODES};
use crate::workplace::Workplace;

const ADVERSARIAL: &str =
    "adversarial: { start_steps: 3, channels: 4, layers: 2, learning_rate_factor: 0.5 }";

fn loss(parts: &str) -> String {
    format!("loss: {{ {parts} }}")
}

/// Keys that only steps with the discriminator have.
const KEYS: [&str; 6] = [
    "generator",
    "discriminator",
    "adaptive",
    "logits_real",
    "logits_fake",
    "discriminator_gradient_norm",
];

/// The discriminator's keys are in the lines after its start, and only there.
fn starts_after(lines: &[Value], steps: usize) {
    for (i, line) in lines.iter().enumerate() {
        for key in KEYS {
            assert_eq!(line[key].is_number(), i >= steps, "{key} in {line}");
        }
    }
}

#[test]
fn a_stopped_run_with_vgg_and_discriminator_repeats_the_whole_one() {
    let place = Workplace::new();
    let mut weights = hashed_vgg::convolutions(hashed_vgg::torchvision);
    weights.extend(hashed_vgg::lins("lin"));
    hashed_vgg::save(&place.path("vgg.safetensors"), &weights);
    let perceptual = "perceptual: { vgg: FOLDER/vgg.safetensors, weight: 0.5 }";
    let text = BITS.replace("LOSS", &loss(&format!("{perceptual}, {ADVERSARIAL}")));
    let lines = place.resumes(&text, 8, 5);
    starts_after(&lines, 3);
    assert!(
        lines
            .iter()
            .all(|line| line["perceptual"].as_f64().unwrap() > 0.0)
    );
    // The discriminator learns to tell images from reconstructions.
    let apart = |line: &Value| {
        line["logits_real"].as_f64().unwrap() - line["logits_fake"].as_f64().unwrap()
    };
    assert!(
        apart(&lines[7]) > apart(&lines[3]),
        "{} then {}",
        lines[3],
        lines[7]
    );

    // Only what is trained on has the discriminator; the rest keeps the names of a run without one.
    let (model, average) = (
        place.tensors("whole", "model.bpk"),
        place.tensors("whole", "average.bpk"),
    );
    let own = |name: &&String| !name.starts_with("discriminator.");
    assert!(model.keys().filter(own).eq(average.keys()));
    assert_eq!(model.len() - average.len(), 14);
    let ones: Vec<u8> = [1f32; 8].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_ne!(model["discriminator.middle.0.norm.variance"], ones);
    let plain = BITS.replace("LOSS\n", "").replace("steps: 8", "steps: 1");
    place.train(&plain, "plain", usize::MAX).unwrap();
    let plain = place.tensors("plain", "model.bpk");
    assert!(plain.keys().eq(average.keys()));
    assert!(plain.contains_key("encoder.conv_in.weight"));

    // Another run may begin with its encoder.
    let decoder = BITS.replace("LOSS", "encoder_of: FOLDER/whole");
    let decoder = decoder.replace("steps: 8", "steps: 1");
    place.train(&decoder, "decoder", usize::MAX).unwrap();
}

#[test]
fn tokenizers_of_codes_and_of_clips_have_discriminators_too() {
    let place = Workplace::new();
    let vanilla = ADVERSARIAL.replace("channels", "loss: vanilla, adaptive: false, channels");
    let lines = place.resumes(&CODES.replace("LOSS", &loss(&vanilla)), 8, 2);
    starts_after(&lines, 3);
    assert!(lines[3..].iter().all(|line| line["adaptive"] == 1.0));
    // A transformer takes the tokenizer without its discriminator.
    place.train(CLASSES, "classes", usize::MAX).unwrap();

    let place = Workplace::new();
    let frames = ADVERSARIAL.replace("channels", "frames: 3, channels");
    let frames = frames.replace("start_steps: 3", "start_steps: 0");
    let lines = place.resumes(&CLIPS.replace("LOSS", &loss(&frames)), 6, 4);
    starts_after(&lines, 0);
    // The factor on the latent is not trained, on several threads neither.
    let threads = CLIPS
        .replace("LOSS\n", "")
        .replace("train:", "train:\n  parallel: 2");
    place.train(&threads, "threads", usize::MAX).unwrap();
    let quarters: Vec<u8> = [0.25f32; 4].iter().flat_map(|x| x.to_le_bytes()).collect();
    for run in ["whole", "parts", "threads"] {
        assert_eq!(place.tensors(run, "model.bpk")["scale"], quarters, "{run}");
    }
}

/// Without a discriminator nothing is different from a run whose discriminator has not started.
#[test]
fn before_its_start_a_discriminator_changes_nothing() {
    let place = Workplace::new();
    let plain = CODES.replace("LOSS\n", "").replace("steps: 8", "steps: 3");
    let waiting = CODES
        .replace("LOSS", &loss(ADVERSARIAL))
        .replace("steps: 8", "steps: 3");
    let plain = place.train(&plain, "plain", usize::MAX).unwrap();
    let waiting = place.train(&waiting, "waiting", usize::MAX).unwrap();
    for key in ["loss", "mse", "quantiser", "gradient_norm", "psnr"] {
        let of = |lines: &[Value]| {
            lines
                .iter()
                .map(|line| line[key].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(&plain), of(&waiting), "{key}");
    }
}

#[test]
fn mistakes_are_told_before_anything_is_trained() {
    let place = Workplace::new();
    let vgg = "perceptual: { vgg: FOLDER/none.pth }";
    for (parts, expected) in [
        (
            "adversarial: { layers: 5 }",
            &["32 pixels", "too small", "layers"][..],
        ),
        (
            "adversarial: { weight: -1 }",
            &["loss.adversarial", "negative"],
        ),
        (
            "adversarial: { loss: wasserstein }",
            &["config.yaml:", "wasserstein"],
        ),
        ("adversarial: { start: 5 }", &["config.yaml:", "start"]),
        ("perceptual: { weight: 1 }", &["config.yaml:", "vgg"]),
        (
            vgg,
            &["loss.perceptual.vgg", "none.pth", "vgg16-397923af.pth"],
        ),
        (
            "perceptual: { vgg: x, frames: 0 }",
            &["loss.perceptual.frames"],
        ),
        (
            "perceptual: { vgg: x, weight: -1 }",
            &["loss.perceptual.weight"],
        ),
    ] {
        for kind in [BITS, CODES, CLIPS] {
            let text = kind.replace("LOSS", &loss(parts));
            let message = place.train(&text, "run", 1).unwrap_err();
            for part in expected {
                assert!(message.contains(part), "{part:?} is not in {message}");
            }
        }
    }
    assert!(!place.path("run/log.jsonl").exists());
}
