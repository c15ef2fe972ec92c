//! The released video models by name and by path: tiny transformers under their names.

use nextscale_video::InfinityStarConfig;
use nextscale_video::codes::CodeBits;
use nextscale_video::infinity_star::save_infinity_star;
use nextscale_weights::WeightDtype;

use crate::models::{save_released_text, shard};
use crate::{Place, rows, says};

/// The parts of a model in the layout in which they are published, without an auto-encoder that could be loaded.
fn released(place: &Place, transformer: &str) {
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
    let model = config.init(&burn::tensor::Device::flex());
    let shard = shard(&place.path("models").join(transformer), "cfg_uncond");
    save_infinity_star(&config, &model, &shard, WeightDtype::Bf16).unwrap();
    place.write("models/infinitystar_videovae.pth", "");
    save_released_text(&place.path("models/text_encoder/flan-t5-xl-official"));
}

/// Writes `v.yaml`: the pipeline of `video` on a model, with further keys of the stage that generates.
fn write_pipeline(place: &Place, model: &str, keys: &str) {
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
}

/// Checks, for each row of a table, a pipeline on the model that it begins with; the row says `good`, or what it is refused with.
fn check(place: &Place, table: &str) {
    for (key, parts) in rows(table) {
        let (model, keys) = key.split_once(' ').unwrap_or((key, ""));
        write_pipeline(place, model, keys);
        if parts == ["good"] {
            place.good("validate v.yaml");
        } else {
            place.refuses("validate v.yaml", &parts);
        }
    }
}

#[test]
fn lengths_and_sizes_are_those_of_the_release() {
    let place = Place::new();
    released(&place, "infinitystar_8b_720p_weights");
    released(&place, "infinitystar_8b_480p_weights");
    released(&place, "InfinityStarInteract_24K_iters");
    check(
        &place,
        "
        infinitystar-8b-720p => good
        infinitystar-8b-720p , seconds: 5, width: 1280, height: 720 => good
        infinitystar-8b-720p , seconds: 0 => good
        infinitystar-8b-720p , aspect: '9:16', seconds: 3 => good
        infinitystar-8b-480p , seconds: 10, aspect: '1:1' => good
        infinitystar-8b-480p , width: 848 => good
        models/infinitystar_8b_480p_weights , seconds: 10 => good
        infinitystar-8b-720p , seconds: 10 => the longest is 81 frames (5 s)
        infinitystar-8b-480p , seconds: 5.5 => the nearest is
        infinitystar-8b-480p , seconds: 11 => the nearest is 161 frames (10 s)
        infinitystar-8b-720p , width: 848 => the nearest size is 8
        infinitystar-interact => continues a video",
    );
    let list = place.stdout("models");
    for name in [
        "infinitystar-8b-720p",
        "infinitystar-8b-480p",
        "infinitystar-interact",
    ] {
        let line = list.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.contains("ready"), "{line}");
    }
    let one = place.stdout("models infinitystar-8b-480p");
    says(&one, &["models/text_encoder/flan-t5-xl-official"]);
}

#[test]
fn what_is_missing_or_cannot_be_told_is_said() {
    let place = Place::new();
    check(
        &place,
        "
        infinitystar-8b-480p => is not on this machine | infinitystar_videovae.pth | huggingface-cli download FoundationVision/InfinityStar | google/flan-t5-xl
        infinitystar-8b-72p  => did you mean `infinitystar-8b-720p`?",
    );
    // The three transformers have the same shapes: only their names tell them apart.
    released(&place, "weights");
    check(
        &place,
        "models/weights => its name does not say which one | 720p, 480p, interact",
    );
}
