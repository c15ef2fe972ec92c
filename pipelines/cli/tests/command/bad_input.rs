//! What is refused: one clear sentence with the place, a way out, and nothing painted.

use crate::{Place, pipeline, says, tiny};

/// `generate` with the tiny model and further arguments.
fn generate(place: &Place, more: &str) -> String {
    place.refused(&format!("generate -m @tiny -s 1 -o x.png {more}"))
}

/// Validates a changed pipeline; the answer must have all parts, and `run` must say the same.
fn yaml(from: &str, to: &str, parts: &[&str]) {
    let place = Place::new();
    let text = pipeline(tiny::model());
    assert!(text.contains(from), "{from}");
    place.write("p.yaml", &text.replacen(from, to, 1));
    let said = place.refused("validate p.yaml");
    says(&said, parts);
    assert_eq!(place.refused("run p.yaml"), said);
    assert_eq!(place.files("."), ["p.yaml"]);
}

#[test]
fn unknown_keys_and_stages() {
    yaml(
        "    from: text\n",
        "    from: text\n    cfg-scal: 3\n",
        &[
            "error: p.yaml:12:5: unknown key `cfg-scal`",
            "hint: did you mean `cfg-scale`?",
        ],
    );
    yaml(
        "stages:",
        "sed: 3\nstages:",
        &["p.yaml:2:1: unknown key `sed`", "did you mean `seed`?"],
    );
    yaml(
        "stage: decode",
        "stage: decoed",
        &[
            "p.yaml:13:12: there is no stage `decoed`",
            "did you mean `decode`?",
        ],
    );
    yaml(
        "    stage: save\n",
        "",
        &["p.yaml:15:3: the stage `save` does not say what it is"],
    );
}

#[test]
fn wrong_types() {
    yaml(
        "    from: text\n",
        "    from: text\n    cfg-scale: high\n",
        &["p.yaml:12:16:", "the string `high`"],
    );
    yaml("[a red house]", "[7]", &["p.yaml:5:15:", "the number 7"]);
    yaml(
        "    from: text\n",
        "    from: text\n    top-p: 2\n",
        &["p.yaml:12:12: `top-p` should be from 0 to 1"],
    );
    yaml("stages:", "seed: -3\nstages:", &["p.yaml:2:7:", "-3"]);
}

#[test]
fn wrong_wiring() {
    yaml(
        "from: image",
        "from: latent",
        &[
            "p.yaml:17:11: `save` needs an image, but `latent` gives a latent",
            "an image comes from `image`",
        ],
    );
    yaml(
        "    from: image\n",
        "",
        &["p.yaml:15:3: `save` needs an image but nothing feeds it"],
    );
    yaml(
        "from: image",
        "from: imge",
        &["p.yaml:17:11:", "no such stage", "did you mean `image`?"],
    );
    yaml(
        "    from: image\n",
        "    from: {image: image, mask: text}\n",
        &["`save` has no input `mask`"],
    );
    yaml(
        "    prompts: [a",
        "    from: save\n    prompts: [a",
        &["circle"],
    );
    yaml(
        "from: prompts",
        "from: latent",
        &["p.yaml:11:11: the stages feed each other in a circle: text <- latent <- text"],
    );
}

#[test]
fn two_stages_of_one_name() {
    yaml(
        "  image:\n",
        "  latent:\n",
        &[
            "p.yaml:12:3: `latent` stands twice",
            "first written at p.yaml:9:3",
        ],
    );
}

#[test]
fn several_mistakes_are_all_told() {
    yaml(
        "    from: image\n",
        "    from: imag\n    pth: x\n",
        &["p.yaml:17:11:", "p.yaml:18:5: unknown key `pth`"],
    );
}

#[test]
fn parts_of_two_models() {
    let place = Place::new();
    tiny::make(place.folder.path(), 2);
    let other = place.folder.path().display();
    yaml(
        "stage: text-encoder\n",
        &format!("stage: text-encoder\n    model: {other}\n"),
        &[
            "`latent` and `text` do not belong together",
            "use the tokenizer, the text encoder and the transformer of one model",
        ],
    );
    yaml(
        "stage: decode\n",
        &format!("stage: decode\n    model: {other}\n"),
        &["do not belong together"],
    );
}

#[test]
fn missing_and_damaged_models() {
    let place = Place::new();
    let said = place.refused("generate -p x -s 1 -m nowhere");
    says(
        &said,
        &["error: --model: the model `nowhere` does not exist"],
    );
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    if nextscale_models::Model::open(nextscale_models::DEFAULT).is_err() {
        let said = place.refused("generate -p x -s 1");
        let hint = "hint: name a model folder: --model PATH";
        says(&said, &["error: there is no model inside this program"]);
        assert!(said.contains(hint), "{said}");
    }
    let damage = |name: &str, change: &dyn Fn(Vec<u8>) -> Option<Vec<u8>>| {
        let folder = place.path("m");
        tiny::copy(&folder);
        let bytes = std::fs::read(folder.join(name)).unwrap();
        match change(bytes) {
            Some(bytes) => std::fs::write(folder.join(name), bytes).unwrap(),
            None => std::fs::remove_file(folder.join(name)).unwrap(),
        }
        place.refused("generate -p x -s 1 -m m")
    };
    let said = damage("vae.safetensors", &|_| None);
    says(&said, &["lacks the file vae.safetensors"]);
    for keep in [0, 5, 100, 5000] {
        let said = damage("transformer.safetensors", &|mut b| {
            b.truncate(keep);
            Some(b)
        });
        assert!(said.contains("transformer.safetensors"), "{keep}: {said}");
    }
    let said = damage("transformer.safetensors", &|mut b| {
        b.truncate(b.len() - 1);
        Some(b)
    });
    says(&said, &["cut-off transformer.safetensors"]);
    let said = damage("text.safetensors", &|mut b| {
        *b.last_mut().unwrap() ^= 1;
        Some(b)
    });
    says(&said, &["not the one its nextscale.json describes"]);
    let said = damage("nextscale.json", &|b| {
        let text = String::from_utf8(b).unwrap();
        Some(text.replace("\"bits\": 4", "\"bits\": 8").into_bytes())
    });
    says(&said, &["gives 32 bits a token, its transformer takes 16"]);
    assert_eq!(place.files("."), ["m"]);
}

