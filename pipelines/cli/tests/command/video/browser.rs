//! A browser plays what is written.

use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::with;
use crate::Place;
use crate::http::{self, Answer};

/// Browsers that run without a window.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Plays the video and tells the server what it saw.
const PAGE: &str = r#"<!doctype html><body><script>
const tell = what => fetch("/saw", { method: "POST", body: what });
const video = document.createElement("video");
video.muted = true;
video.src = "/FILE";
video.onerror = () => tell("error " + video.error.message);
video.onended = () => tell(`${video.videoWidth}x${video.videoHeight} ${video.duration.toFixed(2)} s played`);
document.body.append(video);
video.play();
</script></body>"#;

/// Serves a page and a video; gives back the address, and what the page tells.
fn serve(name: &str, video: Vec<u8>) -> (String, Receiver<String>) {
    let page = PAGE.replace("FILE", name);
    let (told, saw) = channel();
    let address = http::serve(move |request| {
        let (kind, body) = match request.path() {
            "/" => ("text/html", page.clone().into_bytes()),
            "/favicon.ico" => ("image/x-icon", vec![]),
            "/saw" => {
                let _ = told.send(String::from_utf8_lossy(&request.body).into_owned());
                ("text/plain", vec![])
            }
            path if path.ends_with(".mp4") => ("video/mp4", video.clone()),
            _ => ("video/webm", video.clone()),
        };
        Answer::new(format!("200 OK\r\nContent-Type: {kind}"), body)
    });
    (address + "/", saw)
}

#[test]
fn a_browser_plays_it() {
    let found = |name: &&&str| {
        let mut command = Command::new(name);
        command.arg("--version").stdout(Stdio::null());
        command.stderr(Stdio::null());
        command.status().is_ok_and(|s| s.success())
    };
    let Some(browser) = BROWSERS.iter().find(found) else {
        eprintln!(
            "skipped: there is no browser here ({})",
            BROWSERS.join(", ")
        );
        return;
    };
    let place = Place::new();
    for name in ["clip.mp4", "clip.webm"] {
        place.good(&with(&format!("-o {name}")));
        let (address, saw) = serve(name, place.read(name));
        let profile = format!("--user-data-dir={}", place.path("profile").display());
        let mut child = Command::new(browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu"])
            .arg("--disable-dev-shm-usage")
            .args(["--autoplay-policy=no-user-gesture-required", &profile])
            .arg(address)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let seen = saw.recv_timeout(Duration::from_secs(120));
        if seen.is_err()
            && let Ok(Some(status)) = child.try_wait()
        {
            eprintln!("skipped: {browser} does not run here ({status})");
            return;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let seen = seen.unwrap_or_else(|_| "nothing in two minutes".to_owned());
        assert!(
            seen.starts_with("16x16 1.1") && seen.ends_with("s played"),
            "{name}: {seen}"
        );
    }
}
