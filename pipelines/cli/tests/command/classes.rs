//! Class-conditional models.

use nextscale_tokenizer::ScaleSchedule;

use crate::{Place, says, tiny};

fn model() -> &'static str {
    tiny::class_model().to_str().unwrap()
}

/// `generate` with the tiny model, which has to be refused.
fn refused(more: &[&str]) -> String {
    let place = Place::new();
    let said = place.refused(&[&["generate", "-m", model(), "-o", "x.png"], more].concat());
    assert!(place.files(".").is_empty());
    said
}

#[test]
fn classes_by_name_and_by_number_are_the_same() {
    let place = Place::new();
    let paint = |class: &str, out: &str| {
        place.good(&format!(
            "generate -m @classes --class {class} -s 5 -o {out}"
        ));
        place.read(out)
    };
    let (number, name, other) = (
        paint("0", "a.png"),
        paint("HOME", "b.png"),
        paint("cat", "c.png"),
    );
    let pixels = |bytes: &[u8]| image::load_from_memory(bytes).unwrap().into_rgb8();
    assert_eq!(pixels(&number), pixels(&name));
    assert_ne!(pixels(&number), pixels(&other));
    assert_eq!(pixels(&number).dimensions(), (16, 16));
}

#[test]
fn a_picture_of_a_class_repaints_itself() {
    let place = Place::new();
    place.good("generate -m @classes --class tree --class 2 -s 1 -b 2 --cfg-scale 3 --smooth -o {prompt}-{index}.png --preview .");
    let files = place.files(".");
    assert!(files.contains(&"cat-00003.png".to_owned()), "{files:?}");
    assert!(
        files.contains(&"00000-scale-01.png".to_owned()),
        "{files:?}"
    );
    place.good("run cat-00003.png --set output=again.png --set preview=null");
    let read = |name: &str| std::fs::read(place.path(name)).unwrap();
    let pixels = |name: &str| image::load_from_memory(&read(name)).unwrap().into_rgb8();
    assert_eq!(pixels("again.png"), pixels("cat-00003.png"));
}

#[test]
fn wrong_classes_are_explained() {
    let said = refused(&["--class", "3"]);
    says(
        &said,
        &["--class: there is no class 3: they go from 0 to 2"],
    );
    assert!(refused(&["--class", "-1"]).contains("no class -1"));
    assert!(refused(&["--class", "tere"]).contains("did you mean `tree`?"));
    let said = refused(&["-p", "a house"]);
    assert!(
        said.contains("generates from classes, not from prompts") && said.contains("--class"),
        "{said}"
    );
    let place = Place::new();
    let text = tiny::model().to_str().unwrap();
    let said = place.refused(&["generate", "-m", text, "--class", "0"]);
    says(&said, &["generates from prompts, not from classes"]);
}

#[test]
fn official_files_open_by_their_tensors() {
    let place = Place::new();
    let schedule = ScaleSchedule::square(&[1, 2, 3, 4, 5, 6, 8, 10, 13, 16]).unwrap();
    let (transformer, vae) = tiny::class_parts(schedule, 24);
    let names = ["var_d16.safetensors", "vae_ch160v4096z32.safetensors"];
    tiny::save_class(place.folder.path(), names, &transformer, &vae);
    for model in [".", "var_d16.safetensors"] {
        place.good(&format!("generate -m {model} --class 2 -s 1 -o x.png"));
    }
    assert_eq!(image::open(place.path("x.png")).unwrap().width(), 64);
    // By name it would have to be what the name says.
    let said = place.refused("generate -m var-d16 --class 2");
    assert!(
        said.contains("depth 2, width 64") && said.contains("depth 16, width 1024"),
        "{said}"
    );
    // The tokenizer of another model.
    let (_, other) = tiny::class_parts(ScaleSchedule::square(&[1, 2]).unwrap(), 20);
    let device = burn::tensor::Device::flex();
    let dtype = nextscale_weights::WeightDtype::F32;
    other
        .init(&device)
        .save(place.path(names[1]), dtype)
        .unwrap();
    let said = place.refused("generate -m . --class 2");
    says(&said, &["has 20 codes, its transformer has 24"]);
    std::fs::remove_file(place.path(names[1])).unwrap();
    let said = place.refused("generate -m var_d16.safetensors --class 2");
    assert!(
        said.contains("lacks its tokenizer") && said.contains("huggingface-cli"),
        "{said}"
    );
}