/// Changes one tensor of a part of a model to NaN, in f16, and forgets the model's fingerprints.
fn damage_numbers(folder: &std::path::Path, file: &str, tensor: &str) {
    let path = folder.join(file);
    let mut bytes = std::fs::read(&path).unwrap();
    let size = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + size]).unwrap();
    let info = &header[tensor];
    assert_eq!(info["dtype"], "F16", "{tensor}");
    let start = 8 + size + info["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[start..start + 2].copy_from_slice(&0x7e00u16.to_le_bytes());
    std::fs::write(path, bytes).unwrap();
    let path = folder.join("nextscale.json");
    let text = std::fs::read(&path).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
    manifest["fingerprints"] = serde_json::json!({});
    std::fs::write(path, manifest.to_string()).unwrap();
}

#[test]
fn weights_that_are_no_numbers() {
    for (file, tensor) in [
        ("transformer.safetensors", "blocks.1.sa.mat_qkv.weight"),
        ("transformer.safetensors", "blocks.0.ffn.fc2.bias"),
        ("text.safetensors", "shared.weight"),
        (
            "text.safetensors",
            "encoder.block.0.layer.0.SelfAttention.o.weight",
        ),
        ("vae.safetensors", "decoder.conv_in.conv.weight"),
    ] {
        let place = Place::new();
        let folder = place.path("m");
        tiny::copy(&folder);
        damage_numbers(&folder, file, tensor);
        let said = place.refused("generate -p x -s 1 -m m -o x.png");
        assert!(
            said.contains("numbers that are not finite (NaN"),
            "{tensor}: {said}"
        );
        assert!(
            said.contains(file) && said.matches("error: ").count() == 1,
            "{tensor}: {said}"
        );
        assert_eq!(place.files("."), ["m"]);
    }
}

#[test]
fn seeds_prompts_and_sizes() {
    let place = Place::new();
    let said = place.refused("generate -m @tiny -p x --seed -3");
    says(&said, &["a seed cannot be negative"]);
    let said = generate(&place, "-p '  '");
    says(&said, &["--prompt: prompt number 1 is empty"]);
    let said = generate(&place, "");
    says(&said, &["there is no prompt"]);
    let said = generate(&place, "-p x -W 20 -H 16");
    says(
        &said,
        &[
            "--width: the model",
            "does not generate 20x16 pixels",
            "the nearest size is 24x16",
        ],
    );
    let said = generate(&place, "-p x -H 0");
    says(
        &said,
        &[
            "--height: the model",
            "does not generate images 0 pixels high",
        ],
    );
    let said = generate(&place, "-p x --aspect wide");
    says(&said, &["--aspect: `wide` is not a ratio"]);
    let said = generate(&place, "-p x -b 0");
    says(&said, &["--batch-count: `count` should be at least 1"]);
    let said = generate(&place, "--prompt-file nowhere.txt");
    says(
        &said,
        &["--prompt-file: cannot read the prompt file `nowhere.txt`"],
    );
    assert!(place.files(".").is_empty());
}

#[test]
fn outputs() {
    let place = Place::new();
    place.write("file", "");
    let said = place.refused("generate -m @tiny -p x -s 1 -o nowhere/x.png");
    says(&said, &["--output: the folder `nowhere` does not exist"]);
    let said = place.refused("generate -m @tiny -p x -s 1 -o file/x.png");
    says(&said, &["--output: `file` is not a folder"]);
    let said = place.refused("generate -m @tiny -p x -s 1 -o x.jpg");
    says(&said, &["should end with .png"]);
    let said = place.refused("generate -m @tiny -p x -p y -s 1 -o -");
    says(&said, &["only one image can go to standard output"]);
    let said = generate(&place, "-p x --preview file");
    says(&said, &["--preview: `file` is not a folder"]);
    assert_eq!(place.files("."), ["file"]);
}

#[cfg(unix)]
#[test]
fn a_folder_that_may_not_be_written_to() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let folder = place.path("locked");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(folder.join("probe"), "").is_ok() {
        return; // the superuser may write anywhere
    }
    let said = place.refused("generate -m @tiny -p x -s 1 -o locked/");
    says(&said, &["the folder `locked/` cannot be written to"]);
}

#[test]
fn devices_files_and_overrides() {
    let place = Place::new();
    let said = generate(&place, "-p x --device cpu --dtype f16");
    says(&said, &["f16 is not supported on the CPU"]);
    if nextscale_models::device::cuda().missing().is_some() {
        let said = generate(&place, "-p x --device cuda");
        says(&said, &["--device cuda is not possible"]);
    }
    let said = place.refused("run nowhere.yaml");
    says(&said, &["cannot read `nowhere.yaml`"]);
    place.write("p.yaml", &pipeline(tiny::model()));
    let said = place.refused("run p.yaml --set stages.latent.cfg=3");
    says(&said, &["--set stages.latent.cfg=3: unknown key `cfg`"]);
    let said = place.refused("run p.yaml --set seed");
    says(&said, &["should be --set KEY=VALUE"]);
    place.write("q.png", "not a picture");
    says(&place.refused("metadata q.png"), &["not a readable PNG"]);
}
