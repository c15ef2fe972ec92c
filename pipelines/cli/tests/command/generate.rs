//! What goes well.

use std::io::Write;
use std::process::Stdio;

use burn::tensor::{Device, FloatDType, Int, Tensor};
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::generate::{GenerateInput, GenerateOptions, generate};
use nextscale_bitwise::infinity::{Plan, TextCondition};
use nextscale_models::sampling::Sampling;
use nextscale_models::{BlockStorage, DEFAULT, Model, Placement};
use nextscale_tokenizer::Quantizer;
use nextscale_var_core::sampler::{Sampler, SamplerConfig};

use crate::{Place, pipeline, says, stderr, tiny};

#[test]
fn one_seed_gives_the_same_bytes_again() {
    let place = Place::new();
    let first = "generate -m @tiny -p 'a red house' --seed";
    let paint = |seed: u64, out: &str| place.make(&format!("{first} {seed}"), out);
    let first = paint(7, "a.png");
    assert_eq!(first, paint(7, "b.png"));
    assert_ne!(first, paint(8, "c.png"));
    let image = image::load_from_memory(&first).unwrap();
    assert_eq!((image.width(), image.height()), (16, 16));
}

#[test]
fn a_picture_repaints_itself() {
    let place = Place::new();
    let largest = u64::MAX;
    let first = "generate -m @tiny -p 'a blue tree' -n 'a cat' -W 24 --temperature 0.7 -o x.png";
    let mut command = place.command(&format!("{first} -s {largest}"));
    command.args(["-p", "caf\u{e9}: \u{1f34e} # 'x'"]);
    assert!(command.status().unwrap().success());
    for name in ["x-00000.png", "x-00001.png"] {
        place.good(&format!("run {name} --trust --set output=again.png"));
        assert_eq!(place.read(name), place.read("again.png"), "{name}");
    }
    let shown = place.stdout("metadata x-00000.png");
    let parts = [
        "a blue tree\nNegative prompt: a cat\nSteps: 3, Sampler: next-scale, CFG scale: 3,",
        &format!("Seed: {largest}, Size: 24x16"),
        "temperature: 0.7",
    ];
    says(&shown, &parts);
}

#[test]
fn a_picture_of_a_batch_is_the_picture_alone() {
    let place = Place::new();
    place.good("generate -m @tiny -p 'a red house' -b 3 -s 5 -o {seed}.png");
    assert_eq!(place.files("."), ["5.png", "6.png", "7.png"]);
    place.good("generate -m @tiny -p 'a red house' -s 7 -o alone.png");
    assert_eq!(place.read("7.png"), place.read("alone.png"));
}

/// 64 images a number format, with prompts of different lengths and guidance that changes from scale to scale.
#[test]
fn images_of_batches_are_repeated_byte_for_byte() {
    let place = Place::new();
    place.write("prompts", "red apple\na cat\nblue car and a tree\nsun\n");
    let line = "generate --prompt-file prompts -b 16 -s 3 --cfg-scale 1,3,4,4";
    for dtype in ["f32", "bf16", "int8"] {
        let [batches, alone] = ["batches", "alone"].map(|name| format!("{name}-{dtype}"));
        place.make_dir(&batches);
        place.make_dir(&alone);
        place.good(&format!(
            "{line} --dtype {dtype} --batch-size 4 -o {batches}/"
        ));
        place.good(&format!("{line} --dtype {dtype} -o {alone}/"));
        let files = place.files(&batches);
        assert_eq!(files.len(), 64);
        let differs = |file: &&String| {
            place.read(&format!("{batches}/{file}")) != place.read(&format!("{alone}/{file}"))
        };
        let different: Vec<_> = files.iter().filter(differs).collect();
        assert!(different.is_empty(), "{dtype}: {different:?}");
    }
    let member = "batches-bf16/00037-40.png";
    let again = place.make(&format!("run {member}"), "again.png");
    assert!(again == place.read(member));
}

/// The mean difference of all pairs of images of one prompt, in steps of 255.
fn variety(settings: &str) -> f64 {
    let place = Place::new();
    place.make_dir("x");
    place.good(&format!(
        "generate -p 'red apple' -b 16 --batch-size 8 -s 0 {settings} -o x/"
    ));
    let names = place.files("x");
    let images: Vec<_> = names
        .iter()
        .map(|f| place.image(&format!("x/{f}")))
        .collect();
    let mut sum = 0.0;
    for (i, a) in images.iter().enumerate() {
        for b in &images[..i] {
            let pairs = a.as_raw().iter().zip(b.as_raw());
            sum += pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>();
        }
    }
    let pairs = images.len() * (images.len() - 1) / 2;
    sum / (pairs * images[0].as_raw().len()) as f64
}

