//! Runs, settings, uploads and the gallery.

use crate::running::{PIPELINE, long, png, start};

#[test]
fn a_pipeline_is_followed_and_its_images_are_there() {
    let server = start(|_| {});
    let id = server.run(PIPELINE);
    let events = server.get(&format!("/api/runs/{id}/events"));
    assert_eq!(events.status, 200);
    let names = events.events();
    assert_eq!(names[..2], ["queued", "loading"], "{names:?}");
    let count = |name: &str| names.iter().filter(|of| *of == name).count();
    assert_eq!((count("scale"), count("preview")), (4, 3), "{names:?}");
    assert_eq!(names[names.len() - 2..], ["image", "done"]);
    // From the middle on.
    let rest = server
        .get(&format!("/api/runs/{id}/events?after=2"))
        .events();
    assert_eq!(rest, names[2..]);
    let last = format!("Last-Event-ID: {}\r\n", names.len() - 1);
    let rest = server.ask(&format!("GET /api/runs/{id}/events"), &last, b"");
    assert_eq!(rest.events(), ["done"]);
    for file in ["00000-scale-01.png", "00000-3.png"] {
        let image = server.get(&format!("/api/runs/{id}/files/{file}"));
        assert!(
            image.status == 200 && image.body.starts_with(b"\x89PNG"),
            "{file}"
        );
    }
    for path in [
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e",
        "jobs.sqlite",
        "..%2fjobs.sqlite",
    ] {
        let status = server.get(&format!("/api/runs/{id}/files/{path}")).status;
        assert_eq!(status, 404, "{path}");
    }
    let run = server.get(&format!("/api/runs/{id}")).json();
    assert_eq!(
        (run["state"].as_str(), run["prompt"].as_str()),
        (Some("done"), Some("red apple"))
    );
    assert_eq!(run["images"][0]["scales"].as_array().unwrap().len(), 3);
    assert_eq!(run["request"]["seed"], 3);
}

#[test]
fn settings_make_a_pipeline_and_the_pipeline_gives_them_back() {
    let server = start(|_| {});
    let settings = r#"{"prompt": "red apple", "seed": "3", "width": 64, "height": 64}"#;
    let yaml = server.post("/api/pipelines", settings).json();
    let id = server.run(yaml["yaml"].as_str().unwrap());
    let by_yaml = server.end(&id);
    let answer = server.post("/api/generate", settings);
    assert_eq!(answer.status, 202, "{}", answer.text());
    let by_settings = server.end(answer.json()["id"].as_str().unwrap());
    assert_eq!(by_yaml["request"], by_settings["request"]);
    let file = |run: &serde_json::Value| {
        let (id, file) = (
            run["id"].as_str().unwrap(),
            run["images"][0]["file"].as_str().unwrap(),
        );
        server.get(&format!("/api/runs/{id}/files/{file}")).body
    };
    assert_eq!(file(&by_yaml), file(&by_settings));
    // An image gives its settings back.
    let kept = server.ask("POST /api/uploads", "", &file(&by_yaml));
    assert_eq!(kept.status, 201, "{}", kept.text());
    let kept = kept.json();
    assert_eq!(
        (kept["width"].as_u64(), kept["request"]["seed"].as_u64()),
        (Some(64), Some(3))
    );
    let again = server.post("/api/generate", &kept["request"].to_string());
    assert_eq!(again.status, 202, "{}", again.text());
    let again = server.end(again.json()["id"].as_str().unwrap());
    assert_eq!(file(&again), file(&by_yaml));
}

#[test]
fn an_upload_is_edited() {
    let server = start(|_| {});
    let kept = server
        .ask("POST /api/uploads", "", &png(64, 64, |_, _| false))
        .json();
    let name = kept["name"].as_str().unwrap();
    let shown = server.get(&format!(
        "/api/uploads/{}",
        name.strip_prefix("upload:").unwrap()
    ));
    assert!(shown.status == 200 && shown.head.contains("image/png"));
    let settings = format!(
        r#"{{"prompt": "red apple", "image": "{name}", "box": "0,0,32,64", "keep_original": true}}"#
    );
    let answer = server.post("/api/generate", &settings);
    assert_eq!(answer.status, 202, "{}", answer.text());
    let run = server.end(answer.json()["id"].as_str().unwrap());
    assert_eq!(run["state"], "done", "{run}");
    // What the image records names no path of the server.
    let path = format!(
        "/api/runs/{}/files/{}",
        run["id"].as_str().unwrap(),
        run["images"][0]["file"].as_str().unwrap()
    );
    let image = String::from_utf8_lossy(&server.get(&path).body).into_owned();
    assert!(image.contains(name) && !image.contains(server.folder().to_str().unwrap()));
    for (settings, words) in [
        (
            settings.replace(name, "upload:0123"),
            "there is no `upload:0123`",
        ),
        (
            settings.replace(name, "upload:../jobs"),
            "there is no `upload:../jobs`",
        ),
        (settings.replace(name, "/etc/passwd"), "/etc/passwd"),
        (
            settings.replace("0,0,32,64", "0,0,99,99"),
            "not inside the image",
        ),
    ] {
        let answer = server.post("/api/generate", &settings);
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.message().contains(words), "{}", answer.text());
    }
    let other = server
        .ask("POST /api/uploads", "", &png(32, 64, |_, _| false))
        .json();
    let masked = settings.replace(
        "\"box\": \"0,0,32,64\"",
        &format!("\"mask\": {}", other["name"]),
    );
    let answer = server.post("/api/generate", &masked);
    let message = answer.message();
    assert!(
        message.contains("has 32x64 pixels") && !message.contains("/uploads/"),
        "{message}"
    );
}

