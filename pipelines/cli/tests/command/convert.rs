//! `nextscale convert`.

use std::path::{Path, PathBuf};

use crate::{Place, says, stderr, tiny};
use nextscale_weights::WeightFile;

fn golden(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("../../tests/golden").join(name)
}

fn convert(place: &Place, input: &Path, more: &[&str]) -> String {
    let input = input.to_str().unwrap();
    let output = place.good(&[&["convert", input, "-o", "out.safetensors"], more].concat());
    stderr(&output)
}

#[test]
fn every_tensor_is_there_with_its_numbers() {
    for (file, kind) in [
        (
            "infinity-dev-b/weights.safetensors",
            "an Infinity transformer",
        ),
        (
            "infinity-vae-dev/weights.safetensors",
            "an Infinity tokenizer",
        ),
        ("var-vqvae-dev/weights.safetensors", "a VAR tokenizer"),
        (
            "star-720p-t2v_1s/weights.safetensors",
            "an InfinityStar transformer",
        ),
    ] {
        let place = Place::new();
        let said = convert(&place, &golden(file), &[]);
        assert!(said.contains(kind), "{said}");
        assert_eq!(place.files("."), ["out.safetensors"]);
        let before = WeightFile::open(&golden(file)).unwrap();
        let after = WeightFile::open(&place.path("out.safetensors")).unwrap();
        assert!(after.names().count() > 20, "{file}");
        for name in after.names() {
            before
                .read(name)
                .unwrap()
                .assert_eq(&after.read(name).unwrap(), true);
        }
        let left: Vec<&str> = before
            .names()
            .filter(|name| after.shape(name).is_none())
            .collect();
        assert!(
            left.iter().all(|name| *name == "sos_token"),
            "{file}: {left:?}"
        );
    }
}

#[test]
fn a_pytorch_file_becomes_the_same_numbers() {
    let place = Place::new();
    let folder = place.path("t5");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(
        golden("t5-dev/weights.pth"),
        folder.join("pytorch_model.bin"),
    )
    .unwrap();
    let mut config = nextscale_text::T5Config::new(300, 64, 2, 4, 128);
    config.d_kv = 16;
    std::fs::write(folder.join("config.json"), config.to_hf_json()).unwrap();
    let said = convert(&place, &folder, &["--dtype", "f32"]);
    says(&said, &["a T5 encoder"]);
    let mut t5 = config.init(&burn::tensor::Device::flex());
    nextscale_text::import::load(&mut t5, place.path("out.safetensors")).unwrap();
    let before = WeightFile::open(&golden("t5-dev/weights.safetensors")).unwrap();
    let after = WeightFile::open(&place.path("out.safetensors")).unwrap();
    for name in after.names() {
        before
            .read(name)
            .unwrap()
            .assert_eq(&after.read(name).unwrap(), true);
    }
}

/// Paints with the tiny model, of which these files are replaced.
fn paint(place: &Place, files: &[(&str, PathBuf)]) -> Vec<u8> {
    let folder = place.path("m");
    tiny::copy(&folder);
    for (name, from) in files {
        std::fs::copy(from, folder.join(name)).unwrap();
    }
    let path = folder.join("nextscale.json");
    let text = std::fs::read(&path).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
    manifest["fingerprints"] = serde_json::json!({});
    std::fs::write(path, manifest.to_string()).unwrap();
    place.good("generate -m m -p 'a red house' -s 1 --no-metadata -o x.png");
    place.read("x.png")
}

#[test]
fn a_converted_model_paints_the_same_picture() {
    let place = Place::new();
    let plain = paint(&place, &[]);
    let mut files = vec![];
    for name in ["transformer.safetensors", "vae.safetensors"] {
        convert(&place, &tiny::model().join(name), &["--dtype", "f32"]);
        let moved = place.path(&format!("f32-{name}"));
        std::fs::rename(place.path("out.safetensors"), &moved).unwrap();
        let file = WeightFile::open(&moved).unwrap();
        let first = file.names().next().unwrap().to_owned();
        assert_eq!(file.kind(&first).unwrap().0, burn::tensor::DType::F32);
        files.push((name, moved));
    }
    // The f16 numbers are what they were, so the picture is too.
    assert_eq!(paint(&place, &files), plain);
}

