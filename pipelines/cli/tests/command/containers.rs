//! In a container: as process 1, which is sent SIGTERM when the container stops, and on a volume that is full.
//!
//! Namespaces stand for containers, where the system permits them; elsewhere the tests say so and pass.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::{Place, says, signal_process_after, stderr, tiny, words};

/// `unshare` with these namespaces, if this user may have them.
fn unshare(namespaces: &[&str]) -> Option<Command> {
    let with = |rights: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(rights).args(namespaces);
        command
    };
    for rights in [&[][..], &["--map-root-user"]] {
        let tried = with(rights).arg("true").stderr(Stdio::null()).status();
        if tried.is_ok_and(|status| status.success()) {
            return Some(with(rights));
        }
    }
    eprintln!(
        "skipped: this system does not permit `unshare {}`",
        namespaces.join(" ")
    );
    None
}

/// The command as process 1 of a PID namespace, where no signal has a default action.
fn as_process_1(place: &Place, line: &str) -> Option<Command> {
    let mut command = unshare(&["--fork", "--pid", "--mount-proc", "--kill-child"])?;
    command
        .arg(env!("CARGO_BIN_EXE_nextscale"))
        .args(words(line))
        .current_dir(place.folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    Some(command)
}

fn children_of(process: u32) -> Vec<u32> {
    let list = format!("/proc/{process}/task/{process}/children");
    let children = std::fs::read_to_string(list).unwrap();
    let numbers = children.split_whitespace();
    numbers.map(|number| number.parse().unwrap()).collect()
}

#[test]
fn process_1_stops_on_sigterm() {
    let place = Place::new();
    place.make_dir("out");
    let line = "generate -m @tiny -p 'a cat' -b 100000 -s 1 -o out/";
    let Some(mut command) = as_process_1(&place, line) else {
        return;
    };
    let mut child = command.spawn().unwrap();
    let unshare = child.id();
    let rest = signal_process_after(
        &mut child,
        || children_of(unshare)[0],
        libc::SIGTERM,
        ".png",
        3,
    );
    says(&rest, &["error: stopped"]);
    for name in place.files("out") {
        assert!(name.ends_with(".png") && !name.starts_with('.'), "{name}");
        image::open(place.path("out").join(&name)).unwrap();
    }
}

#[test]
fn process_1_stops_on_sigterm_also_where_nothing_is_to_be_kept() {
    let place = Place::new();
    let Some(mut command) = as_process_1(&place, "bench -m @tiny --rounds 1000000") else {
        return;
    };
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "it does not stop"
        );
        std::thread::sleep(Duration::from_millis(200));
        for process in children_of(child.id()) {
            // SAFETY: the child has not been waited for, so nothing else has its number.
            unsafe { libc::kill(process as libc::pid_t, libc::SIGTERM) };
        }
    };
    assert_eq!(status.code(), Some(130));
}

/// Runs a command in a folder with a mounted volume `full`, on which so many KiB are free; the text is what is
/// on the volume then.
fn on_a_full_volume(place: &Place, free: usize, line: &str) -> Option<(Output, String)> {
    let quoted: Vec<String> = words(line).map(|word| format!("'{word}'")).collect();
    let (program, line) = (env!("CARGO_BIN_EXE_nextscale"), quoted.join(" "));
    let script = format!(
        "mount -t tmpfs -o size=64k tmpfs full && printf mine > full/kept.png || exit 99
        head -c {}k /dev/zero > full/filler
        {program} {line}; code=$?; cat full/kept.png; ls -A full; exit $code",
        60 - free
    );
    let mut command = unshare(&["--mount"])?;
    command
        .args(["sh", "-c", &script])
        .current_dir(place.folder.path());
    let output = command.stdin(Stdio::null()).output().unwrap();
    if output.status.code() == Some(99) {
        eprintln!(
            "skipped: this system does not permit to mount a tmpfs: {}",
            stderr(&output)
        );
        return None;
    }
    let left = String::from_utf8_lossy(&output.stdout).into_owned();
    Some((output, left))
}

#[test]
fn a_full_volume_is_an_error_and_leaves_nothing() {
    let place = Place::new();
    place.make_dir("full");
    let long = "house ".repeat(1500);
    let vae = tiny::model().join("vae.safetensors");
    let mut lines = vec![format!("convert {} -o full/a.safetensors", vae.display())];
    for name in ["a.png", "kept.png", "a.webp", "a.jpg"] {
        lines.push(format!("generate -m @tiny -p '{long}' -s 1 -o full/{name}"));
    }
    for name in ["a.gif", "frames/"] {
        lines.push(format!("video -m @video -p '{long}' -s 1 -o full/{name}"));
    }
    if cfg!(feature = "ffmpeg") {
        for name in ["a.mp4", "a.webm", "a.mkv"] {
            lines.push(format!("video -m @video -p '{long}' -s 1 -o full/{name}"));
        }
    }
    for line in lines {
        for free in [0, 4] {
            let Some((output, left)) = on_a_full_volume(&place, free, &line) else {
                return;
            };
            let (said, what) = (stderr(&output), line.replace(&long, "LONG"));
            assert_eq!(output.status.code(), Some(1), "{what}: {said}");
            says(&said, &["error: ", "No space left on device"]);
            let errors = said.lines().filter(|line| line.starts_with("error: "));
            assert_eq!(errors.count(), 1, "{what}: {said}");
            assert_eq!(left, "minefiller\nkept.png\n", "{what}, {free} KiB free");
        }
    }
}
