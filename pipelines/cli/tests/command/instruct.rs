//! Editing images by instruction, with a model that was made for it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use image::{Rgb, RgbImage, Rgba, RgbaImage};
use nextscale_bitwise::import::save_infinity;
use nextscale_bitwise::infinity::InfinityConfig;
use nextscale_bitwise::vae::BsqVaeConfig;
use nextscale_models::{Generator, Request};
use nextscale_weights::WeightDtype;

use crate::models::save_released_text;
use crate::{Place, tiny};

/// The folder of a tiny model that edits by instruction at 16 x 16 pixels.
pub(crate) fn model() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    MODEL.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("tiny-instruct");
        tiny::copy(&folder);
        tiny::describe(&folder, |manifest| {
            manifest["edits_by_instruction"] = true.into();
            manifest["sizes"].as_array_mut().unwrap().truncate(1);
        });
        folder
    })
}

/// A place with a wide image and a tall one.
fn place() -> Place {
    let place = Place::new();
    stripes(24, 10).save(place.path("wide.png")).unwrap();
    stripes(7, 20).save(place.path("tall.png")).unwrap();
    place
}

fn stripes(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([x as u8 * 10, y as u8 * 12, 90]))
}

/// Edits without chance; returns the result.
fn edit(place: &Place, image: &str, prompt: &str, more: &str) -> RgbImage {
    let fixed = "edit -m @instruct -s 1 --temperature 0 --no-metadata -o x.png";
    place.good(&format!("{fixed} -i {image} -p '{prompt}' {more}"));
    place.image("x.png")
}

#[test]
fn the_result_has_the_size_of_the_image() {
    let place = place();
    for (image, size) in [("wide.png", (24, 10)), ("tall.png", (7, 20))] {
        assert_eq!(edit(&place, image, "a cat", "").dimensions(), size);
    }
    // Previews of unfinished scales too.
    place.make_dir("seen");
    edit(&place, "wide.png", "a cat", "--preview seen");
    let previews = place.files("seen");
    assert!(!previews.is_empty());
    for name in previews {
        let preview = place.image(&format!("seen/{name}"));
        assert_eq!(preview.dimensions(), (24, 10), "{name}");
    }
}

#[test]
fn the_image_and_the_instruction_matter() {
    let place = place();
    let one = edit(&place, "wide.png", "a red house", "");
    assert_eq!(one, edit(&place, "wide.png", "a red house", ""));
    assert_ne!(one, edit(&place, "wide.png", "a blue tree and a cat", ""));
    let other = RgbImage::from_fn(24, 10, |x, y| Rgb([200, x as u8 * 9, y as u8 * 20]));
    other.save(place.path("wide.png")).unwrap();
    assert_ne!(one, edit(&place, "wide.png", "a red house", ""));
    // Transparent parts lie on white; none of them is a mask.
    let holes = RgbaImage::from_fn(24, 10, |x, _| Rgba([200, 9, 20, x as u8 * 10]));
    holes.save(place.path("holes.png")).unwrap();
    let seen = edit(&place, "holes.png", "a red house", "");
    assert_eq!(seen.dimensions(), (24, 10));
}

#[test]
fn one_by_one_together_and_from_rust_it_is_the_same() {
    let place = place();
    let first = "edit -m @instruct -i wide.png -s 5 -p 'a red house' --no-metadata --device cpu";
    place.good(&format!("{first} -o one.png"));
    place.good(&format!(
        "{first} -p 'a cat' --batch-size 2 -o 'both-{{index}}.png'"
    ));
    let one = place.image("one.png");
    let both: Vec<String> = place
        .files(".")
        .into_iter()
        .filter(|n| n.starts_with("both"))
        .collect();
    assert_eq!((both.len(), place.image(&both[0])), (2, one.clone()));

    let placement = nextscale_models::Placement::open(
        "cpu".parse().unwrap(),
        nextscale_models::device::Dtype::F32,
    );
    let opened = nextscale_models::Model::open(model().to_str().unwrap()).unwrap();
    let generator = Generator::load(&opened.into(), &placement.unwrap()).unwrap();
    let request = Request::prompt("a red house").seed(5);
    let refused = generator.generate(&request).unwrap_err().to_string();
    assert!(
        refused.contains("edits an image, and there is none"),
        "{refused}"
    );
    let request = request.init_image(stripes(24, 10));
    let image = generator.generate(&request).unwrap().image().unwrap();
    assert_eq!(image, one);
}

#[test]
fn an_edit_repeats_itself_from_its_file() {
    let place = place();
    place.good("edit -m @instruct -i tall.png -p 'a cat' -s 3 -o x.png");
    place.good("run x.png --trust --set output=again.png");
    assert_eq!(place.image("x.png"), place.image("again.png"));
}

