//! What is refused: one clear sentence with the place, a way out, and nothing painted.

use crate::{Place, pipeline, rows, says, tiny};

/// `generate` with the tiny model.
const GENERATE: &str = "generate -m @tiny -s 1 -o x.png";

/// Validates the pipeline with the change of each row, `FROM -> TO` with `\n` for the end of a line; the answer must have
/// all parts of the row, and `run` must say the same.
fn yaml(table: &str) {
    for (change, parts) in rows(table) {
        let place = Place::new();
        let change = change.replace("\\n", "\n");
        let (from, to) = change.split_once(" ->").unwrap();
        let text = pipeline(tiny::model());
        assert!(text.contains(from), "{from}");
        place.write(
            "p.yaml",
            &text.replacen(from, to.trim_start_matches(' '), 1),
        );
        let said = place.refused("validate p.yaml");
        says(&said, &parts);
        assert_eq!(place.refused("run p.yaml"), said);
        assert_eq!(place.files("."), ["p.yaml"]);
    }
}

#[test]
fn unknown_keys_and_stages() {
    yaml(
        r"
        from: text -> from: text\n    cfg-scal: 3 => error: p.yaml:12:5: unknown key `cfg-scal` | hint: did you mean `cfg-scale`?
        stages: -> sed: 3\nstages: => p.yaml:2:1: unknown key `sed` | did you mean `seed`?
        stage: decode -> stage: decoed => p.yaml:13:12: there is no stage `decoed` | did you mean `decode`?
        \n    stage: save -> => p.yaml:15:3: the stage `save` does not say what it is",
    );
}

#[test]
fn wrong_types() {
    yaml(
        r"
        from: text -> from: text\n    cfg-scale: high => p.yaml:12:16: | the string `high`
        [a red house] -> [7] => p.yaml:5:15: | the number 7
        from: text -> from: text\n    top-p: 2 => p.yaml:12:12: `top-p` should be from 0 to 1
        stages: -> seed: -3\nstages: => p.yaml:2:7: | -3",
    );
}