#[test]
fn the_gallery_is_searched_and_cleared() {
    let server = start(|_| {});
    let mut ids = vec![];
    for (prompt, seed) in [("red apple", 1), ("blue car", 2), ("red car", 3)] {
        let yaml = PIPELINE
            .replace("red apple", prompt)
            .replace("seed: 3", &format!("seed: {seed}"));
        ids.push(server.run(&yaml));
    }
    server.end(&ids[2]);
    server.end(&ids[1]);
    let found = |query: &str| -> Vec<String> {
        let json = server.get(&format!("/api/runs?{query}")).json();
        let runs = json["runs"].as_array().unwrap();
        runs.iter()
            .map(|run| run["prompt"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(found(""), ["red car", "blue car", "red apple"]);
    assert_eq!(found("search=RED&state=done"), ["red car", "red apple"]);
    assert_eq!(found("limit=1"), ["red car"]);
    let next = server.get("/api/runs?limit=1").json()["next"]
        .as_i64()
        .unwrap();
    assert_eq!(found(&format!("limit=1&before={next}")), ["blue car"]);
    assert_eq!(server.get("/api/runs?limit=x").status, 400);
    assert_eq!(server.get("/api/runs?state=odd").status, 400);
    let path = format!("/api/runs/{}", ids[0]);
    assert!(server.folder().join(&ids[0]).is_dir());
    assert_eq!(server.delete(&path).status, 204);
    assert!(!server.folder().join(&ids[0]).exists());
    assert_eq!(server.get(&path).status, 404);
    assert_eq!(found("search=apple"), [""; 0]);
}

#[test]
fn jobs_of_one_kind_are_painted_together_and_are_the_same_as_alone() {
    let server = start(|_| {});
    let alone = server.end(&server.run(PIPELINE));
    let image = |run: &serde_json::Value| {
        let file = run["images"][0]["file"].as_str().unwrap();
        server
            .get(&format!(
                "/api/runs/{}/files/{file}",
                run["id"].as_str().unwrap()
            ))
            .body
    };
    // While the first is painted the others gather.
    let mut ids = vec![server.run(&long(8))];
    for prompt in ["blue car", "red apple", "tree"] {
        ids.push(server.run(&PIPELINE.replace("red apple", prompt)));
    }
    let runs: Vec<_> = ids.iter().map(|id| server.end(id)).collect();
    assert!(runs.iter().all(|run| run["state"] == "done"), "{runs:?}");
    assert_eq!(image(&runs[2]), image(&alone));
    assert_ne!(image(&runs[1]), image(&alone));
    let metrics = server.get("/metrics").text();
    let batches = metrics
        .lines()
        .find(|line| line.starts_with("nextscale_batches_total"))
        .unwrap();
    let batches: f64 = batches.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(batches <= 4.0, "{batches}");
}

#[test]
fn the_page_and_the_description_are_there() {
    let server = start(|options| options.api_key = Some("secret".into()));
    let page = server.get("/");
    assert!(
        page.status == 200
            && page
                .head
                .contains("content-security-policy: default-src 'none'")
    );
    let text = page.text();
    assert!(!text.contains("{{NONCE}}"));
    // All that it names is there, without a key.
    let names = text
        .split(['"', '\''])
        .filter(|name| name.starts_with("/") && name.contains('.'));
    for name in names {
        assert_eq!(server.get(name).status, 200, "{name}");
    }
    let key = "Authorization: Bearer secret\r\n";
    let description = server.get("/openapi.json").json();
    for path in [
        "/v1/images/edits",
        "/sdapi/v1/txt2img",
        "/api/runs/{id}/events",
    ] {
        assert!(description["paths"][path].is_object(), "{path}");
    }
    let docs = server.get("/docs/");
    assert!(
        docs.status == 200 && docs.text().contains("swagger"),
        "{}",
        docs.text()
    );
    assert_eq!(server.get("/api/schema").status, 401);
    let schema = server.ask("GET /api/schema", key, b"").json();
    assert!(schema["properties"]["stages"].is_object());
}