#[test]
fn damaged_files_are_named() {
    let place = Place::new();
    for name in [
        "nextscale.json",
        "transformer.safetensors",
        "vae.safetensors",
    ] {
        std::fs::copy(tiny::class_model().join(name), place.path(name)).unwrap();
    }
    let bytes = std::fs::read(place.path("vae.safetensors")).unwrap();
    std::fs::write(place.path("vae.safetensors"), &bytes[..bytes.len() - 9]).unwrap();
    let said = place.refused("generate -m . --class 0");
    says(&said, &["cut-off vae.safetensors"]);
    std::fs::remove_file(place.path("vae.safetensors")).unwrap();
    let said = place.refused("generate -m . --class 0");
    says(&said, &["lacks the file vae.safetensors"]);
}

#[test]
fn a_class_model_is_timed() {
    let place = Place::new();
    let output = place.good("bench -m @classes --class cat --rounds 1 --batch 2");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.contains("scale 3 (4x4)") && !table.contains("text "),
        "{table}"
    );
    let said = place.refused("bench -m var-d17 --random-weights");
    says(&said, &["no size `var-d17`"]);
}

#[test]
fn the_example_model_paints_clothes() {
    let place = Place::new();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/fashion-mnist");
    place.good(&format!(
        "generate -m {model} --class trouser --class pullover -s 1 -b 4 -o {{index}}.png"
    ));
    // Bright on black; pullovers fill the width of the picture, trousers do not.
    let width = |index: usize| -> f64 {
        let grey = image::open(place.path(&format!("{index:05}.png")))
            .unwrap()
            .into_luma8();
        assert_eq!(grey.dimensions(), (32, 32));
        assert!(grey.get_pixel(0, 0).0[0] < 40, "the ground is black");
        let bright = |x: u32| (4..28).filter(|&y| grey.get_pixel(x, y).0[0] > 60).count() > 8;
        f64::from((0..32).filter(|&x| bright(x)).count() as u32)
    };
    let mean = |range: std::ops::Range<usize>| range.map(width).sum::<f64>() / 4.0;
    let (trousers, pullovers) = (mean(0..4), mean(4..8));
    assert!(
        trousers > 4.0 && trousers + 4.0 < pullovers,
        "{trousers} {pullovers}"
    );
}

#[test]
fn blocks_in_their_file_and_in_8_bits() {
    let place = Place::new();
    let paint = |out: &str, more: &str| {
        place.good(&format!(
            "generate -m @classes --class cat -s 5 -o {out} {more}"
        ));
        place.read(out)
    };
    assert_eq!(paint("a.png", ""), paint("b.png", "--stream"));
    paint("c.png", "--dtype int8");
}

#[test]
fn classes_painted_at_once_are_those_painted_one_by_one() {
    let place = Place::new();
    let paint = |folder: &str, size: &str| {
        std::fs::create_dir(place.path(folder)).unwrap();
        let args = ["generate", "-m", model(), "-s", "7", "-o", folder];
        let classes = ["--class", "cat", "--class", "0", "--class", "tree"];
        place.good(&[&args[..], &classes, &["--batch-size", size]].concat());
        let files = place.files(folder).into_iter();
        let read = |name: String| std::fs::read(place.path(folder).join(name)).unwrap();
        files.map(read).collect::<Vec<_>>()
    };
    let one_by_one = paint("one/", "1");
    assert_eq!(one_by_one.len(), 3);
    assert!(paint("two/", "2") == one_by_one);
}
