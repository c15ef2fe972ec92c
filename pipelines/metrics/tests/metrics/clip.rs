//! CLIP compared with OpenAI's code.

use burn::tensor::Device;
use nextscale_metrics::clip::{Clip, Tokens, scores};
use serde_json::Value;

use crate::hashed_vgg::{Named, save};
use crate::hashes::{golden, image, near, rows_near, weight};

/// Names and shapes of a CLIP with towers of width 128 and 64.
fn clip_tensors(vocabulary: usize) -> Vec<(String, Vec<usize>, Option<usize>)> {
    let mut all = Vec::new();
    let mut add = |name: &str, shape: &[usize], fan_in: Option<usize>| {
        all.push((name.to_owned(), shape.to_vec(), fan_in));
    };
    add("visual.conv1.weight", &[128, 3, 16, 16], None);
    add("visual.class_embedding", &[128], None);
    add("visual.positional_embedding", &[17, 128], None);
    add("visual.proj", &[128, 24], Some(128));
    add("token_embedding.weight", &[vocabulary, 64], None);
    add("positional_embedding", &[77, 64], None);
    add("text_projection", &[64, 24], Some(64));
    for (name, width) in [
        ("visual.ln_pre", 128),
        ("visual.ln_post", 128),
        ("ln_final", 64),
    ] {
        add(&format!("{name}.weight"), &[width], None);
        add(&format!("{name}.bias"), &[width], None);
    }
    for (tower, w) in [("visual.transformer", 128), ("transformer", 64)] {
        for block in 0..2 {
            let parts = [
                ("attn.in_proj_", [3 * w, w]),
                ("attn.out_proj.", [w, w]),
                ("mlp.c_fc.", [4 * w, w]),
                ("mlp.c_proj.", [w, 4 * w]),
            ];
            let name = format!("{tower}.resblocks.{block}");
            for (part, shape) in parts {
                add(&format!("{name}.{part}weight"), &shape, None);
                add(&format!("{name}.{part}bias"), &shape[..1], None);
            }
            for norm in ["ln_1", "ln_2"] {
                add(&format!("{name}.{norm}.weight"), &[w], None);
                add(&format!("{name}.{norm}.bias"), &[w], None);
            }
        }
    }
    all
}

#[test]
fn clip_is_that_of_openai() {
    let golden = &golden()["clip"];
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let merges = golden["merges"].as_array().unwrap().iter();
    let merges: Vec<&str> = merges.filter_map(Value::as_str).collect();
    std::fs::write(at("bpe.txt"), format!("heading\n{}\n", merges.join("\n"))).unwrap();
    let tokens = Tokens::open(&at("bpe.txt")).unwrap();
    let texts = ["a photo of a cat", "The  red Apple's 12 leaves!"].map(str::to_owned);
    let long = format!("thé über {}", "painting ".repeat(90));
    let texts = [texts.as_slice(), &[long]].concat();
    let ids = |text: &str| tokens.encode(text, 77).unwrap();
    for (text, golden) in texts.iter().zip(golden["tokens"].as_array().unwrap()) {
        let (ours, is_cut) = ids(text);
        let theirs = golden.as_array().unwrap().iter().filter_map(Value::as_u64);
        let theirs: Vec<u32> = theirs.filter(|id| *id > 0).map(|id| id as u32).collect();
        let start = if is_cut { &theirs[..12] } else { &theirs };
        assert_eq!(&ours[..start.len()], start, "{text}");
        assert_eq!(ours.last(), theirs.last());
        assert_eq!(is_cut, ours.len() == 77, "{text}");
    }
    let vocabulary = golden["vocabulary"].as_u64().unwrap() as usize;
    let all = clip_tensors(vocabulary).into_iter();
    let all: Vec<Named> = all
        .map(|(name, shape, from)| weight(&name, &shape, from))
        .collect();
    save(&at("clip.safetensors"), &all);
    let clip = Clip::open(&at("clip.safetensors"), &Device::flex()).unwrap();
    let images = [
        ("clip-a-smooth", 91, 120),
        ("clip-b", 50, 33),
        ("clip-c", 64, 64),
    ];
    let images = images.map(|(name, h, w)| image(name, h, w));
    let ours = clip.images(&images).unwrap();
    rows_near("images", &ours, &golden["images"]);
    let (of_texts, cut) = clip.texts(&tokens, &texts).unwrap();
    assert_eq!(cut, 1);
    rows_near("texts", &of_texts, &golden["texts"]);
    for (ours, theirs) in scores(&ours, &of_texts)
        .unwrap()
        .iter()
        .zip(golden["scores"].as_array().unwrap())
    {
        near("score", *ours, theirs, 1e-4);
    }
}