#[test]
fn variety_grows_with_temperature_and_falls_with_guidance() {
    let of = |settings: [&str; 3]| settings.map(variety);
    let [low, middle, high] = of(["--temperature 0.5", "--temperature 1", "--temperature 1.5"]);
    assert!(low < middle && middle < high, "{low} {middle} {high}");
    let [weak, strong, greedy] = of(["--cfg-scale 1", "--cfg-scale 6", "--top-k 1"]);
    assert!(strong < weak, "{strong} {weak}");
    assert_eq!(greedy, 0.0);
}

#[test]
fn a_random_seed_is_printed() {
    let place = Place::new();
    let output = place.good("generate -m @tiny -p 'a cat' -o a.png");
    let text = stderr(&output);
    let seed = text.lines().find_map(|l| l.strip_prefix("seed: ")).unwrap();
    place.good(&format!("generate -m @tiny -p 'a cat' -s {seed} -o b.png"));
    assert_eq!(place.read("a.png"), place.read("b.png"));
}

#[test]
fn prompts_from_standard_input_and_a_picture_to_standard_output() {
    let place = Place::new();
    let mut command = place.command("generate -m @tiny -s 1 -o -");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"a red house\n").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(image::load_from_memory(&output.stdout).unwrap().width(), 16);
    assert!(place.files(".").is_empty());
}

#[test]
fn previews_timings_and_no_metadata() {
    let place = Place::new();
    place.make_dir("p");
    let line = "generate -m @tiny -p 'a cat' -s 1 -o a.png --preview p --timings --no-metadata";
    let output = place.good(line);
    assert_eq!(
        place.files("p"),
        ["00000-scale-01.png", "00000-scale-02.png"]
    );
    let text = stderr(&output);
    for row in ["load text", "latent scale 3", "image", "save", "wall"] {
        assert!(text.lines().any(|l| l.starts_with(row)), "{row} in {text}");
    }
    place.refuses("metadata a.png", &["contains no metadata"]);
    place.refuses("run a.png", &["carries no pipeline"]);
    place.good("generate -m @tiny -p 'a cat' -s 1 -o b.png");
    assert_eq!(place.image("a.png"), place.image("b.png"));
}

#[test]
fn an_aspect_takes_the_nearest_size() {
    let place = Place::new();
    place.good("generate -m @tiny -p 'a cat' -s 1 -o a.png --aspect 16:9");
    assert_eq!(place.image("a.png").width(), 24);
}

#[test]
fn a_yaml_pipeline_runs_with_values_set() {
    let place = Place::new();
    place.write("p.yaml", &pipeline(tiny::model()));
    place.good("validate p.yaml");
    let set = "--set seed=3 --set output=y.png --set stages.latent.cfg-scale=1";
    place.good(&format!("run p.yaml {set}"));
    place.good("generate -m @tiny -p 'a red house' -s 3 --cfg-scale 1 -o g.png");
    assert_eq!(
        place.read("y.png"),
        place.read("g.png"),
        "generate is the same path as run"
    );
}

#[test]
fn ten_thousand_prompts_are_read_before_anything_is_painted() {
    let place = Place::new();
    let mut lines: Vec<&str> = vec!["a cat"; 10_000];
    lines[7_776] = "";
    place.write("prompts.txt", &lines.join("\n"));
    place.refuses(
        "generate -m @tiny --prompt-file prompts.txt -o {index}.png",
        &["prompts.txt:7777:1: line 7777 of 10000 is empty"],
    );
    assert_eq!(place.files("."), ["prompts.txt"]);
}

#[test]
fn small_commands_answer() {
    let place = Place::new();
    let schema: serde_json::Value = serde_json::from_slice(&place.good("schema").stdout).unwrap();
    assert!(schema["definitions"]["stage-text-to-image"]["properties"]["cfg-scale"].is_object());
    let devices = place.stdout("devices");
    assert!(
        devices.starts_with("cpu ")
            && ["\ncuda", "\ngpu"]
                .iter()
                .all(|kind| devices.contains(kind)),
        "{devices}"
    );
    for shell in ["bash", "zsh", "fish"] {
        assert!(!place.stdout(&format!("completions {shell}")).is_empty());
    }
}