#[test]
fn wrong_wiring() {
    yaml(
        r"
        from: image -> from: latent => p.yaml:17:11: `save` needs an image, but `latent` gives a latent | an image comes from `image`
        \n    from: image -> => p.yaml:15:3: `save` needs an image but nothing feeds it
        from: image -> from: imge => p.yaml:17:11: | no such stage | did you mean `image`?
        from: image -> from: {image: image, mask: text} => `save` has no input `mask`
        prompts: [a -> from: save\n    prompts: [a => circle
        from: prompts -> from: latent => p.yaml:11:11: the stages feed each other in a circle: text <- latent <- text",
    );
}

#[test]
fn two_stages_of_one_name() {
    yaml(
        "\\n  image: -> \\n  latent: => p.yaml:12:3: `latent` stands twice | first written at p.yaml:9:3",
    );
}

#[test]
fn several_mistakes_are_all_told() {
    yaml(
        "from: image -> from: imag\\n    pth: x => p.yaml:17:11: | p.yaml:18:5: unknown key `pth`",
    );
}

#[test]
fn parts_of_two_models() {
    let place = Place::new();
    tiny::make(place.folder.path(), 2);
    let model = format!("model: {}", place.folder.path().display());
    yaml(&format!(
        r"
        stage: text-encoder -> stage: text-encoder\n    {model} => `latent` and `text` do not belong together | use the tokenizer, the text encoder and the transformer of one model
        stage: decode -> stage: decode\n    {model} => do not belong together",
    ));
}

#[test]
fn missing_and_damaged_models() {
    let place = Place::new();
    place.refuses_each(
        "generate -p x -s 1",
        "-m nowhere => error: --model: the model `nowhere` does not exist",
    );
    if nextscale_models::Model::open(nextscale_models::DEFAULT).is_err() {
        let hint = "hint: name a model folder: --model PATH";
        let none = "error: there is no model inside this program";
        place.refuses("generate -p x -s 1", &[none, hint]);
    }
    let damage = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        tiny::copy(&place.path("m"));
        let mut bytes = place.read(&format!("m/{name}"));
        change(&mut bytes);
        std::fs::write(place.path("m").join(name), bytes).unwrap();
        place.refused("generate -p x -s 1 -m m")
    };
    for keep in [0, 5, 100, 5000] {
        let said = damage("transformer.safetensors", &|b| b.truncate(keep));
        assert!(said.contains("transformer.safetensors"), "{keep}: {said}");
    }
    let said = damage("transformer.safetensors", &|b| b.truncate(b.len() - 1));
    says(&said, &["cut-off transformer.safetensors"]);
    let said = damage("text.safetensors", &|b| *b.last_mut().unwrap() ^= 1);
    says(&said, &["not the one its nextscale.json describes"]);
    let said = damage("nextscale.json", &|b| {
        let text = String::from_utf8(std::mem::take(b)).unwrap();
        *b = text.replace("\"bits\": 4", "\"bits\": 8").into_bytes();
    });
    says(&said, &["gives 32 bits a token, its transformer takes 16"]);
    tiny::copy(&place.path("m"));
    std::fs::remove_file(place.path("m/vae.safetensors")).unwrap();
    place.refuses_each(
        "generate -p x -s 1 -m m",
        "=> lacks the file vae.safetensors",
    );
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
    tiny::forget_checksums(folder);
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
    place.refuses_each(
        GENERATE,
        "
        -p '  '                   => --prompt: prompt number 1 is empty
                                  => there is no prompt
        -p x -W 20 -H 16          => --width: the model | does not generate 20x16 pixels | the nearest size is 24x16
        -p x -H 0                 => --height: the model | does not generate images 0 pixels high
        -p x --aspect wide        => --aspect: `wide` is not a ratio
        -p x -b 0                 => --batch-count: `count` should be at least 1
        --prompt-file nowhere.txt => --prompt-file: cannot read the prompt file `nowhere.txt`",
    );
    place.refuses("generate -m @tiny -p x --seed -3", &["-1 for a random one"]);
    assert!(place.files(".").is_empty());
}

#[test]
fn outputs() {
    let place = Place::new();
    place.write("file", "");
    place.refuses_each(
        "generate -m @tiny -p x -s 1",
        "
        -o nowhere/x.png => --output: the folder `nowhere` does not exist
        -o file/x.png    => --output: `file` is not a folder
        -o x.bmp         => should end with .png, .jpg or .webp
        -p y -o -        => only one image can go to standard output
        -o x.png --preview file => --preview: `file` is not a folder",
    );
}

#[cfg(unix)]
#[test]
fn a_folder_that_may_not_be_written_to() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let folder = place.make_dir("locked");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(folder.join("probe"), "").is_ok() {
        return; // the superuser may write anywhere
    }
    place.refuses(
        "generate -m @tiny -p x -s 1 -o locked/",
        &["the folder `locked/` cannot be written to"],
    );
}

#[test]
fn devices_files_and_overrides() {
    let place = Place::new();
    place.write("p.yaml", &pipeline(tiny::model()));
    place.write("q.png", "not a picture");
    if nextscale_models::device::cuda::find().missing().is_some() {
        place.refuses_each(
            GENERATE,
            "-p x --device cuda => --device cuda is not possible",
        );
    }
    if nextscale_models::device::gpu::find().hardware().is_none() {
        place.refuses_each(
            GENERATE,
            "-p x --device gpu => --device gpu is not possible",
        );
    }
    place.refuses(
        &format!("{GENERATE} -p x --device vulkan"),
        &["there is no device `vulkan`: use auto, cpu, cuda or gpu"],
    );
    place.refuses_each(
        GENERATE,
        "-p x --device cpu --dtype f16 => f16 is not supported on the CPU",
    );
    place.refuses_each(
        "",
        "
        run nowhere.yaml                        => cannot read `nowhere.yaml`
        run p.yaml --set stages.latent.cfg=3    => --set stages.latent.cfg=3: unknown key `cfg`
        run p.yaml --set seed                   => should be --set KEY=VALUE
        metadata q.png                          => not a readable image or video",
    );
}
