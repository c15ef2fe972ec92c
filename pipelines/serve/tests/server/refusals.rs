//! What is not served, and why.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nextscale_serve::{Options, Server};

use crate::running::{PIPELINE, start};

#[test]
fn mistakes_are_told_with_their_place() {
    let server = start(|options| options.models.truncate(1));
    for (path, body, status, words) in [
        ("/v1/images/generations", "{", 400, "JSON"),
        ("/v1/images/generations", r#"{ "n": 1 }"#, 422, "prompt"),
        (
            "/v1/images/generations",
            r#"{ "prompt": " " }"#,
            400,
            "`prompt` is empty",
        ),
        (
            "/v1/images/generations",
            r#"{ "prompt": "a\u0000b" }"#,
            400,
            "NUL",
        ),
        (
            "/v1/images/generations",
            r#"{ "prompt": "a", "n": 99 }"#,
            400,
            "from 1 to 8",
        ),
        (
            "/v1/images/generations",
            r#"{ "prompt": "a", "size": "big" }"#,
            400,
            "WIDTHxHEIGHT",
        ),
        (
            "/v1/images/generations",
            r#"{ "prompt": "a", "size": "99999x99999" }"#,
            400,
            "99999",
        ),
        (
            "/v1/images/generations",
            r#"{ "prompt": "a", "model": "../x" }"#,
            400,
            "there is no model",
        ),
        (
            "/v1/images/generations",
            r#"{ "prompt": "a", "response_format": "url" }"#,
            400,
            "b64_json",
        ),
        ("/api/runs", "stages: {", 400, "pipeline:"),
        (
            "/api/runs",
            "stages:\n  a: { stage: painter }\n",
            400,
            "\"line\":2",
        ),
        (
            "/api/runs",
            "stages:\n  w: { stage: rewrite, url: 'http://x/v1', language-model: m }\n",
            400,
            "another computer",
        ),
        (
            "/api/runs",
            "stages:\n  a: { stage: prompts, file: /etc/passwd }\n",
            400,
            "/etc/passwd",
        ),
        (
            "/api/runs",
            "stages:\n  a: { stage: text-to-image, edit: { image: a.png } }\n",
            400,
            "a file of this computer",
        ),
        (
            "/api/runs",
            &PIPELINE.replace("red apple", "a, b, c, d, e, f, g, h, i"),
            400,
            "9 images are asked for, of 8",
        ),
        (
            "/api/runs",
            &format!("device: [cpu, cpu]\n{PIPELINE}"),
            400,
            "`device` is a list",
        ),
        (
            "/api/runs",
            &format!("model: sprites\n{PIPELINE}"),
            400,
            "there is no model `sprites`",
        ),
        (
            "/api/generate",
            r#"{ "prompt": "a", "sead": 3 }"#,
            422,
            "sead",
        ),
        ("/api/generate", "{}", 400, "`prompt` is empty"),
        (
            "/api/uploads",
            "hello",
            400,
            "the upload is not a readable image",
        ),
        ("/sdapi/v1/txt2img", "3", 422, "invalid type"),
        ("/nothing/at/all", "", 404, "there is no such path"),
    ] {
        let answer = server.post(path, body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        let text = answer.text();
        assert!(
            text.contains("\"error\"") && text.contains(words),
            "{body}: {text}"
        );
    }
    assert_eq!(server.get("/api/runs/0123/events").status, 404);
    assert_eq!(server.delete("/api/generate").status, 405);
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.get("/ready").status, 200);
}

#[test]
fn strangers_and_large_bodies_are_refused() {
    let server = start(|options| {
        options.api_key = Some("secret".into());
        options.body = 1000;
    });
    assert_eq!(server.get("/v1/models").status, 401);
    let key = "Authorization: Bearer secret\r\n";
    let models = |headers: &str| server.ask("GET /v1/models", headers, b"").status;
    assert_eq!(models(key), 200);
    assert_eq!(models(&format!("Host: evil.example\r\n{key}")), 403);
    assert_eq!(
        models(&format!("Origin: http://evil.example\r\n{key}")),
        403
    );
    // The page may be seen by who knows no key, but not under another name.
    assert_eq!(server.get("/").status, 200);
    assert_eq!(
        server.ask("GET /", "Host: evil.example\r\n", b"").status,
        403
    );
    let large = format!(r#"{{ "prompt": "{}" }}"#, "a ".repeat(2000));
    for path in [
        "/v1/images/generations",
        "/api/generate",
        "/api/runs",
        "/api/uploads",
    ] {
        let answer = server.ask(&format!("POST {path}"), key, large.as_bytes());
        assert_eq!(answer.status, 413, "{path}: {}", answer.text());
    }
}

#[test]
fn an_image_of_too_many_pixels_is_not_decoded() {
    let server = start(|_| {});
    // A header that promises 100,000 x 10,000 pixels.
    let mut png = crate::running::png(1, 1, |_, _| false);
    png[16..24].copy_from_slice(&[0, 1, 0x86, 0xa0, 0, 0, 0x27, 0x10]);
    let mut crc = flate2::Crc::new();
    crc.update(&png[12..29]);
    png[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    let answer = server.ask("POST /api/uploads", "", &png);
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(
        answer.message().contains("100000x10000"),
        "{}",
        answer.text()
    );
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn who_sends_slowly_holds_nobody_up() {
    let server = start(|_| {});
    let mut slow: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            stream
                .write_all(b"GET /health HTTP/1.1\r\nHost: local")
                .unwrap();
            stream
        })
        .collect();
    assert_eq!(server.get("/health").status, 200);
    // Its connection is closed in the end.
    let first = &mut slow[0];
    first
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut answer = vec![];
    let _ = first.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
}

#[tokio::test]
async fn an_open_address_needs_a_key() {
    let mut options = Options::in_folder("unused");
    options.address = "0.0.0.0:0".parse().unwrap();
    let error = Server::bind(options).await.err().unwrap();
    assert!(error.to_string().contains("--api-key"), "{error}");
    let mut options = Options::in_folder("unused");
    options.models.push("nope".into());
    let error = Server::bind(options).await.err().unwrap();
    assert!(
        error.to_string().contains("`nope` does not exist"),
        "{error}"
    );
}

#[tokio::test]
async fn a_folder_and_a_store_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::in_folder(folder.path());
    options.address.set_port(0);
    let _first = Server::bind(options.clone()).await.unwrap();
    let error = Server::bind(options.clone()).await.err().unwrap();
    assert!(error.to_string().contains("another server uses"), "{error}");
    options.store = Some("postgres://nobody@127.0.0.1:9/x".into());
    let error = Server::bind(options).await.err().unwrap();
    assert!(
        error
            .to_string()
            .contains("the store of jobs cannot be opened"),
        "{error}"
    );
}