#[test]
fn shards_become_one_file() {
    let place = Place::new();
    let shards = place.path("shards");
    std::fs::create_dir(&shards).unwrap();
    // Two shards: the first has what the second lacks.
    let whole = WeightFile::open(&golden("infinity-dev-b/weights.safetensors")).unwrap();
    let names: Vec<String> = whole.names().map(str::to_owned).collect();
    let (first, second) = names.split_at(names.len() / 2);
    let mut map = serde_json::Map::new();
    for (file, names) in [("a.safetensors", first), ("b.safetensors", second)] {
        let mut bytes = vec![];
        whole
            .stream(names, &[], None, &mut bytes, |_, _| true)
            .unwrap();
        std::fs::write(shards.join(file), bytes).unwrap();
        map.extend(names.iter().map(|name| (name.clone(), file.into())));
    }
    let index = serde_json::json!({ "weight_map": map });
    std::fs::write(
        shards.join("model.safetensors.index.json"),
        index.to_string(),
    )
    .unwrap();
    convert(&place, &shards, &[]);
    let by_folder = std::fs::read(place.path("out.safetensors")).unwrap();
    convert(&place, &golden("infinity-dev-b/weights.safetensors"), &[]);
    assert_eq!(
        by_folder,
        std::fs::read(place.path("out.safetensors")).unwrap()
    );
    convert(&place, &shards.join("model.safetensors.index.json"), &[]);
    assert_eq!(
        by_folder,
        std::fs::read(place.path("out.safetensors")).unwrap()
    );

    // Half of a shard.
    let refused = || {
        let said = place.refused("convert shards -o half.safetensors");
        assert!(!place.path("half.safetensors").exists());
        let errors = said.lines().filter(|line| line.starts_with("error: "));
        assert_eq!(errors.count(), 1, "{said}");
        said
    };
    let bytes = std::fs::read(shards.join("b.safetensors")).unwrap();
    std::fs::write(shards.join("b.safetensors"), &bytes[..bytes.len() / 2]).unwrap();
    let said = refused();
    says(&said, &["b.safetensors"]);
    // A shard with other tensors than the index says, and one that is not there.
    std::fs::write(shards.join("b.safetensors"), &bytes).unwrap();
    std::fs::copy(shards.join("b.safetensors"), shards.join("a.safetensors")).unwrap();
    let said = refused();
    assert!(said.contains("it has no `"), "{said}");
    std::fs::remove_file(shards.join("b.safetensors")).unwrap();
    let said = refused();
    says(&said, &["b.safetensors, which does not exist"]);
}

#[test]
fn what_is_refused() {
    let place = Place::new();
    place.write("x.safetensors", "no weights");
    let mut bytes = vec![];
    let mut odd = WeightFile::empty("odd");
    odd.replace("a", burn::tensor::TensorData::new(vec![1.0f32], [1]));
    odd.stream(&["a".to_owned()], &[], None, &mut bytes, |_, _| true)
        .unwrap();
    std::fs::write(place.path("odd.safetensors"), bytes).unwrap();
    let good = golden("infinity-dev-b/weights.safetensors");
    let good = good.to_str().unwrap();
    for (args, part) in [
        (["nowhere", "out.safetensors"], "nowhere"),
        (["x.safetensors", "out.safetensors"], "cannot be converted"),
        (
            ["odd.safetensors", "out.safetensors"],
            "the weights of no model that is known here",
        ),
        ([good, "out.pth"], "should end with .safetensors"),
        (
            [good, "nowhere/out.safetensors"],
            "cannot write `nowhere/out.safetensors`",
        ),
    ] {
        let said = place.refused(&["convert", args[0], "-o", args[1]]);
        assert!(said.contains(part), "{args:?}: {said}");
    }
    assert_eq!(place.files("."), ["odd.safetensors", "x.safetensors"]);
}

#[test]
fn numbers_too_large_for_the_format_are_refused() {
    let place = Place::new();
    let whole = WeightFile::open(&golden("infinity-dev-b/weights.safetensors")).unwrap();
    let names: Vec<String> = whole.names().map(str::to_owned).collect();
    let mut large = whole;
    let shape = large.shape("head.bias").unwrap();
    let values = vec![1e6f32; shape[0]];
    large.replace("head.bias", burn::tensor::TensorData::new(values, shape));
    let mut bytes = vec![];
    large
        .stream(&names, &[], None, &mut bytes, |_, _| true)
        .unwrap();
    std::fs::write(place.path("large.safetensors"), bytes).unwrap();
    let said = place.refused("convert large.safetensors -o out.safetensors --dtype f16");
    says(&said, &["`head.bias` holds numbers that are not finite"]);
    assert_eq!(place.files("."), ["large.safetensors"]);
    place.good("convert large.safetensors -o out.safetensors --dtype bf16");
}

/// A limit on the size of files stands for a disk that is full: the system refuses to write on in the same way.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing() {
    let place = Place::new();
    place.write("out.safetensors", "what was there before");
    let input = golden("infinity-dev-b/weights.safetensors");
    let script = format!(
        "trap '' XFSZ; ulimit -f 256; exec '{}' convert '{}' -o out.safetensors",
        env!("CARGO_BIN_EXE_nextscale"),
        input.display()
    );
    let mut shell = std::process::Command::new("bash");
    let output = shell
        .args(["-c", &script])
        .current_dir(place.folder.path())
        .output()
        .unwrap();
    let said = stderr(&output);
    assert!(!output.status.success(), "{said}");
    says(
        &said,
        &["error: cannot write `out.safetensors`: File too large"],
    );
    assert_eq!(said.matches("File too large").count(), 1, "{said}");
    assert_eq!(place.files("."), ["out.safetensors"]);
    let left = std::fs::read_to_string(place.path("out.safetensors")).unwrap();
    assert_eq!(left, "what was there before");
}