#[test]
fn without_a_model_or_a_part_the_embedded_model_follows_the_instruction() {
    if nextscale_models::Model::open(nextscale_models::EDITS).is_err() {
        return; // a program without models inside
    }
    let place = place();
    place.good("edit -i wide.png -p 'make it blue' -s 3 -o x.png");
    assert_eq!(place.image("x.png").dimensions(), (24, 10));
    assert!(place.stdout("metadata x.png").contains("model: edits"));
    place.good("run x.png -o again.png");
    assert_eq!(place.read("x.png"), place.read("again.png"));
    // A part is inpainted by the model of images, and so are holes.
    place.good("edit -i wide.png --box 0,0,50%,100% -p dog -s 3 -o box.png");
    let holes = RgbaImage::from_fn(24, 10, |x, _| Rgba([200, 9, 20, x as u8 * 10]));
    holes.save(place.path("holes.png")).unwrap();
    place.good("edit -i holes.png -p dog -s 3 -o holed.png");
    for name in ["box.png", "holed.png"] {
        let told = place.stdout(&format!("metadata {name}"));
        assert!(!told.contains("model: edits"), "{name}");
    }
}

#[test]
fn what_does_not_go_together_is_said() {
    let place = place();
    place.refuses_each(
        "edit -i wide.png -p 'a cat' -o x.png",
        "
        -m @instruct --box 0,0,4,4         => edits the whole image by instruction | the prompt says what changes
        -m @instruct --outpaint 'left 0.5' => edits the whole image by instruction
        -m @instruct --invert              => edits the whole image by instruction
        -m @instruct -W 24                 => does not generate images 24 pixels wide
        -m @tiny                   => nothing says which part of the image is inpainted | varedit-8b-512
        -m @instruct --keep-original       => nothing says which part of the image is inpainted",
    );
    place.refuses_each(
        "generate -p 'a cat' -o x.png",
        "
        -m @instruct             => edits an image, and none is given | nextscale edit --init-image FILE
        -m @instruct -i wide.png => edits an image, and none is given",
    );
    place.refuses("edit -m @instruct -i none.png -p 'a cat'", &["none.png"]);
}

#[test]
fn a_description_needs_places_for_the_image() {
    let place = Place::new();
    let folder = place.path("d");
    tiny::copy(&folder);
    tiny::describe(&folder, |manifest| {
        manifest["edits_by_instruction"] = true.into();
    });
    let first = "edit -m d -i x.png -p x";
    place.refuses(first, &["24x16, but it edits images in a square"]);
    tiny::describe(&folder, |manifest| {
        manifest["sizes"].as_array_mut().unwrap().truncate(1);
        manifest["sizes"][0]["reference"] = serde_json::json!([6, 6]);
    });
    place.refuses(
        first,
        &["needs 37 positions at 16x16, but its reference has 36"],
    );
}

#[test]
fn its_speed_is_measured_on_an_empty_image() {
    let place = Place::new();
    let table = place.stdout("bench -m @instruct --rounds 1 --warmup 0 --device cpu");
    assert_eq!(
        table
            .lines()
            .filter(|line| line.starts_with("scale "))
            .count(),
        3,
        "{table}"
    );
}

/// The files of a model of 56 bits a token, whose transformer is called `name`.
fn released(place: &Place, name: &str) {
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
    let device = burn::tensor::Device::flex();
    let model = config.init(&device);
    std::fs::create_dir_all(place.path("models")).unwrap();
    let file = place.path("models").join(name);
    save_infinity(&config, &model, &file, WeightDtype::Bf16).unwrap();
    let vae = BsqVaeConfig {
        base_channels: 24,
        ..BsqVaeConfig::stride_8_patchify()
    };
    let path = place.path("models/infinity_vae_d56_f8_14_patchify.safetensors");
    vae.init(&device).save(path, WeightDtype::F16).unwrap();
    save_released_text(&place.path("models/flan-t5-xl"));
}

#[test]
fn the_released_files_are_told_by_their_names() {
    let place = Place::new();
    let list = place.stdout("models");
    for (name, side) in [("varedit-8b-512", 512), ("varedit-8b-1024", 1024)] {
        let line = list.lines().find(|l| l.starts_with(name)).unwrap();
        assert!(line.ends_with(&format!("edits of images from instructions, {side}x{side}")));
    }
    let parts = place.stdout("models varedit-8b-1024");
    assert!(parts.contains("HiDream-ai/VAREdit: 8B-1024.pth"), "{parts}");
    released(&place, "8B-512.safetensors");
    place.refuses_each(
        "generate -p 'a cat' -o x.png",
        "
        -m models/8B-512.safetensors => edits an image, and none is given
        -m models                    => edits an image, and none is given
        -m varedit-8b-512            => width 32, 2 blocks, 56 bits a token instead of width 3584, 40 blocks",
    );
    // The same tensors under another name are another model, which is said.
    let from = place.path("models/8B-512.safetensors");
    std::fs::rename(from, place.path("models/mine.safetensors")).unwrap();
    let said = place.refused("generate -p x -m models/mine.safetensors -W 7 -o x.png");
    assert!(
        said.contains("does not generate images 7 pixels wide"),
        "{said}"
    );
}
