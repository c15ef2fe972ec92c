//! A server on a free port, asked over plain sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use nextscale_serve::{Options, Server};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// A server in a thread of its own, which stops at the end of the test.
struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    folder: TempDir,
}

fn start(change: impl FnOnce(&mut Options)) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::in_folder(folder.path());
    options.address.set_port(0);
    change(&mut options);
    let (told, address) = std::sync::mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let server = Server::bind(options).await.unwrap();
            told.send(server.address()).unwrap();
            let stop = async {
                let _ = stopped.await;
            };
            server.run(stop).await.unwrap();
        });
    });
    Running {
        address: address.recv_timeout(Duration::from_secs(20)).unwrap(),
        stop: Some(stop),
        thread: Some(thread),
        folder,
    }
}

impl Running {
    /// Sends a request and reads the whole answer: status, and headers and body as text.
    fn ask(&self, line: &str, headers: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let length = body.len();
        let host = if headers.contains("Host:") {
            ""
        } else {
            "Host: localhost\r\n"
        };
        let request = format!(
            "{line} HTTP/1.1\r\n{host}{headers}Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = vec![];
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path}"), "", "")
    }

    fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.ask(&format!("POST {path}"), "", body)
    }

    /// Starts a pipeline and returns its name.
    fn run(&self, yaml: &str) -> String {
        let (status, answer) = self.post("/api/runs", yaml);
        assert_eq!(status, 202, "{answer}");
        let id = answer.split("\"id\":\"").nth(1).unwrap();
        id.split('"').next().unwrap().to_owned()
    }
}

const PIPELINE: &str = "seed: 3
stages:
  prompts: { stage: prompts, prompts: [red apple] }
  text: { stage: text-encoder, from: prompts }
  latent: { stage: text-to-image, from: text }
  image: { stage: decode, from: latent }
  save: { stage: save, from: image }
";

#[test]
fn an_image_in_the_openai_api() {
    let server = start(|_| {});
    let ask = r#"{ "prompt": "red apple", "seed": 3, "n": 2, "model": "gpt-image-1" }"#;
    let (status, first) = server.post("/v1/images/generations", ask);
    assert_eq!(status, 200, "{first}");
    assert_eq!(first.matches("\"b64_json\":\"iVBORw0KGgo").count(), 2);
    assert!(first.contains("\"seed\":3") && first.contains("\"seed\":4"));
    // The same seeds give the same images, from the same loaded model.
    let (_, second) = server.post("/v1/images/generations", ask);
    let images = |text: &str| {
        text.split("\"data\":")
            .nth(1)
            .unwrap()
            .split("\"output")
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(images(&first), images(&second));
    let (_, metrics) = server.get("/metrics");
    assert!(
        metrics.contains("nextscale_images_total 4") && metrics.contains("nextscale_model_parts 3"),
        "{metrics}"
    );
    let (_, models) = server.get("/v1/models");
    assert!(models.contains("\"id\":\"default\""), "{models}");
    for (format, start) in [("jpeg", "/9j/"), ("webp", "UklGR")] {
        let ask = format!(r#"{{ "prompt": "car", "output_format": "{format}" }}"#);
        let (status, answer) = server.post("/v1/images/generations", &ask);
        assert!(
            status == 200 && answer.contains(&format!("\"b64_json\":\"{start}")),
            "{answer}"
        );
    }
}

#[test]
fn an_image_grows_in_a_stream() {
    let server = start(|_| {});
    let ask = r#"{ "prompt": "red apple", "stream": true, "partial_images": 2 }"#;
    let (status, answer) = server.post("/v1/images/generations", ask);
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("text/event-stream"));
    let events: Vec<&str> = answer
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    let partial = "image_generation.partial_image";
    assert_eq!(events, [partial, partial, "image_generation.completed"]);
    for number in 0..2 {
        assert!(answer.contains(&format!("\"partial_image_index\":{number}")));
    }
}

#[test]
fn a_pipeline_is_followed_and_its_images_are_there() {
    let server = start(|_| {});
    let id = server.run(PIPELINE);
    let (status, events) = server.get(&format!("/api/runs/{id}/events"));
    assert_eq!(status, 200);
    let names: Vec<&str> = events
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    assert_eq!(names[..2], ["queued", "loading"], "{names:?}");
    assert_eq!(names.iter().filter(|name| **name == "scale").count(), 4);
    assert_eq!(names.iter().filter(|name| **name == "preview").count(), 3);
    assert_eq!(names[names.len() - 2..], ["image", "done"]);
    for file in ["00000-scale-01.png", "00000-3.png"] {
        let (status, image) = server.get(&format!("/api/runs/{id}/files/{file}"));
        assert!(status == 200 && image.contains("PNG"), "{file}");
    }
    for path in ["..%2f..%2fetc%2fpasswd", "%2e%2e", "nextscale.json"] {
        assert_eq!(
            server.get(&format!("/api/runs/{id}/files/{path}")).0,
            404,
            "{path}"
        );
    }
    let (_, state) = server.get(&format!("/api/runs/{id}"));
    assert!(state.contains("\"state\":\"done\""), "{state}");
    assert_eq!(std::fs::read_dir(server.folder.path()).unwrap().count(), 1);
}

#[test]
fn mistakes_are_told_with_their_place() {
    let server = start(|_| {});
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
            &format!("model: sprites\n{PIPELINE}"),
            400,
            "there is no model `sprites`",
        ),
        ("/nothing", "", 404, "there is no such path"),
    ] {
        let (found, answer) = server.post(path, body);
        assert_eq!(found, status, "{body}: {answer}");
        assert!(
            answer.contains("\"error\"") && answer.contains(words),
            "{body}: {answer}"
        );
    }
    assert_eq!(server.get("/api/runs/0123/events").0, 404);
    assert_eq!(server.get("/health").0, 200);
}

