//! The released video models by name and by path: tiny transformers under their names.

use nextscale_text::{T5Config, train_unigram};
use nextscale_video::InfinityStarConfig;
use nextscale_video::codes::CodeBits;
use nextscale_video::infinity_star::save_infinity_star;
use nextscale_weights::WeightDtype;

use crate::Place;

/// The parts of a model in the layout in which they are published, without an auto-encoder that could be loaded.
fn released(place: &Place, transformer: &str) {
    let device = burn::tensor::Device::flex();
    let config = InfinityStarConfig {
        width: 32,
        depth: 2,
        heads: 2,
        kv_heads: 1,
        mlp_hidden: 48,
        bits: CodeBits::INFINITYSTAR,
        text_channels: 128,
        text_max_len: 512,
        attention_bias: false,
        block_chunks: 2,
    };
    let shards = place.path("models").join(transformer);
    std::fs::create_dir_all(&shards).unwrap();
    let file = "model-00001-of-00001.safetensors";
    let path = shards.join(file);
    save_infinity_star(&config, &config.init(&device), &path, WeightDtype::Bf16).unwrap();
    let index = format!(r#"{{"weight_map": {{"cfg_uncond": "{file}"}}}}"#);
    std::fs::write(shards.join("model.safetensors.index.json"), index).unwrap();
    place.write("models/infinitystar_videovae.pth", "");
    let text = place.path("models/text_encoder/flan-t5-xl-official");
    std::fs::create_dir_all(&text).unwrap();
    let vocab = train_unigram(["a red house", "a blue tree and a cat"], 40).unwrap();
    vocab.save(text.join("tokenizer.json")).unwrap();
    let t5 = T5Config::new(vocab.size(), 128, 1, 2, 64);
    std::fs::write(text.join("config.json"), t5.to_hf_json()).unwrap();
    let weights = text.join("model.safetensors");
    nextscale_text::import::save(&t5.init(&device), weights, WeightDtype::F16).unwrap();
}

/// The pipeline of `video` on a model, to be checked and not run.
fn check(place: &Place, model: &str, keys: &str) -> Result<(), String> {
    let text = format!(
        "model: {model}
stages:
  prompts: {{ stage: prompts, prompts: [a cat] }}
  text: {{ stage: text-encoder, from: prompts }}
  latent: {{ stage: text-to-video, from: text{keys} }}
  frames: {{ stage: decode-video, from: latent }}
  save: {{ stage: save-video, from: frames, path: x.mp4 }}
"
    );
    place.write("v.yaml", &text);
    let output = place.run("validate v.yaml");
    if output.status.success() {
        Ok(())
    } else {
        Err(crate::stderr(&output))
    }
}

#[test]
fn lengths_and_sizes_are_those_of_the_release() {
    let place = Place::new();
    for folder in [
        "infinitystar_8b_720p_weights",
        "infinitystar_8b_480p_weights",
        "InfinityStarInteract_24K_iters",
    ] {
        released(&place, folder);
    }
    let (large, small) = ("infinitystar-8b-720p", "infinitystar-8b-480p");
    let interact = "infinitystar-interact";
    for (model, keys) in [
        (large, ""),
        (large, ", seconds: 5, width: 1280, height: 720"),
        (large, ", seconds: 0"),
        (large, ", aspect: '9:16', seconds: 3"),
        (small, ", seconds: 10, aspect: '1:1'"),
        (small, ", width: 848"),
        ("models/infinitystar_8b_480p_weights", ", seconds: 10"),
    ] {
        assert_eq!(check(&place, model, keys), Ok(()), "{model}{keys}");
    }
    for (model, keys, part) in [
        (large, ", seconds: 10", "the longest is 81 frames (5 s)"),
        (small, ", seconds: 5.5", "the nearest is"),
        (small, ", seconds: 11", "the nearest is 161 frames (10 s)"),
        (large, ", width: 848", "the nearest size is 8"),
        (interact, "", "continues a video"),
    ] {
        let said = check(&place, model, keys).unwrap_err();
        assert!(said.contains(part), "{model}{keys}: {said}");
    }
    let list = String::from_utf8(place.good(&["models"]).stdout).unwrap();
    for name in [large, small, interact] {
        let line = list.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.contains("ready"), "{line}");
    }
    let one = String::from_utf8(place.good(&["models", small]).stdout).unwrap();
    assert!(
        one.contains("models/text_encoder/flan-t5-xl-official"),
        "{one}"
    );
}

#[test]
fn what_is_missing_or_cannot_be_told_is_said() {
    let place = Place::new();
    let said = check(&place, "infinitystar-8b-480p", "").unwrap_err();
    for part in [
        "is not on this machine",
        "infinitystar_videovae.pth",
        "huggingface-cli download FoundationVision/InfinityStar",
        "google/flan-t5-xl",
    ] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    let said = check(&place, "infinitystar-8b-72p", "").unwrap_err();
    assert!(
        said.contains("did you mean `infinitystar-8b-720p`?"),
        "{said}"
    );
    // The three transformers have the same shapes: only their names tell them apart.
    released(&place, "weights");
    let said = check(&place, "models/weights", "").unwrap_err();
    assert!(said.contains("its name does not say which one"), "{said}");
    assert!(said.contains("720p, 480p, interact"), "{said}");
}
