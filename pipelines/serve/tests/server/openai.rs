//! The images of the OpenAI API.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::running::{Answer, png, start};

fn images(answer: &Answer) -> Vec<(String, u64)> {
    let json = answer.json();
    let data = json["data"].as_array().unwrap_or_else(|| panic!("{json}"));
    let image = |data: &Value| {
        let image = data["b64_json"].as_str().unwrap().to_owned();
        (image, data["seed"].as_u64().unwrap())
    };
    data.iter().map(image).collect()
}

fn pixels(image: &str) -> image::RgbImage {
    let bytes = STANDARD.decode(image).unwrap();
    image::load_from_memory(&bytes).unwrap().to_rgb8()
}

#[test]
fn images_from_a_prompt() {
    let server = start(|_| {});
    let ask = r#"{ "prompt": "red apple", "seed": 3, "n": 2, "model": "gpt-image-1" }"#;
    let first = server.post("/v1/images/generations", ask);
    assert_eq!(first.status, 200, "{}", first.text());
    let first = images(&first);
    assert_eq!(
        first.iter().map(|image| image.1).collect::<Vec<_>>(),
        [3, 4]
    );
    assert_eq!(pixels(&first[0].0).dimensions(), (64, 64));
    // The same seeds give the same images, from the same loaded model.
    assert_eq!(images(&server.post("/v1/images/generations", ask)), first);
    let metrics = server.get("/metrics").text();
    assert!(
        metrics.contains("nextscale_images_total 4") && metrics.contains("nextscale_model_parts 3"),
        "{metrics}"
    );
    let models = server.get("/v1/models").json();
    let names: Vec<&str> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["default", "sprites", "edits"]);
    assert_eq!(server.get("/v1/models/default").json()["id"], "default");
    for (format, start) in [("jpeg", "/9j/"), ("webp", "UklGR")] {
        let ask = format!(r#"{{ "prompt": "car", "output_format": "{format}" }}"#);
        let answer = server.post("/v1/images/generations", &ask);
        let image = &images(&answer)[0].0;
        assert!(image.starts_with(start), "{image}");
    }
}

#[test]
fn an_image_grows_in_a_stream() {
    let server = start(|_| {});
    let ask = r#"{ "prompt": "red apple", "stream": true, "partial_images": 2 }"#;
    let answer = server.post("/v1/images/generations", ask);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.head.contains("text/event-stream"));
    let partial = "image_generation.partial_image";
    assert_eq!(
        answer.events(),
        [partial, partial, "image_generation.completed"]
    );
    for number in 0..2 {
        let words = format!("\"partial_image_index\":{number}");
        assert!(answer.text().contains(&words));
    }
}

#[test]
fn a_part_of_an_image_is_painted_anew() {
    let server = start(|_| {});
    let image = png(64, 64, |_, _| false);
    let mask = png(64, 64, |x, _| x >= 32);
    let texts = [
        ("prompt", "red apple"),
        ("seed", "3"),
        ("keep_original", "true"),
    ];
    let answer = server.form(
        "/v1/images/edits",
        &texts,
        &[("image", &image), ("mask", &mask)],
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    let edited = pixels(&images(&answer)[0].0);
    assert!((0..64).all(|y| (0..32).all(|x| edited.get_pixel(x, y).0 == [200, 40, 60])));
    assert!((0..64).any(|y| (40..64).any(|x| edited.get_pixel(x, y).0 != [200, 40, 60])));
    // A hole in the image itself says the same.
    let holed = png(64, 64, |x, _| x >= 32);
    let answer = server.form("/v1/images/edits", &texts, &[("image[]", &holed)]);
    let same = pixels(&images(&answer)[0].0);
    assert_eq!(same.get_pixel(3, 3).0, [200, 40, 60]);
    // Without any, the prompt is an instruction for the model that takes one.
    let answer = server.form(
        "/v1/images/edits",
        &[("prompt", "make it blue")],
        &[("image", &image)],
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    let run = &server.get("/api/runs").json()["runs"][0];
    assert_eq!(run["model"], "edits");
    assert!(
        !run["yaml"]
            .as_str()
            .unwrap()
            .contains(server.folder().to_str().unwrap())
    );
}

#[test]
fn a_variation_keeps_the_first_scales() {
    let server = start(|_| {});
    let ask = r#"{ "prompt": "red apple", "seed": 3 }"#;
    let original = images(&server.post("/v1/images/generations", ask))
        .remove(0)
        .0;
    let file = STANDARD.decode(&original).unwrap();
    let vary = |from: &str| {
        let texts = [("from_scale", from), ("seed", "9")];
        let answer = server.form("/v1/images/variations", &texts, &[("image", &file)]);
        assert_eq!(answer.status, 200, "{}", answer.text());
        pixels(&images(&answer)[0].0)
    };
    let run = server.get("/api/models").json();
    let scales = run["models"][0]["scales"].as_u64().unwrap();
    // All scales kept: the original. None: another image.
    assert_eq!(vary(&scales.to_string()), pixels(&original));
    assert_ne!(vary("0"), pixels(&original));
    // An image that this program has not made needs a prompt.
    let other = png(64, 64, |_, _| false);
    let refused = server.form("/v1/images/variations", &[], &[("image", &other)]);
    assert!(
        refused.message().contains("send a `prompt`"),
        "{}",
        refused.text()
    );
    let answer = server.form(
        "/v1/images/variations",
        &[("prompt", "car")],
        &[("image", &other)],
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
}
