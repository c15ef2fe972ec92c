//! Files as PyTorch and older tools write them.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use nextscale_tests::read_safetensors;
use nextscale_text::T5Config;
use nextscale_text::import;
use nextscale_weights::{WeightDtype, WeightFile};

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(file)
}

/// Two shards that PyTorch wrote, in which every value of tensor `i`, in the order of the names, is `i`.
#[test]
fn shards_of_pytorch_are_joined() {
    let config = T5Config::new(20, 16, 2, 4, 24);
    let mut t5 = config.init(&Device::flex());
    import::load(&mut t5, golden("t5-shards/pytorch_model.bin.index.json")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    import::save(&t5, &path, WeightDtype::F32).unwrap();
    let tensors = read_safetensors(&path).unwrap();
    let names: Vec<String> = import::keys(&config).into_keys().collect();
    assert!(tensors.keys().eq(&names));
    for (number, name) in names.iter().enumerate() {
        let values = &tensors[name].values;
        assert!(
            !values.is_empty() && values.iter().all(|&x| x == number as f64),
            "{name}"
        );
    }
}

/// The name of this file has a length that the ZIP reader takes for something else.
#[test]
fn a_misread_archive_opens_and_stays_readable() {
    let path = golden("archives/infinitystar_videovae.pth");
    let part = WeightFile::open(&path).unwrap().part("a."); // the file it came from is dropped
    let data = part.read("weight").unwrap();
    assert_eq!(data.shape().to_vec(), [2, 3]);
    let values: Vec<f32> = data.iter().collect();
    assert_eq!(values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}

/// Programs with weights, which OpenAI's files of CLIP are: every value of tensor `i`, in the order of the names, is `i`.
#[test]
fn the_weights_of_torchscript_are_read() {
    let path = golden("archives/scripted.pt");
    let file = WeightFile::open(&path).unwrap();
    let names: Vec<&str> = file.names().collect();
    let block =
        |i| ["in_proj_weight", "ln.bias", "ln.weight"].map(|name| format!("resblocks.{i}.{name}"));
    let blocks = [block(0), block(1)].concat();
    let expected: Vec<&str> = ["logit_scale", "mask"]
        .into_iter()
        .chain(blocks.iter().map(String::as_str))
        .collect();
    assert_eq!(names, expected);
    for (number, name) in names.into_iter().enumerate() {
        let values: Vec<f32> = file.read(name).unwrap().convert::<f32>().iter().collect();
        assert!(
            !values.is_empty() && values.iter().all(|&x| x == number as f32),
            "{name}: {values:?}"
        );
    }
    assert_eq!(file.shape("resblocks.1.in_proj_weight").unwrap(), [6, 2]);

    // Cut off, it is refused in one sentence.
    let bytes = std::fs::read(&path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("cut.pt");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let error = WeightFile::open(&cut).err().unwrap().to_string();
    assert!(
        error.contains("cut.pt") && error.contains("cut off"),
        "{error}"
    );
}
