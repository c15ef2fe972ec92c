//! Downloads, from a server of our own that answers as the Hugging Face hub does.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::http::{self, Answer, Request};
use crate::{Place, says, stderr};

/// What the server holds, and what it was asked for.
#[derive(Default)]
struct Hub {
    /// Content by `owner/name/file`.
    files: BTreeMap<String, Vec<u8>>,
    /// Checksums that are stated instead of the true ones.
    lies: BTreeMap<String, String>,
    /// After so many bytes of content the connection breaks, once.
    breaks: AtomicUsize,
    /// First bytes of all ranges that were asked for, by file.
    asked: Mutex<Vec<(String, usize)>>,
}

impl Hub {
    /// Starts to serve in a thread; gives back its address.
    fn serve(self: &Arc<Self>) -> String {
        let hub = self.clone();
        http::serve(move |request| hub.answer(request))
    }

    fn answer(&self, request: &Request) -> Answer {
        let path = request.path();
        if let Some(repo) = path.strip_prefix("/api/models/") {
            let prefix = format!("{repo}/");
            let names = self.files.keys();
            let names = names.filter_map(|name| name.strip_prefix(&prefix));
            let siblings: Vec<_> = names.map(|n| json!({ "rfilename": n })).collect();
            let body = json!({ "siblings": siblings, "sha": "abc123" });
            return Answer::new("200 OK", body.to_string());
        }
        let name = path.trim_start_matches('/');
        let name = name.replacen("/resolve/main/", "/", 1);
        let Some(content) = self.files.get(&name) else {
            return Answer::new("404 Not Found", "");
        };
        let range = request.header("range");
        let start = range.map_or(0, |range| {
            let range = range.strip_prefix("bytes=").unwrap();
            range.split_once('-').unwrap().0.parse().unwrap()
        });
        let digest = Sha256::digest(content);
        let print: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        let print = self.lies.get(&name).unwrap_or(&print);
        let status = if start > 0 {
            "206 Partial Content"
        } else {
            "200 OK"
        };
        let (last, all) = (content.len() - 1, content.len());
        let head = format!(
            "{status}\r\nContent-Range: bytes {start}-{last}/{all}\r\nETag: \"{print}\"\r\nX-Repo-Commit: abc123"
        );
        let mut answer = Answer::new(head, &content[start.min(all)..]);
        if request.head.starts_with("HEAD") {
            answer.sent = 0;
            return answer;
        }
        self.asked.lock().unwrap().push((name, start));
        let breaks = self.breaks.load(Ordering::SeqCst);
        if breaks > 0 && breaks < answer.sent {
            self.breaks.store(0, Ordering::SeqCst);
            answer.sent = breaks;
        }
        answer
    }
}

const VAR: &str = "FoundationVision/var";

/// The two files of VAR-d16, with nonsense in them.
fn hub() -> Hub {
    let mut hub = Hub::default();
    let content = |n: usize| (0..n).map(|i| (i * 7 % 251) as u8).collect::<Vec<u8>>();
    hub.files
        .insert(format!("{VAR}/var_d16.pth"), content(300_000));
    hub.files
        .insert(format!("{VAR}/vae_ch160v4096z32.pth"), content(5000));
    hub
}

fn fetch(place: &Place, address: &str, more: &[(&str, &str)]) -> std::process::Output {
    let mut command = place.command("models fetch var-d16");
    command
        .env("HF_ENDPOINT", address)
        .env("HF_HOME", place.path("hf"));
    let others = "HF_HUB_CACHE HF_HUB_OFFLINE HF_TOKEN NEXTSCALE_MODELS";
    let proxies = "http_proxy HTTP_PROXY all_proxy ALL_PROXY";
    for name in others.split(' ').chain(proxies.split(' ')) {
        command.env_remove(name);
    }
    command.envs(more.iter().copied()).output().unwrap()
}

#[test]
fn files_arrive_where_they_are_looked_for() {
    let (place, hub) = (Place::new(), Arc::new(hub()));
    let address = hub.serve();
    let output = fetch(&place, &address, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let mut ask = place.command("models var-d16");
    let told = ask
        .env("HF_HOME", place.path("hf"))
        .env_remove("HF_HUB_CACHE")
        .output()
        .unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(
        !told.contains("not found") && told.contains("models--FoundationVision--var"),
        "{told}"
    );
    // What is there is not asked for again.
    let before = hub.asked.lock().unwrap().len();
    let output = fetch(&place, &address, &[]);
    assert!(output.status.success());
    assert_eq!(hub.asked.lock().unwrap().len(), before);
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let (place, hub) = (Place::new(), Arc::new(hub()));
    hub.breaks.store(100_000, Ordering::SeqCst);
    let address = hub.serve();
    let output = fetch(&place, &address, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let asked = hub.asked.lock().unwrap().clone();
    let file = format!("{VAR}/var_d16.pth");
    let resumed = asked
        .iter()
        .any(|(name, start)| *name == file && *start > 0);
    assert!(resumed, "{asked:?}");
    let path = place.path("hf/hub/models--FoundationVision--var/snapshots/abc123/var_d16.pth");
    assert_eq!(std::fs::read(path).unwrap(), hub.files[&file]);
}

#[test]
fn a_file_that_is_not_the_published_one_is_removed() {
    let (place, mut hub) = (Place::new(), hub());
    hub.lies
        .insert(format!("{VAR}/var_d16.pth"), "0".repeat(64));
    let hub = Arc::new(hub);
    let output = fetch(&place, &hub.serve(), &[]);
    let said = stderr(&output);
    assert!(!output.status.success());
    says(
        &said,
        &["var_d16.pth of FoundationVision/var did not arrive as it was published"],
    );
    let folder = place.path("hf/hub/models--FoundationVision--var");
    assert!(!folder.join("snapshots/abc123/var_d16.pth").exists());
    assert!(!folder.join("blobs").join("0".repeat(64)).exists());
}

#[test]
fn no_network_and_no_permission_say_what_to_do() {
    let place = Place::new();
    let hub = Arc::new(hub());
    let address = hub.serve();
    let said = stderr(&fetch(&place, &address, &[("HF_HUB_OFFLINE", "1")]));
    says(
        &said,
        &[
            "HF_HUB_OFFLINE is set",
            "huggingface-cli download FoundationVision/var",
        ],
    );
    assert!(hub.asked.lock().unwrap().is_empty());
    // A port that nobody listens at.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = listener.local_addr().unwrap();
    drop(listener);
    let said = stderr(&fetch(&place, &format!("http://{free}"), &[]));
    says(
        &said,
        &[
            "cannot download var_d16.pth of FoundationVision/var",
            "hint:",
            "--models-dir DIR",
        ],
    );
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    // Nothing is downloaded unless it is asked for.
    place.refuses_each(
        "",
        "
        models fetch var-d17          => there is no released model `var-d17`
        generate -m var-d16 --class 1 => nextscale models fetch var-d16",
    );
}
