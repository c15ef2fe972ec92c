//! The videos of the OpenAI API.

use std::time::Duration;

use serde_json::Value;

use crate::running::{Running, png, start};

fn finished(server: &Running, video: &Value) -> Value {
    let path = format!("/v1/videos/{}", video["id"].as_str().unwrap());
    loop {
        let video = server.get(&path).json();
        match video["status"].as_str() {
            Some("queued" | "in_progress") => std::thread::sleep(Duration::from_millis(50)),
            _ => return video,
        }
    }
}

#[test]
fn a_video_is_made_fetched_listed_and_deleted() {
    let server = start(|_| {});
    let ask = r#"{ "prompt": "red apple bouncing", "model": "sora-2", "seconds": "1", "seed": 3 }"#;
    let answer = server.post("/v1/videos", ask);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let video = answer.json();
    assert_eq!(
        (video["object"].as_str(), video["model"].as_str()),
        (Some("video"), Some("sprites"))
    );
    let video = finished(&server, &video);
    assert_eq!(
        (video["status"].as_str(), video["progress"].as_u64()),
        (Some("completed"), Some(100)),
        "{video}"
    );
    let path = format!("/v1/videos/{}", video["id"].as_str().unwrap());
    let content = server.get(&format!("{path}/content"));
    assert!(content.head.contains("video/mp4") && content.body[4..8] == *b"ftyp");
    let thumbnail = server.get(&format!("{path}/content?variant=thumbnail"));
    assert!(thumbnail.body.starts_with(b"\x89PNG"));
    assert_eq!(server.get(&format!("{path}/content?variant=x")).status, 400);
    // It carries its settings. Longer models continue it, this one says why not.
    let kept = server.ask("POST /api/uploads", "", &content.body);
    assert_eq!(kept.status, 201, "{}", kept.text());
    let kept = kept.json();
    assert_eq!(kept["request"]["prompt"], "red apple bouncing", "{kept}");
    let settings = serde_json::json!({ "model": "sprites", "prompt": "red apple bouncing", "video": kept["name"] });
    let refused = server.post("/api/generate", &settings.to_string());
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(
        refused.message().contains("does not continue videos"),
        "{}",
        refused.text()
    );
    // An image is no video.
    server.post("/v1/images/generations", r#"{ "prompt": "car" }"#);
    let list = server.get("/v1/videos?limit=1").json();
    assert_eq!(
        (list["data"].as_array().unwrap().len(), &list["has_more"]),
        (1, &Value::Bool(false))
    );
    assert_eq!(server.delete(&path).json()["deleted"], true);
    assert_eq!(server.get(&path).status, 404);
}

#[test]
fn a_video_begins_with_an_image() {
    let server = start(|_| {});
    let image = png(64, 64, |_, _| false);
    let texts = [("prompt", "red apple bouncing"), ("seconds", "1")];
    let answer = server.form("/v1/videos", &texts, &[("input_reference", &image)]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let video = finished(&server, &answer.json());
    assert_eq!(video["status"], "completed", "{video}");
    for (ask, words) in [
        (
            r#"{ "prompt": "a", "seconds": "x" }"#,
            "`seconds` is a number",
        ),
        (
            r#"{ "prompt": "a", "seconds": 999 }"#,
            "makes no video of 999 s",
        ),
        (
            r#"{ "prompt": "a", "model": "default" }"#,
            "makes images, not videos",
        ),
        (r#"{ "prompt": "a", "model": "nope" }"#, "there is no model"),
        (r#"{ "prompt": "" }"#, "`prompt` is empty"),
    ] {
        let answer = server.post("/v1/videos", ask);
        assert_eq!(answer.status, 400, "{ask}");
        assert!(answer.message().contains(words), "{}", answer.text());
    }
    assert_eq!(server.get("/v1/videos/video_x").status, 404);
}
