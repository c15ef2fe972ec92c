//! Released models by name, and where they are looked for.

use std::path::{Path, PathBuf};

use nextscale_bitwise::import::save_infinity;
use nextscale_bitwise::infinity::InfinityConfig;
use nextscale_bitwise::vae::BsqVaeConfig;
use nextscale_weights::WeightDtype;

use crate::{Place, says, tiny};

/// Writes a text encoder as it is published.
pub(crate) fn save_released_text(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let config = tiny::save_text(folder, "tokenizer.json", "model.safetensors");
    std::fs::write(folder.join("config.json"), config.to_hf_json()).unwrap();
}

/// Makes the folder of a checkpoint of one shard, with its index; returns the path of the shard.
pub(crate) fn shard(folder: &Path, tensor: &str) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let file = "model-00001-of-00001.safetensors";
    let index = format!(r#"{{"weight_map": {{"{tensor}": "{file}"}}}}"#);
    std::fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
    folder.join(file)
}

/// A folder with the parts of a model of 56 bits a token under the names of the released 8B model.
fn released(place: &Place) {
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
    let model = config.init(&burn::tensor::Device::flex());
    let folder = place.path("models/infinity_8b_512x512_weights");
    let shard = shard(&folder, "pos_start");
    save_infinity(&config, &model, &shard, WeightDtype::Bf16).unwrap();
    save_released_text(&place.path("models/flan-t5-xl"));
}

#[test]
fn every_model_is_listed_with_what_it_lacks() {
    let place = Place::new();
    released(&place);
    let list = place.stdout("models");
    for name in "default infinity-2b infinity-8b infinity-8b-512 var-d16 var-d36".split(' ') {
        let listed = list.lines().any(|l| l.starts_with(name));
        assert!(listed, "{name} is not in: {list}");
    }
    let missing = "infinity_vae_d56_f8_14_patchify.pth\n             not found";
    let one = place.stdout("models infinity-8b-512");
    says(&one, &["models/infinity_8b_512x512_weights", missing]);
    place.refuses_each(
        "",
        "
        models infinity-3b => no released model `infinity-3b`
        generate -m infinity-8b-512 -p 'a cat' => infinity_vae_d56_f8_14_patchify.pth not found | huggingface-cli download FoundationVision/Infinity",
    );
}

#[test]
fn an_index_must_be_complete_and_parts_must_fit() {
    let place = Place::new();
    released(&place);
    // A tokenizer of the 2B model where that of the 8B model belongs: 32 bits instead of 4 x 14.
    let vae = BsqVaeConfig {
        base_channels: 24,
        ..BsqVaeConfig::stride_16(32)
    };
    let path = place.path("models/infinity_vae_d56_f8_14_patchify.safetensors");
    let vae = vae.init(&burn::tensor::Device::flex());
    vae.save(path, WeightDtype::F16).unwrap();
    // Under the name of the released model it has to have that one's shapes.
    place.refuses_each(
        "generate -p 'a cat'",
        "
        -m models/infinity_8b_512x512_weights => its auto-encoder gives 32 bits a token, its transformer takes 56
        -m infinity-8b-512 => width 32, 2 blocks, 56 bits a token instead of width 3584, 40 blocks",
    );
    let folder = "models/infinity_8b_512x512_weights";
    let shard = place.path(folder).join("model-00001-of-00001.safetensors");
    std::fs::remove_file(shard).unwrap();
    place.refuses_each(
        &format!("generate -p 'a cat' -m {folder}"),
        "=> model-00001-of-00001.safetensors, which does not exist",
    );
}

#[test]
fn shapes_and_pixels() {
    let place = Place::new();
    let first = "generate -m @tiny -p 'a cat' -s 1 -o x.png";
    for (more, size) in [("--aspect 3:2", (24, 16)), ("--pixels 250", (16, 16))] {
        place.good(&format!("{first} {more}"));
        assert_eq!(place.image("x.png").dimensions(), size, "{more}");
    }
    place.refuses_each(
        first,
        "
        --aspect 10:1 => the nearest that it generates is 24x16
        --pixels 1M   => it generates about
        --pixels many => is not a number of pixels",
    );
}

#[test]
fn half_the_memory_is_nearly_the_same_picture() {
    let place = Place::new();
    let paint = |dtype: &str, out: &str| {
        let first = "generate -m @tiny -p 'a red house' -s 1 --temperature 0 --device cpu";
        place.good(&format!("{first} --dtype {dtype} -o {out} --no-metadata"));
        place.image(out)
    };
    let (full, half) = (paint("f32", "a.png"), paint("bf16", "b.png"));
    assert_eq!(full.dimensions(), half.dimensions());
    place.refuses_each(
        "generate -m @tiny -p x --device cpu",
        "--dtype f16 => f16 is not supported on the CPU | --dtype bf16",
    );
}

#[test]
fn pictures_larger_than_any_of_the_training() {
    let place = Place::new();
    let folder = place.path("m");
    tiny::copy(&folder);
    // Eight scales, of which the transformer knows three and has six embeddings.
    let grids = [1, 2, 4, 5, 6, 8, 10, 12].map(|side| [side, side]);
    tiny::describe(&folder, |manifest| {
        let sizes = manifest["sizes"].as_array_mut().unwrap();
        sizes.push(serde_json::json!({
            "width": 48, "height": 48, "scales": grids, "reference": [4, 4], "known": 3
        }));
    });
    let paint = |more: &str, out: &str| {
        let first = "generate -m m -p 'a cat' -s 1 -W 48 --no-metadata";
        place.good(&format!("{first} {more} -o {out}"));
        place.image(out)
    };
    let whole = paint("", "a.png");
    assert_eq!(whole.dimensions(), (48, 48));
    // In strips it is the same picture, but for the last bit of a rounded number.
    let strips = paint("--tile", "b.png");
    let pairs = whole.iter().zip(strips.iter());
    let off = pairs.map(|(a, b)| a.abs_diff(*b)).max();
    assert!(off <= Some(1), "{off:?}");
    tiny::describe(&folder, |manifest| {
        let sizes = manifest["sizes"].as_array_mut().unwrap();
        sizes.last_mut().unwrap()["known"] = 7.into();
    });
    place.refuses_each(
        "generate -m m -p 'a cat' -s 1 -W 48",
        "=> has 7 scales, but its transformer knows 6",
    );
}

#[test]
fn a_tokenizer_that_only_looks_alike_is_named() {
    let place = Place::new();
    place.make_dir("models");
    place.write("models/infinity_vae_d32.pth", "");
    place.refuses_each(
        "generate -m infinity-2b -p 'a cat'",
        "=> infinity_vae_d32.pth has the shapes of infinity_vae_d32reg.pth, but is another one",
    );
}
