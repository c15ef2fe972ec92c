//! Released models by name, and where they are looked for.

use nextscale_bitwise::import::save_infinity;
use nextscale_bitwise::infinity::InfinityConfig;
use nextscale_text::{T5Config, train_unigram};
use nextscale_weights::WeightDtype;

use crate::{Place, says, tiny};

/// A folder with the parts of a model of 56 bits a token under the names of the released 8B model.
fn released(place: &Place) {
    let device = burn::tensor::Device::flex();
    let config = InfinityConfig {
        width: 32,
        depth: 2,
        heads: 2,
        code_dim: 56,
        text_channels: 128,
        text_max_len: 16,
        mlp_ratio: 8.0,
        block_chunks: 2,
        levels: 15,
    };
    let shards = place.path("models/infinity_8b_512x512_weights");
    std::fs::create_dir_all(&shards).unwrap();
    let file = "model-00001-of-00001.safetensors";
    let model = config.init(&device);
    save_infinity(&config, &model, &shards.join(file), WeightDtype::Bf16).unwrap();
    let index = format!(r#"{{"weight_map": {{"pos_start": "{file}"}}}}"#);
    std::fs::write(shards.join("model.safetensors.index.json"), index).unwrap();
    let text = place.path("models/flan-t5-xl");
    std::fs::create_dir_all(&text).unwrap();
    let vocab = train_unigram(["a red house", "a blue tree and a cat"], 40).unwrap();
    vocab.save(text.join("tokenizer.json")).unwrap();
    let t5 = T5Config::new(vocab.size(), 128, 1, 2, 64);
    std::fs::write(text.join("config.json"), t5.to_hf_json()).unwrap();
    let weights = text.join("model.safetensors");
    nextscale_text::import::save(&t5.init(&device), weights, WeightDtype::F16).unwrap();
}

#[test]
fn every_model_is_listed_with_what_it_lacks() {
    let place = Place::new();
    released(&place);
    let said = |args: &[&str]| String::from_utf8(place.good(args).stdout).unwrap();
    let list = said(&["models"]);
    for name in [
        "default",
        "infinity-2b",
        "infinity-8b",
        "infinity-8b-512",
        "var-d16",
        "var-d36",
    ] {
        assert!(
            list.lines().any(|l| l.starts_with(name)),
            "{name} is not in: {list}"
        );
    }
    let one = said(&["models", "infinity-8b-512"]);
    assert!(one.contains("models/infinity_8b_512x512_weights"), "{one}");
    assert!(
        one.contains("infinity_vae_d56_f8_14_patchify.pth\n             not found"),
        "{one}"
    );
    assert!(
        place
            .refused("models infinity-3b")
            .contains("no released model `infinity-3b`")
    );
    let lacking = place.refused("generate -m infinity-8b-512 -p 'a cat'");
    assert!(
        lacking.contains("infinity_vae_d56_f8_14_patchify.pth not found"),
        "{lacking}"
    );
    assert!(
        lacking.contains("huggingface-cli download FoundationVision/Infinity"),
        "{lacking}"
    );
}

#[test]
fn an_index_must_be_complete_and_parts_must_fit() {
    let place = Place::new();
    released(&place);
    // A tokenizer of the 2B model where that of the 8B model belongs: 32 bits instead of 4 x 14.
    let vae = nextscale_bitwise::vae::BsqVaeConfig {
        base_channels: 24,
        ..nextscale_bitwise::vae::BsqVaeConfig::stride_16(32)
    };
    let device = burn::tensor::Device::flex();
    let dtype = nextscale_weights::WeightDtype::F16;
    let path = place.path("models/infinity_vae_d56_f8_14_patchify.safetensors");
    vae.init(&device).save(path, dtype).unwrap();
    let path = "models/infinity_8b_512x512_weights";
    let ask = ["generate", "-m", path, "-p", "a cat"];
    let said = place.refused(&ask);
    says(
        &said,
        &["its auto-encoder gives 32 bits a token, its transformer takes 56"],
    );
    // Under the name of the released model it has to have that one's shapes.
    let said = place.refused("generate -m infinity-8b-512 -p 'a cat'");
    says(
        &said,
        &["width 32, 2 blocks, 56 bits a token instead of width 3584, 40 blocks"],
    );
    std::fs::remove_file(
        place.path("models/infinity_8b_512x512_weights/model-00001-of-00001.safetensors"),
    )
    .unwrap();
    let said = place.refused(&ask);
    says(
        &said,
        &["model-00001-of-00001.safetensors, which does not exist"],
    );
}

#[test]
fn shapes_and_pixels() {
    let place = Place::new();
    let model = tiny::model().to_str().unwrap();
    let ask = |more: &[&str]| {
        let args = [
            "generate", "-m", model, "-p", "a cat", "-s", "1", "-o", "x.png",
        ];
        place.run(&[&args, more].concat())
    };
    let size = || {
        image::open(place.path("x.png"))
            .map(|i| (i.width(), i.height()))
            .unwrap()
    };
    assert!(ask(&["--aspect", "3:2"]).status.success());
    assert_eq!(size(), (24, 16));
    assert!(ask(&["--pixels", "250"]).status.success());
    assert_eq!(size(), (16, 16));
    for (more, part) in [
        (
            ["--aspect", "10:1"],
            "the nearest that it generates is 24x16",
        ),
        (["--pixels", "1M"], "it generates about"),
        (["--pixels", "many"], "is not a number of pixels"),
    ] {
        let said = crate::stderr(&ask(&more));
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn half_the_memory_is_nearly_the_same_picture() {
    let place = Place::new();
    let paint = |dtype: &str, out: &str| {
        let first = "generate -m @tiny -p 'a red house' -s 1 --temperature 0 --device cpu";
        place.good(&format!("{first} --dtype {dtype} -o {out} --no-metadata"));
        image::open(place.path(out)).unwrap().into_rgb8()
    };
    let (full, half) = (paint("f32", "a.png"), paint("bf16", "b.png"));
    assert_eq!(full.dimensions(), half.dimensions());
    let said = place.refused("generate -m @tiny -p x --device cpu --dtype f16");
    assert!(
        said.contains("f16 is not supported on the CPU") && said.contains("--dtype bf16"),
        "{said}"
    );
}

#[test]
fn pictures_larger_than_any_of_the_training() {
    let place = Place::new();
    tiny::copy(&place.path("m"));
    let path = place.path("m/nextscale.json");
    let text = std::fs::read(&path).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
    // Eight scales, of which the transformer knows three and has six embeddings.
    let grids = [1, 2, 4, 5, 6, 8, 10, 12].map(|side| [side, side]);
    manifest["sizes"]
        .as_array_mut()
        .unwrap()
        .push(serde_json::json!({
            "width": 48, "height": 48, "scales": grids, "reference": [4, 4], "known": 3
        }));
    std::fs::write(&path, manifest.to_string()).unwrap();
    let paint = |more: &str, out: &str| {
        let first = "generate -m m -p 'a cat' -s 1 -W 48 --no-metadata";
        place.good(&format!("{first} {more} -o {out}"));
        image::open(place.path(out)).unwrap().into_rgb8()
    };
    let whole = paint("", "a.png");
    assert_eq!(whole.dimensions(), (48, 48));
    // In strips it is the same picture, but for the last bit of a rounded number.
    let strips = paint("--tile", "b.png");
    let off = whole
        .as_raw()
        .iter()
        .zip(strips.as_raw())
        .map(|(a, b)| a.abs_diff(*b));
    assert!(off.clone().max() <= Some(1), "{:?}", off.max());
    let manifest = std::fs::read_to_string(&path)
        .unwrap()
        .replace("\"known\":3", "\"known\":7");
    std::fs::write(&path, manifest).unwrap();
    let said = place.refused("generate -m m -p 'a cat' -s 1 -W 48");
    says(&said, &["has 7 scales, but its transformer knows 6"]);
}

#[test]
fn a_tokenizer_that_only_looks_alike_is_named() {
    let place = Place::new();
    std::fs::create_dir(place.path("models")).unwrap();
    place.write("models/infinity_vae_d32.pth", "");
    let said = place.refused("generate -m infinity-2b -p 'a cat'");
    assert!(
        said.contains(
            "infinity_vae_d32.pth has the shapes of infinity_vae_d32reg.pth, but is another one"
        ),
        "{said}"
    );
}
