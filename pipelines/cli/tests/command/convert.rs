//! `nextscale convert`.

use std::path::{Path, PathBuf};

use crate::{Place, says, stderr, tiny};
use burn::tensor::TensorData;
use nextscale_weights::{Format, WeightFile};

fn golden(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("../../tests/golden").join(name)
}

fn convert(place: &Place, input: &Path, more: &str) -> String {
    let input = input.display();
    stderr(&place.good(&format!("convert {input} -o out.safetensors {more}")))
}

#[test]
fn every_tensor_is_there_with_its_numbers() {
    for (name, kind) in [
        ("infinity-dev-b", "an Infinity transformer"),
        ("infinity-vae-dev", "an Infinity tokenizer"),
        ("var-vqvae-dev", "a VAR tokenizer"),
        ("star-720p-t2v_1s", "an InfinityStar transformer"),
    ] {
        let (place, file) = (Place::new(), golden(name).join("weights.safetensors"));
        says(&convert(&place, &file, ""), &[kind]);
        assert_eq!(place.files("."), ["out.safetensors"]);
        let (before, after) = assert_same_numbers(&place, &file);
        assert!(after.names().count() > 20, "{name}");
        let left = before.names().filter(|name| after.shape(name).is_none());
        let left: Vec<&str> = left.collect();
        let known = left.iter().all(|name| *name == "sos_token");
        assert!(known, "{name}: {left:?}");
    }
}

/// Compares every tensor of the converted file with that of the same name before.
fn assert_same_numbers(place: &Place, before: &Path) -> (WeightFile, WeightFile) {
    let before = WeightFile::open(before).unwrap();
    let after = WeightFile::open(&place.path("out.safetensors")).unwrap();
    for name in after.names() {
        let (old, new) = (before.read(name).unwrap(), after.read(name).unwrap());
        old.assert_eq(&new, true);
    }
    (before, after)
}

#[test]
fn a_pytorch_file_becomes_the_same_numbers() {
    let place = Place::new();
    let folder = place.make_dir("t5");
    let from = golden("t5-dev/weights.pth");
    std::fs::copy(from, folder.join("pytorch_model.bin")).unwrap();
    let mut config = nextscale_text::T5Config::new(300, 64, 2, 4, 128);
    config.d_kv = 16;
    std::fs::write(folder.join("config.json"), config.to_hf_json()).unwrap();
    let said = convert(&place, &folder, "--dtype f32");
    says(&said, &["a T5 encoder"]);
    let mut t5 = config.init(&burn::tensor::Device::flex());
    nextscale_text::import::load(&mut t5, place.path("out.safetensors")).unwrap();
    assert_same_numbers(&place, &golden("t5-dev/weights.safetensors"));
}

/// Paints with the tiny model, of which these files are replaced.
fn paint(place: &Place, files: &[(&str, PathBuf)], more: &str) -> Vec<u8> {
    let folder = place.path("m");
    tiny::copy(&folder);
    for (name, from) in files {
        std::fs::copy(from, folder.join(name)).unwrap();
    }
    tiny::forget_checksums(&folder);
    place.good(&format!(
        "generate -m m -p 'a red house' -s 1 {more} --no-metadata -o x.png"
    ));
    place.read("x.png")
}

#[test]
fn a_converted_model_paints_the_same_picture() {
    let place = Place::new();
    let plain = paint(&place, &[], "");
    let mut files = vec![];
    for name in ["transformer.safetensors", "vae.safetensors"] {
        convert(&place, &tiny::model().join(name), "--dtype f32");
        let moved = place.path(&format!("f32-{name}"));
        std::fs::rename(place.path("out.safetensors"), &moved).unwrap();
        let file = WeightFile::open(&moved).unwrap();
        let first = file.names().next().unwrap().to_owned();
        assert_eq!(file.kind(&first).unwrap().0, burn::tensor::DType::F32);
        files.push((name, moved));
    }
    // The f16 numbers are what they were, so the picture is too.
    assert_eq!(paint(&place, &files, ""), plain);
}

