//! The API of A1111.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::running::{long, png, start};

#[test]
fn images_from_a_prompt_in_the_nearest_size() {
    let server = start(|_| {});
    let ask = json!({ "prompt": "red apple", "seed": 3, "width": 512, "height": 512, "batch_size": 2, "steps": 20, "cfg_scale": 7, "sampler_name": "Euler a" });
    let answer = server.post("/sdapi/v1/txt2img", &ask.to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let info: Value = serde_json::from_str(answer["info"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&info["all_seeds"], &info["width"]),
        (&json!([3, 4]), &json!(64))
    );
    let image = answer["images"][0].as_str().unwrap();
    // The same image as of every other API.
    let other = server.post(
        "/v1/images/generations",
        r#"{ "prompt": "red apple", "seed": 3 }"#,
    );
    assert_eq!(other.json()["data"][0]["b64_json"], image);
    let found = server.post(
        "/sdapi/v1/png-info",
        &json!({ "image": format!("data:image/png;base64,{image}") }).to_string(),
    );
    assert!(
        found.json()["info"]
            .as_str()
            .unwrap()
            .starts_with("red apple")
    );
    assert_eq!(found.json()["parameters"]["seed"], 3);
}

#[test]
fn images_from_an_image() {
    let server = start(|_| {});
    let image = STANDARD.encode(png(64, 64, |_, _| false));
    let mask =
        image::GrayImage::from_fn(64, 64, |x, _| image::Luma([if x < 32 { 255 } else { 0 }]));
    let mut bytes = std::io::Cursor::new(vec![]);
    mask.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    let mut ask = json!({ "prompt": "red apple", "init_images": [image], "mask": STANDARD.encode(bytes.into_inner()) });
    for invert in [0, 1] {
        ask["inpainting_mask_invert"] = json!(invert);
        let answer = server.post("/sdapi/v1/img2img", &ask.to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
        let edited = STANDARD
            .decode(answer.json()["images"][0].as_str().unwrap())
            .unwrap();
        let edited = image::load_from_memory(&edited).unwrap().to_rgb8();
        let kept = if invert == 1 { 5 } else { 60 };
        assert_eq!(edited.get_pixel(kept, 30).0, [200, 40, 60], "{invert}");
    }
    let ask = json!({ "prompt": "car", "init_images": [image], "denoising_strength": 0.5 });
    assert_eq!(
        server.post("/sdapi/v1/img2img", &ask.to_string()).status,
        200
    );
    for (key, value, words) in [
        ("denoising_strength", json!(2), "from 0 to 1"),
        ("init_images", json!([]), "0 images"),
        ("init_images", json!(["?"]), "base64"),
        ("init_images", json!(["aGVsbG8="]), "the upload"),
        ("prompt", json!(""), "`prompt` is empty"),
    ] {
        let mut bad = ask.clone();
        bad[key] = value;
        let answer = server.post("/sdapi/v1/img2img", &bad.to_string());
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.message().contains(words), "{}", answer.text());
    }
}

#[test]
fn lists_options_progress_and_interrupt() {
    let server = start(|options| options.images = 400);
    assert_eq!(
        server.get("/sdapi/v1/sd-models").json()[0]["model_name"],
        "default"
    );
    assert_eq!(
        server.get("/sdapi/v1/samplers").json()[0]["name"],
        "next-scale"
    );
    assert_eq!(
        server.get("/sdapi/v1/schedulers").json()[0]["name"],
        "automatic"
    );
    assert_eq!(
        server.get("/sdapi/v1/options").json()["sd_model_checkpoint"],
        "default"
    );
    let choose = r#"{ "sd_model_checkpoint": "default", "unknown": 3 }"#;
    assert_eq!(server.post("/sdapi/v1/options", choose).status, 200);
    let nothing = server.post("/sdapi/v1/options", r#"{ "sd_model_checkpoint": "nope" }"#);
    assert_eq!(nothing.status, 400);
    assert_eq!(server.get("/sdapi/v1/progress").json()["progress"], 0.0);
    let id = server.run(&long(400));
    loop {
        let progress = server.get("/sdapi/v1/progress").json();
        if progress["current_image"].is_string() {
            assert!(progress["state"]["sampling_steps"].as_u64().unwrap() > 0);
            break;
        }
    }
    assert_eq!(server.post("/sdapi/v1/interrupt", "").status, 200);
    assert_eq!(server.end(&id)["state"], "cancelled");
}

/// Adapters of the server: listed, chosen in the prompt or by name, and refused by name.
#[test]
fn adapters_are_chosen_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ink.safetensors");
    adapter(&path);
    let server = start(|options| {
        options.loras = vec![format!("{}:0.5", path.display()).parse().unwrap()];
    });
    let listed = server.get("/sdapi/v1/loras").json();
    assert_eq!(listed[0]["name"], "ink");
    let listed = server.get("/api/models").json();
    // The model of edits has the same shapes.
    assert_eq!(listed["adapters"][0]["models"], json!(["default", "edits"]));

    let paint = |prompt: &str| {
        let ask = json!({ "prompt": prompt, "seed": 3 });
        let answer = server.post("/sdapi/v1/txt2img", &ask.to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = answer.json()["images"][0].as_str().unwrap().to_owned();
        let bytes = STANDARD.decode(&text).unwrap();
        (image::load_from_memory(&bytes).unwrap().to_rgb8(), text)
    };
    let plain = paint("red apple").0;
    let (half, text) = paint("red apple <lora:ink>");
    assert!(plain != half);
    assert!(half == paint("red apple <lora:ink:0.5:1>").0);
    assert!(plain == paint("<lora:ink:0> red apple").0);
    // The image names its adapter, and not where it lies.
    let found = server.post("/sdapi/v1/png-info", &json!({ "image": text }).to_string());
    let found = found.json();
    assert_eq!(found["parameters"]["lora"], json!(["ink:0.5"]));
    let bytes = STANDARD.decode(&text).unwrap();
    let place = folder.path().display().to_string();
    assert!(
        !bytes
            .windows(place.len())
            .any(|part| part == place.as_bytes())
    );

    let ask = json!({ "prompt": "red apple", "lora": ["oil"] });
    let refused = server.post("/api/generate", &ask.to_string());
    assert_eq!(refused.status, 400);
    assert!(
        refused.text().contains("adapters here: ink"),
        "{}",
        refused.text()
    );
    let yaml =
        "model: default\nlora: [/etc/passwd]\nstages:\n  a: {stage: prompts, prompts: [x]}\n";
    let refused = server.post("/api/runs", yaml);
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(
        refused.text().contains("adds the adapter"),
        "{}",
        refused.text()
    );
}

/// Writes an adapter for one layer of the embedded model.
fn adapter(path: &std::path::Path) {
    let (rank, inputs, outputs) = (2, 256, 1024);
    let numbers = |count: usize| (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) * 2e-3);
    let bytes = |count| {
        numbers(count)
            .flat_map(f32::to_le_bytes)
            .collect::<Vec<u8>>()
    };
    let (down, up) = (bytes(rank * inputs), bytes(outputs * rank));
    let layer = "base_model.model.blocks.1.ffn.fc1";
    let header = json!({
        "__metadata__": { "lora_alpha": "40" },
        format!("{layer}.lora_A.weight"): { "dtype": "F32", "shape": [rank, inputs], "data_offsets": [0, down.len()] },
        format!("{layer}.lora_B.weight"): { "dtype": "F32", "shape": [outputs, rank], "data_offsets": [down.len(), down.len() + up.len()] },
    });
    let header = header.to_string().into_bytes();
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(path, [&length[..], &header, &down, &up].concat()).unwrap();
}