/// Where the blocks are changes no pixel, and 8 bits change few; what the picture records is the same.
#[test]
fn blocks_in_their_file_and_in_8_bits() {
    let place = Place::new();
    let first = "generate -m @tiny -p 'a red house' -s 7";
    let paint = |out: &str, more: &str| place.make(&format!("{first} {more}"), out);
    let plain = paint("a.png", "");
    assert_eq!(paint("b.png", "--stream --keep-loaded"), plain);
    let int8 = image::load_from_memory(&paint("c.png", "--dtype int8")).unwrap();
    assert_eq!((int8.width(), int8.height()), (16, 16));
    place.refuses(
        "generate -m @tiny -p x -o d.png --stream --dtype int8",
        &["dtype int8 converts them", "hint: use one of the two"],
    );
    assert!(!place.path("d.png").exists());
}

/// The embedded model under teacher forcing: its own bits, and the logits that it gives to them in other number formats,
/// behind guidance.
#[test]
fn how_far_8_bits_are_off() {
    let Ok(model) = Model::open(DEFAULT) else {
        return; // a program without a model
    };
    let (device, manifest) = (Device::flex(), model.infinity().unwrap());
    let size = &manifest.sizes[0];
    let schedule = size.schedule().unwrap();
    let reference = size.reference().unwrap_or(schedule.last());
    let plan = Plan::stepwise(&manifest.transformer, &schedule, reference, &device);
    let features = model.load_text_encoder(&device).unwrap();
    let features = features.encode(&["a red apple"]).unwrap();
    let text = TextCondition::new(features.features, features.lens);
    let bsq = Bsq::new(manifest.vae.bits);
    let bsq: &dyn Quantizer = &bsq;
    let run = |dtype, blocks, forced: Vec<Tensor<5, Int>>| {
        let placement = Placement {
            dtype,
            blocks,
            ..Placement::cpu()
        };
        let transformer = model.load_infinity(&placement).unwrap();
        let Sampling {
            cfg,
            temperature,
            top_k,
            top_p,
        } = manifest.sampling;
        let config = SamplerConfig {
            temperature: 1.0,
            top_k,
            top_p,
        };
        let sampler = Sampler::new(config, &[3]);
        let mut options = GenerateOptions::constant(cfg, temperature, schedule.len());
        options.forced = forced;
        let input = GenerateInput {
            quantizer: bsq,
            plan: &plan,
            patching: manifest.patching,
            text: text.clone(),
            negative: None,
            options,
            sampler,
        };
        let all = generate(&transformer, input);
        all.map(|scale| (scale.logits, scale.codes.bits().unwrap()))
            .collect::<Vec<_>>()
    };
    let exact = run(FloatDType::F32, BlockStorage::Loaded, vec![]);
    let bits: Vec<_> = exact.iter().map(|(_, bits)| bits.clone()).collect();
    let off = |dtype, blocks| {
        let other = run(dtype, blocks, bits.clone());
        let pairs = exact.iter().zip(&other);
        let sum = |x: Tensor<3>| x.abs().sum().into_scalar::<f32>();
        let off: f32 = pairs
            .map(|((a, _), (b, _))| sum(a.clone() - b.clone()))
            .sum();
        off / exact.iter().map(|(a, _)| sum(a.clone())).sum::<f32>()
    };
    let half = off(FloatDType::BF16, BlockStorage::Loaded);
    let int8 = off(FloatDType::BF16, BlockStorage::Int8);
    eprintln!("off by {half} in bf16, by {int8} in int8");
    assert!(0.0 < half && half < 0.02, "{half}");
    assert!(half < int8 && int8 < 0.03, "{int8}");
}

/// Prompts of different lengths, five in batches of two: the last batch is not full. Names, seeds and records are those of
/// pictures that are painted one by one.
#[test]
fn pictures_painted_at_once_are_those_painted_one_by_one() {
    let place = Place::new();
    let paint = |folder: &str, more: &str| {
        place.make_dir(folder);
        let prompts = "-p 'a red house' -p a -p 'a very blue tree in the sun' -p house -p 'a cat'";
        place.good(&format!(
            "generate -m @tiny -s 7 -n 'a dog' -o {folder} {prompts} {more}"
        ));
        place.files(folder)
    };
    let one_by_one = paint("one/", "");
    place.make_dir("previews");
    let previews = "--batch-size 2 --preview previews";
    assert_eq!(paint("two/", previews), one_by_one);
    assert_eq!(one_by_one.len(), 5);
    for name in &one_by_one {
        let read = |folder: &str| std::fs::read(place.path(folder).join(name)).unwrap();
        assert!(read("one") == read("two"), "{name}");
    }
    assert_eq!(place.files("previews").len(), 10); // 2 scales of 5 pictures
    place.refuses(
        "generate -m @tiny -p x --batch-size 0",
        &["`batch` should be at least 1"],
    );
}