#[test]
fn strangers_and_large_bodies_are_refused() {
    let server = start(|options| {
        options.api_key = Some("secret".into());
        options.body = 1000;
    });
    assert_eq!(server.get("/v1/models").0, 401);
    let key = "Authorization: Bearer secret\r\n";
    assert_eq!(server.ask("GET /v1/models", key, "").0, 200);
    let evil = format!("Host: evil.example\r\n{key}");
    assert_eq!(server.ask("GET /v1/models", &evil, "").0, 403);
    let page = format!("Origin: http://evil.example\r\n{key}");
    assert_eq!(server.ask("GET /v1/models", &page, "").0, 403);
    let large = format!(r#"{{ "prompt": "{}" }}"#, "a ".repeat(2000));
    assert_eq!(
        server.ask("POST /v1/images/generations", key, &large).0,
        413
    );
}

#[test]
fn a_full_queue_says_when_to_come_again_and_a_run_can_be_stopped() {
    let server = start(|options| {
        options.waiting = 1;
        options.images = 400;
    });
    // Many images keep the painter busy.
    let long = PIPELINE.replace("prompts: [red apple]", "prompts: [red apple], count: 400");
    let first = server.run(&long);
    let busy = loop {
        let (status, answer) = server.post("/api/runs", PIPELINE);
        if status == 503 {
            break answer;
        }
        assert_eq!(status, 202);
    };
    assert!(
        busy.to_lowercase().contains("retry-after: 2") && busy.contains("1 jobs are waiting"),
        "{busy}"
    );
    assert_eq!(
        server.ask(&format!("DELETE /api/runs/{first}"), "", "").0,
        204
    );
    let (_, events) = server.get(&format!("/api/runs/{first}/events"));
    assert!(
        events.contains("event: cancelled"),
        "{}",
        &events[events.len().saturating_sub(300)..]
    );
    // The next one is painted.
    let (_, metrics) = server.get("/metrics");
    assert!(metrics.contains("nextscale_refused_total 1"), "{metrics}");
}

#[test]
fn at_the_end_jobs_are_stopped_and_those_who_wait_are_told() {
    let mut server = start(|options| options.images = 4000);
    let long = PIPELINE.replace("prompts: [red apple]", "prompts: [red apple], count: 4000");
    let ids = [server.run(&long), server.run(PIPELINE)];
    let (address, first) = (server.address, ids[0].clone());
    let follower = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!(
            "GET /api/runs/{first}/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut events = String::new();
        stream.read_to_string(&mut events).unwrap();
        events
    });
    while !server
        .get(&format!("/api/runs/{}", ids[0]))
        .1
        .contains("scale")
    {}
    drop(server.stop.take());
    server.thread.take().unwrap().join().unwrap();
    assert!(follower.join().unwrap().contains("event: cancelled"));
    assert!(TcpStream::connect(server.address).is_err());
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