/// The matrices are rounded once: a file of int8 paints what its source does with `--dtype int8`.
#[test]
fn a_file_of_int8_paints_the_same_picture() {
    let place = Place::new();
    let transformer = "transformer.safetensors";
    convert(&place, &tiny::model().join(transformer), "--dtype int8");
    let small = place.path("int8.safetensors");
    std::fs::rename(place.path("out.safetensors"), &small).unwrap();
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert!(size(&small) < size(&tiny::model().join(transformer)));
    let painted = |files: &[_]| paint(&place, files, "--dtype int8");
    assert_eq!(painted(&[(transformer, small)]), painted(&[]));
}

/// Kernels of a tokenizer in 8 bits are near what they were, and paint nearly the same picture.
#[test]
fn a_tokenizer_of_int8_is_near() {
    let place = Place::new();
    let vae = "vae.safetensors";
    convert(&place, &tiny::model().join(vae), "--dtype int8");
    let small = place.path("int8.safetensors");
    std::fs::rename(place.path("out.safetensors"), &small).unwrap();
    let open = |path: &Path| WeightFile::open(path).unwrap();
    let (new, old) = (open(&small), open(&tiny::model().join(vae)));
    assert_eq!(new.shapes(), old.shapes());
    let mut rounded = 0;
    for name in old.names() {
        let numbers = |file: &WeightFile| -> Vec<f32> { file.read(name).unwrap().iter().collect() };
        let (new, old) = (numbers(&new), numbers(&old));
        let largest = old.iter().fold(0f32, |most, x| most.max(x.abs()));
        let far = new.iter().zip(&old).map(|(a, b)| (a - b).abs());
        let far = far.fold(0f32, f32::max);
        assert!(far <= largest * 0.51 / 127.0, "{name}: {far} of {largest}");
        rounded += usize::from(far > 0.0);
    }
    assert!(rounded > 3, "{rounded}");
    let (new, old) = (paint(&place, &[(vae, small)], ""), paint(&place, &[], ""));
    assert_ne!(new, old);
    let pixels = |png: &[u8]| image::load_from_memory(png).unwrap().to_rgb8();
    let (new, old) = (pixels(&new), pixels(&old));
    let off = new.iter().zip(old.iter()).map(|(a, b)| a.abs_diff(*b));
    let off: u32 = off.map(u32::from).sum();
    let mean = f64::from(off) / new.len() as f64;
    assert!(mean < 3.0, "{mean}");
}

/// A model folder in 8 bits is a model folder: smaller, complete, with checksums of its own.
#[test]
fn a_model_folder_becomes_another() {
    let place = Place::new();
    let tiny = tiny::model().display().to_string();
    for (out, more) in [("same", ""), ("small", "--dtype int8")] {
        place.good(&format!("convert {tiny} -o {out} {more}"));
        place.good(&format!(
            "generate -m {out} -p 'a red house' -s 1 --no-metadata -o {out}.png"
        ));
        assert_eq!(place.files(out), place.files(&tiny));
    }
    assert_eq!(place.read("same.png"), paint(&place, &[], ""));
    assert_ne!(place.read("small.png"), place.read("same.png"));
    for name in ["text", "transformer", "vae"] {
        let size = |folder: &str| place.read(&format!("{folder}/{name}.safetensors")).len();
        let (small, same) = (size("small"), size("same"));
        assert!(small < same, "{name}: {small} of {same}");
    }
    for (kind, generate) in [
        ("@classes", "generate -m @classes --class 1 -o x.png"),
        (
            "@video",
            "video -m @video -p 'a red house' -W 24 -H 16 --frames 9 -o x.gif",
        ),
        (
            "@instruct",
            "edit --init-image same.png -m @instruct -p 'make it red' -o y.png",
        ),
    ] {
        place.good(&format!("convert {kind} -o model --dtype int8"));
        place.good(&generate.replace(kind, "model"));
        std::fs::remove_dir_all(place.path("model")).unwrap();
    }
    // One inside the program, and what is there already.
    place.good("convert sprites -o mine");
    assert!(place.files("mine").contains(&"neighbours.txt".to_owned()));
    place.refuses_each("convert sprites -o mine", "=> holds something already");
    // One of 8 bits again, to an empty folder.
    place.make_dir("again");
    place.good("convert small -o again/");
    for name in place.files("small") {
        let [small, again] =
            ["small", "again"].map(|folder| place.read(&format!("{folder}/{name}")));
        assert_eq!(small, again, "{name}");
    }
}

