//! Downloads, from a server of our own that answers as the Hugging Face hub does.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

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
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let hub = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hub = hub.clone();
                std::thread::spawn(move || hub.answer(stream));
            }
        });
        address
    }

    fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
        let first = lines.next()?.ok()?;
        let path = first.split(' ').nth(1)?.to_owned();
        let only_head = first.starts_with("HEAD");
        let mut start = 0;
        for line in lines
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
        {
            if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
                start = range.split_once('-')?.0.parse().ok()?;
            }
        }
        if let Some(repo) = path.strip_prefix("/api/models/") {
            let prefix = format!("{repo}/");
            let names = self
                .files
                .keys()
                .filter_map(|name| name.strip_prefix(&prefix));
            let siblings: Vec<_> = names
                .map(|n| serde_json::json!({ "rfilename": n }))
                .collect();
            let body = serde_json::json!({ "siblings": siblings, "sha": "abc123" }).to_string();
            let length = body.len();
            return write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .ok();
        }
        let name = path
            .trim_start_matches('/')
            .replacen("/resolve/main/", "/", 1);
        let Some(content) = self.files.get(&name) else {
            return write!(
                stream,
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            .ok();
        };
        let last = content.len() - 1;
        let part = &content[start.min(content.len())..];
        let print: String = Sha256::digest(content)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let print = self.lies.get(&name).unwrap_or(&print);
        let status = if start > 0 {
            "206 Partial Content"
        } else {
            "200 OK"
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{last}/{}\r\nETag: \"{print}\"\r\nX-Repo-Commit: abc123\r\nConnection: close\r\n\r\n",
            part.len(),
            content.len()
        )
        .ok()?;
        if only_head {
            return Some(());
        }
        self.asked.lock().unwrap().push((name.clone(), start));
        let breaks = self.breaks.load(Ordering::SeqCst);
        if breaks > 0 && breaks < part.len() {
            self.breaks.store(0, Ordering::SeqCst);
            return stream.write_all(&part[..breaks]).ok();
        }
        stream.write_all(part).ok()
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
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
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
    place.refuses(
        "models fetch var-d17",
        &["there is no released model `var-d17`"],
    );
    // Nothing is downloaded unless it is asked for.
    place.refuses(
        "generate -m var-d16 --class 1",
        &["nextscale models fetch var-d16"],
    );
}
