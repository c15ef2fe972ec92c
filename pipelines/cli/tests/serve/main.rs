//! `nextscale serve` as a program: killed and started again, and asked by the programs of others.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A running server.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_nextscale"))
            .args(["serve", "--listen", "127.0.0.1:0", "--output"])
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.trim().to_owned();
        assert!(address.starts_with("http://127.0.0.1:"), "{address}");
        Self { process, address }
    }

    fn kill(&mut self) {
        // SIGKILL on Unix.
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Asks with curl, which setting up installs.
    fn ask(&self, path: &str, options: &[&str]) -> serde_json::Value {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "120"])
            .arg(format!("{}{path}", self.address))
            .args(options)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    fn generate(&self, json: &str) -> String {
        let kind = "Content-Type: application/json";
        let run = self.ask("/api/generate", &["-H", kind, "-d", json]);
        run["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{run}"))
            .to_owned()
    }

    /// Waits until a run is over.
    fn end(&self, id: &str) -> serde_json::Value {
        loop {
            let run = self.ask(&format!("/api/runs/{id}"), &[]);
            match run["state"].as_str() {
                Some("queued" | "running") => {
                    std::thread::sleep(std::time::Duration::from_millis(50))
                }
                _ => return run,
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_killed_server_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path());
    let done = server.generate(r#"{ "prompt": "red apple", "seed": 1 }"#);
    let before = server.end(&done);
    assert_eq!(before["state"], "done", "{before}");
    let mut ids = vec![];
    for seed in 2..10 {
        ids.push(server.generate(&format!(
            r#"{{ "prompt": "red apple", "n": 2, "seed": {seed} }}"#
        )));
    }
    for _ in 0..3 {
        server.kill();
        let start = Instant::now();
        server = Server::start(folder.path());
        assert!(start.elapsed().as_secs() < 10);
        std::thread::sleep(std::time::Duration::from_millis(150));
    }
    assert_eq!(server.ask(&format!("/api/runs/{done}"), &[]), before);
    for id in ids {
        let run = server.end(&id);
        assert_eq!(run["state"], "done", "{run}");
        let images = run["images"].as_array().unwrap();
        assert_eq!(images.len(), 2, "{run}");
        for image in images {
            let file = folder
                .path()
                .join(&id)
                .join(image["file"].as_str().unwrap());
            image::open(file).unwrap();
        }
    }
}

/// The Python with the packages of tests/clients/requirements.txt, if the tests are to run it.
fn python() -> Option<PathBuf> {
    std::env::var_os("NEXTSCALE_PYTHON").map(PathBuf::from)
}

/// Runs a client against a server; without its Python there is nothing to run.
fn run_client(script: &str, more: &[&str]) {
    let Some(python) = python() else {
        eprintln!("{script} is left out: NEXTSCALE_PYTHON names no Python");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients");
    let pictures = folder.path().join("screenshots");
    std::fs::create_dir(&pictures).unwrap();
    let output = Command::new(python)
        .arg(scripts.join(script))
        .arg(&server.address)
        .arg(&pictures)
        .args(more)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.trim_end().ends_with("ok"), "{script}: {printed}");
}

#[test]
fn the_openai_package() {
    run_client("openai_client.py", &[]);
}

#[test]
fn a_client_of_a1111() {
    run_client("a1111_client.py", &[]);
}

#[test]
fn the_page_in_a_browser() {
    run_client("page.py", &[]);
}

#[test]
fn requests_that_the_description_allows_and_others() {
    run_client("any_request.py", &["50"]);
}

/// The curl commands of docs/serve.md, as they stand.
#[test]
fn the_examples_of_the_documentation() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/serve.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let commands = docs
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("curl "));
    let commands: Vec<&str> = commands.collect();
    assert!(commands.len() >= 3, "{commands:?}");
    let run = server.end(&server.generate(r#"{ "prompt": "red apple" }"#));
    for command in commands {
        let command = command.replace("http://127.0.0.1:7860", &server.address);
        let output = Command::new("sh")
            .arg("-c")
            .arg(command.replacen("curl ", "curl --fail --silent --show-error ", 1))
            .env("RUN", run["id"].as_str().unwrap())
            .env("FILE", run["images"][0]["file"].as_str().unwrap())
            .current_dir(folder.path())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {errors}");
    }
}