#[test]
fn shards_become_one_file() {
    let place = Place::new();
    let shards = place.make_dir("shards");
    // Two shards: the first has what the second lacks.
    let whole_file = golden("infinity-dev-b/weights.safetensors");
    let whole = WeightFile::open(&whole_file).unwrap();
    let names: Vec<String> = whole.names().map(str::to_owned).collect();
    let (first, second) = names.split_at(names.len() / 2);
    let mut map = serde_json::Map::new();
    for (file, names) in [("a.safetensors", first), ("b.safetensors", second)] {
        std::fs::write(shards.join(file), bytes(&whole, names)).unwrap();
        map.extend(names.iter().map(|name| (name.clone(), file.into())));
    }
    let index = serde_json::json!({ "weight_map": map }).to_string();
    place.write("shards/model.safetensors.index.json", &index);
    let converted = |input: &Path| {
        convert(&place, input, "");
        place.read("out.safetensors")
    };
    let by_folder = converted(&shards);
    assert_eq!(by_folder, converted(&whole_file));
    assert_eq!(
        by_folder,
        converted(&shards.join("model.safetensors.index.json"))
    );

    // Half of a shard.
    let refused = |part: &str| {
        let row = format!("=> {part}");
        place.refuses_each("convert shards -o half.safetensors", &row);
    };
    let [a, b] = ["a.safetensors", "b.safetensors"].map(|name| shards.join(name));
    let bytes = std::fs::read(&b).unwrap();
    std::fs::write(&b, &bytes[..bytes.len() / 2]).unwrap();
    refused("b.safetensors");
    // A shard with other tensors than the index says, and one that is not there.
    std::fs::write(&b, &bytes).unwrap();
    std::fs::copy(&b, a).unwrap();
    refused("should be here, as the index says");
    std::fs::remove_file(b).unwrap();
    refused("b.safetensors, which does not exist");
}

/// The file of these tensors.
fn bytes(weights: &WeightFile, names: &[String]) -> Vec<u8> {
    let mut bytes = vec![];
    let streamed = weights.stream(names, &[], Format::Unchanged, &mut bytes, |_, _| true);
    streamed.unwrap();
    bytes
}

#[test]
fn what_is_refused() {
    let place = Place::new();
    place.write("x.safetensors", "no weights");
    let mut odd = WeightFile::empty("odd");
    odd.replace("a", TensorData::new(vec![1.0f32], [1]));
    let odd = bytes(&odd, &["a".to_owned()]);
    std::fs::write(place.path("odd.safetensors"), odd).unwrap();
    let good = golden("infinity-dev-b/weights.safetensors");
    let good = good.display();
    place.make_dir("full");
    place.write("full/note", "mine");
    place.write("x", "mine");
    place.refuses_each(
        "convert",
        &format!(
            "
            nowhere -o out.safetensors         => nowhere
            x.safetensors -o out.safetensors   => cannot be converted
            odd.safetensors -o out.safetensors => the weights of no model that is known here
            {good} -o out.pth                  => should end with .safetensors
            default -o out.safetensors         => `default` is a model: name a folder for it
            default -o full                    => the folder cannot be `full`: it holds something already
            default -o odd.safetensors/        => name a folder for it
            default -o x                       => the folder cannot be `x`: it is there already, and no folder
            default -o nowhere/m               => cannot write `nowhere/m`
            default -o m --merge-lora nowhere  => nowhere
            {good} -o nowhere/out.safetensors  => cannot write `nowhere/out.safetensors`"
        ),
    );
}

#[test]
fn numbers_too_large_for_the_format_are_refused() {
    let place = Place::new();
    let mut large = WeightFile::open(&golden("infinity-dev-b/weights.safetensors")).unwrap();
    let names: Vec<String> = large.names().map(str::to_owned).collect();
    let shape = large.shape("head.bias").unwrap();
    let values = vec![1e6f32; shape[0]];
    large.replace("head.bias", TensorData::new(values, shape));
    std::fs::write(place.path("large.safetensors"), bytes(&large, &names)).unwrap();
    place.refuses_each(
        "convert large.safetensors -o out.safetensors",
        "--dtype f16 => `head.bias` holds numbers that are not finite",
    );
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
