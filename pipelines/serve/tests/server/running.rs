//! A server on a free port, asked over plain sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use nextscale_serve::{Options, Server};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// A server in a thread of its own, which stops at the end of the test.
pub struct Running {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    folder: Option<TempDir>,
}

/// What a server has answered.
pub struct Answer {
    pub status: u16,
    /// Headers, in small letters.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The sentence of an error.
    pub fn message(&self) -> String {
        self.json()["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// The names of the events of a stream.
    pub fn events(&self) -> Vec<String> {
        let text = self.text();
        let names = text.lines().filter_map(|line| line.strip_prefix("event: "));
        names.map(str::to_owned).collect()
    }
}

/// A server in a folder of its own.
pub fn start(change: impl FnOnce(&mut Options)) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let mut running = start_in(folder.path(), change);
    running.folder = Some(folder);
    running
}

/// A server in a folder.
pub fn start_in(folder: &Path, change: impl FnOnce(&mut Options)) -> Running {
    let mut options = Options::in_folder(folder);
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
        folder: None,
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Running {
    /// Stops it and waits for its end.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    /// The folder of a server that was started in one of its own.
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }

    /// Sends a request and reads the whole answer.
    pub fn ask(&self, line: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let patience = Some(Duration::from_secs(120));
        stream.set_read_timeout(patience).unwrap();
        let has = |name: &str| headers.contains(name);
        let host = if has("Host:") {
            ""
        } else {
            "Host: localhost\r\n"
        };
        let kind = if has("Content-Type:") {
            ""
        } else {
            "Content-Type: application/json\r\n"
        };
        let length = body.len();
        let head = format!(
            "{line} HTTP/1.1\r\n{host}{kind}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A server that refuses a large body may close before all of it is sent.
        let _ = stream.write_all(body);
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer);
        let end = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_off(end + 4);
        let body = if head.contains("transfer-encoding: chunked") {
            unchunked(&body)
        } else {
            body
        };
        Answer { status, head, body }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), "", b"")
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.ask(&format!("POST {path}"), "", body.as_bytes())
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.ask(&format!("DELETE {path}"), "", b"")
    }

    /// Sends a form: texts, and files with their bytes.
    pub fn form(&self, path: &str, texts: &[(&str, &str)], files: &[(&str, &[u8])]) -> Answer {
        const EDGE: &str = "edge-of-the-form";
        let mut body = vec![];
        for (name, text) in texts {
            body.extend(
                format!(
                    "--{EDGE}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n"
                )
                .bytes(),
            );
        }
        for (name, bytes) in files {
            body.extend(format!("--{EDGE}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"../x.png\"\r\nContent-Type: image/png\r\n\r\n").bytes());
            body.extend(*bytes);
            body.extend(b"\r\n");
        }
        body.extend(format!("--{EDGE}--\r\n").bytes());
        let kind = format!("Content-Type: multipart/form-data; boundary={EDGE}\r\n");
        self.ask(&format!("POST {path}"), &kind, &body)
    }

    /// Starts a pipeline and returns its name.
    pub fn run(&self, yaml: &str) -> String {
        let answer = self.post("/api/runs", yaml);
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Waits for the end of a run and returns it.
    pub fn end(&self, id: &str) -> Value {
        self.get(&format!("/api/runs/{id}/events"));
        self.get(&format!("/api/runs/{id}")).json()
    }
}

fn unchunked(body: &[u8]) -> Vec<u8> {
    let (mut rest, mut whole) = (body, vec![]);
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let length = std::str::from_utf8(&rest[..end]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            break;
        }
        whole.extend(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 4 + length..];
    }
    whole
}

/// A PNG of one colour, of which a part can be transparent.
pub fn png(width: u32, height: u32, is_hole: impl Fn(u32, u32) -> bool) -> Vec<u8> {
    let image = image::RgbaImage::from_fn(width, height, |x, y| {
        image::Rgba([200, 40, 60, if is_hole(x, y) { 0 } else { 255 }])
    });
    let mut bytes = std::io::Cursor::new(vec![]);
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// An image from a prompt, with a seed.
pub const PIPELINE: &str = "seed: 3
stages:
  prompts: { stage: prompts, prompts: [red apple] }
  text: { stage: text-encoder, from: prompts }
  latent: { stage: text-to-image, from: text }
  image: { stage: decode, from: latent }
  save: { stage: save, from: image }
";

/// A pipeline that keeps the painter busy.
pub fn long(count: usize) -> String {
    let many = format!("prompts: [red apple], count: {count}");
    PIPELINE.replace("prompts: [red apple]", &many)
}
