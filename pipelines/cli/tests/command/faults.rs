//! What happens to files when a run is killed, the disk is full or a write fails: finished files are whole, others are not there.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use nextscale_weights::WeightFile;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::{Place, says, stderr, tiny, words};

/// `NEXTSCALE_KILLS` makes it more.
fn kills() -> u64 {
    let set = std::env::var("NEXTSCALE_KILLS").ok();
    set.map_or(12, |text| text.parse().expect("a number"))
}

/// Kills a command at a random moment, again and again; `check` sees every visible file after each kill, and the next run
/// removes what was left hidden. The line has `{round}` where runs differ.
fn kill_at_random(line: &str, check: impl Fn(&Path)) {
    let place = Place::new();
    place.make_dir("x");
    let line = |round: &str| line.replace("{round}", round);
    let started = Instant::now();
    place.good(&line("1000000"));
    let longest = started.elapsed();
    let mut rng = StdRng::seed_from_u64(7);
    let mut cut_off = 0;
    for round in 0..kills() {
        let mut child = place
            .command(&line(&round.to_string()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(longest.mul_f64(rng.random()));
        child.kill().unwrap();
        cut_off += usize::from(!child.wait().unwrap().success());
        for name in visible(&place) {
            check(&place.path("x").join(name));
        }
    }
    assert!(cut_off > 0, "no run was killed in time");
    // A hidden file that is young may belong to a run that has just begun.
    for name in hidden(&place) {
        let file = std::fs::File::open(place.path("x").join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60))
            .unwrap();
    }
    place.good(&line("1000001"));
    assert_eq!(hidden(&place), [""; 0]);
}

fn visible(place: &Place) -> Vec<String> {
    let mut names = place.files("x");
    names.retain(|name| !name.starts_with('.'));
    names
}

fn hidden(place: &Place) -> Vec<String> {
    let mut names = place.files("x");
    names.retain(|name| name.starts_with('.'));
    names
}

#[test]
fn a_killed_run_leaves_whole_images() {
    let line = "generate -m @tiny -p 'a red house' -b 40 -s {round} -o x/{round}-{index}.png";
    kill_at_random(line, |path| {
        image::open(path).unwrap();
    });
}

#[cfg(feature = "ffmpeg")]
#[test]
fn a_killed_run_leaves_whole_videos() {
    use nextscale_video::mp4::{ReaderOptions, VideoReader};
    let line = "video -m @video -p 'a red house' -b 6 -s {round} -o x/{round}-{index}.mp4";
    kill_at_random(line, |path| {
        let frames = VideoReader::open(path, ReaderOptions::default()).unwrap();
        assert!(frames.map(Result::unwrap).count() > 1);
    });
}

#[test]
fn a_killed_conversion_leaves_whole_checkpoints() {
    let vae = tiny::model().join("vae.safetensors");
    let line = format!("convert {} -o x/{{round}}.safetensors", vae.display());
    kill_at_random(&line, |path| {
        let (before, after) = (WeightFile::open(&vae), WeightFile::open(path));
        let (before, after) = (before.unwrap(), after.unwrap());
        assert_eq!(after.shapes(), before.shapes());
        for name in after.names() {
            after.read(name).unwrap();
        }
    });
}

/// Runs a command that may write files of up to `blocks` KiB only.
fn limited(place: &Place, blocks: u32, line: &str) -> (bool, String) {
    let quoted: Vec<String> = words(line).map(|word| format!("'{word}'")).collect();
    let program = env!("CARGO_BIN_EXE_nextscale");
    // Without the trap, the system would end the process before it sees the error.
    let script = format!(
        "trap '' XFSZ; ulimit -f {blocks}; exec {program} {}",
        quoted.join(" ")
    );
    let mut command = Command::new("bash");
    let output = command
        .args(["-c", &script])
        .current_dir(place.folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status.success(), stderr(&output))
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    let place = Place::new();
    place.make_dir("p");
    place.write("kept.png", "mine");
    let long = "house ".repeat(400);
    let mut lines = vec![
        format!("generate -m @tiny -p '{long}' -s 1 -o a.png"),
        format!("generate -m @tiny -p '{long}' -s 1 -o kept.png"),
        format!("generate -m @tiny -p '{long}' -s 1 -o a.webp"),
        format!("generate -m @tiny -p '{long}' -s 1 -o b.png --preview p"),
        format!(
            "convert {} -o c.safetensors",
            tiny::model().join("vae.safetensors").display()
        ),
    ];
    if cfg!(feature = "ffmpeg") {
        lines.push(format!("video -m @video -p '{long}' -s 1 -o a.mp4"));
        lines.push(format!("video -m @video -p '{long}' -s 1 -o a.webm"));
    }
    lines.push(format!("video -m @video -p '{long}' -s 1 -o a.gif"));
    lines.push(format!("video -m @video -p '{long}' -s 1 -o frames/"));
    for line in lines {
        let (good, said) = limited(&place, 1, &line);
        assert!(!good, "{line}: {said}");
        says(&said, &["error: "]);
        assert!(
            !said.contains("panicked") && !said.contains("fault"),
            "{line}: {said}"
        );
        assert_eq!(place.files("."), ["kept.png", "p"], "{line}");
        assert!(place.files("p").is_empty(), "{line}");
    }
    assert_eq!(place.read("kept.png"), b"mine");
    place.refuses(
        "generate -m @tiny -p x -s 1 -o /dev/full",
        &["/dev/full", "No space left"],
    );
}

#[test]
fn a_folder_that_cannot_be_written_to_is_refused() {
    // Nobody may create files there, not even root.
    let place = Place::new();
    place.refuses(
        "generate -m @tiny -p x -s 1 -o /proc/a.png",
        &["the folder `/proc` cannot be written to"],
    );
}
