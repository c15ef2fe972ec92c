//! A browser plays what is written.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::with;
use crate::Place;

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
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let page = PAGE.replace("FILE", name);
    let (told, saw) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A browser opens connections that it does not use, and drops others.
            let (page, video, told) = (page.clone(), video.clone(), told.clone());
            std::thread::spawn(move || answer(stream, &page, &video, &told));
        }
    });
    (address, saw)
}

fn answer(mut stream: TcpStream, page: &str, video: &[u8], told: &Sender<String>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = String::new();
    while reader.read_line(&mut head).ok()? > 2 {}
    let path = head.split(' ').nth(1)?;
    let length = head.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let body: &[u8] = match path {
        "/" => page.as_bytes(),
        "/favicon.ico" => b"",
        "/saw" => {
            let mut body = vec![0; length?];
            std::io::Read::read_exact(&mut reader, &mut body).ok()?;
            told.send(String::from_utf8_lossy(&body).into_owned())
                .ok()?;
            b""
        }
        _ => video,
    };
    let kind = match path {
        "/" => "text/html",
        path if path.ends_with(".mp4") => "video/mp4",
        _ => "video/webm",
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()
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
