//! A browser plays what is written.

use std::process::{Command, Stdio};

use super::with;
use crate::Place;

/// Browsers that run without a window and print the page.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Plays the video and writes into the title what it saw.
const PAGE: &str = r#"<!doctype html><title>waiting</title><body><script>
const video = document.createElement("video");
video.muted = true;
video.src = "FILE";
video.onerror = () => document.title = "error " + video.error.message;
video.onended = () =>
  document.title = `${video.videoWidth}x${video.videoHeight} ${video.duration.toFixed(2)} s played`;
document.body.append(video);
video.play();
</script></body>"#;

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
        place.good(&with(&["-o", name]));
        place.write("page.html", &PAGE.replace("FILE", name));
        let output = Command::new(browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu"])
            .args(["--autoplay-policy=no-user-gesture-required"])
            .args(["--virtual-time-budget=20000", "--dump-dom"])
            .arg(format!(
                "--user-data-dir={}",
                place.path("profile").display()
            ))
            .arg(format!("file://{}", place.path("page.html").display()))
            .output()
            .unwrap();
        let page = String::from_utf8_lossy(&output.stdout);
        assert!(page.contains("<title>16x16 1.1"), "{name}: {page}");
        assert!(page.contains("s played"), "{name}: {page}");
    }
}
