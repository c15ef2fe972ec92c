//! Class-conditional models.

use nextscale_models::{MANIFEST, TRANSFORMER, VAE};
use nextscale_tokenizer::ScaleSchedule;
use nextscale_weights::WeightDtype;

use crate::{Place, tiny};

#[test]
fn classes_by_name_and_by_number_are_the_same() {
    let place = Place::new();
    let [number, name, other] = ["0", "HOME", "cat"].map(|class| {
        let line = format!("generate -m @classes --class {class} -s 5 -o x.png");
        place.good(&line);
        place.image("x.png")
    });
    assert_eq!(number, name);
    assert_ne!(number, other);
    assert_eq!(number.dimensions(), (16, 16));
}

#[test]
fn shortcuts_of_a_class() {
    let place = Place::new();
    let paint = |more: &str| {
        place.good(&format!(
            "generate -m @classes --class 1 -s 5 --cfg-scale 3 -o x.png {more}"
        ));
        place.image("x.png")
    };
    let plain = paint("");
    for more in ["--scales 1", "--guidance-until 1"] {
        let image = paint(more);
        assert!(image != plain, "{more}");
        place.good("run x.png --trust --set output=again.png");
        assert_eq!(place.image("again.png"), image, "{more}");
    }
}

#[test]
fn a_picture_of_a_class_repaints_itself() {
    let place = Place::new();
    place.good("generate -m @classes --class tree --class 2 -s 1 -b 2 --cfg-scale 3 --smooth -o {prompt}-{index}.png --preview .");
    let files = place.files(".");
    for name in ["cat-00003.png", "00000-scale-01.png"] {
        assert!(files.contains(&name.to_owned()), "{files:?}");
    }
    place.good("run cat-00003.png --trust --set output=again.png --set preview=null");
    assert_eq!(place.image("again.png"), place.image("cat-00003.png"));
}

#[test]
fn wrong_classes_are_explained() {
    Place::new().refuses_each(
        "generate -o x.png",
        "
        -m @classes --class 3    => --class: there is no class 3: they go from 0 to 2
        -m @classes --class -1   => no class -1
        -m @classes --class tere => did you mean `tree`?
        -m @classes -p 'a house' => generates from classes, not from prompts | --class
        -m @tiny --class 0       => generates from prompts, not from classes",
    );
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
    assert_eq!(place.image("x.png").width(), 64);
    // By name it would have to be what the name says.
    place.refuses_each(
        "generate --class 2",
        "-m var-d16 => depth 2, width 64 | depth 16, width 1024",
    );
    // The tokenizer of another model.
    let (_, other) = tiny::class_parts(ScaleSchedule::square(&[1, 2]).unwrap(), 20);
    let other = other.init(&burn::tensor::Device::flex());
    other.save(place.path(names[1]), WeightDtype::F32).unwrap();
    place.refuses_each(
        "generate --class 2",
        "-m . => has 20 codes, its transformer has 24",
    );
    std::fs::remove_file(place.path(names[1])).unwrap();
    place.refuses_each(
        "generate --class 2",
        "-m var_d16.safetensors => lacks its tokenizer | huggingface-cli",
    );
}

#[test]
fn damaged_files_are_named() {
    let place = Place::new();
    for name in [MANIFEST, TRANSFORMER, VAE] {
        std::fs::copy(tiny::class_model().join(name), place.path(name)).unwrap();
    }
    let bytes = place.read(VAE);
    std::fs::write(place.path(VAE), &bytes[..bytes.len() - 9]).unwrap();
    place.refuses_each("generate -m .", "--class 0 => cut-off vae.safetensors");
    std::fs::remove_file(place.path(VAE)).unwrap();
    place.refuses_each(
        "generate -m .",
        "--class 0 => lacks the file vae.safetensors",
    );
}

#[test]
fn a_class_model_is_timed() {
    let place = Place::new();
    let table = place.stdout("bench -m @classes --class cat --rounds 1 --batch 2");
    assert!(
        table.contains("scale 3 (4x4)") && !table.contains("text "),
        "{table}"
    );
    place.refuses_each("bench --random-weights", "-m var-d17 => no size `var-d17`");
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
    let first = "generate -m @classes --class cat -s 5";
    let paint = |out: &str, more: &str| place.make(&format!("{first} {more}"), out);
    assert_eq!(paint("a.png", ""), paint("b.png", "--stream"));
    paint("c.png", "--dtype int8");
}

#[test]
fn classes_painted_at_once_are_those_painted_one_by_one() {
    let place = Place::new();
    let paint = |folder: &str, size: &str| -> Vec<Vec<u8>> {
        place.make_dir(folder);
        let first = "generate -m @classes -s 7 --class cat --class 0 --class tree";
        place.good(&format!("{first} -o {folder} --batch-size {size}"));
        let files = place.files(folder).into_iter();
        files
            .map(|name| place.read(&(folder.to_owned() + &name)))
            .collect()
    };
    let one_by_one = paint("one/", "1");
    assert_eq!(one_by_one.len(), 3);
    assert!(paint("two/", "2") == one_by_one);
}
