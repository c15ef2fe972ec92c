//! What is refused: one clear sentence, a way out, and no file.

use nextscale_models::{MANIFEST, TRANSFORMER, VAE};
use nextscale_video::mp4::{Codec, Container, VideoWriter, WriterOptions};

use super::{ffmpeg, with};
use crate::{Place, says, tiny};

/// The answer to these arguments, which has to have all parts. Nothing may be left but what was there.
fn refused(place: &Place, more: &str, parts: &[&str]) {
    let before = place.files(".");
    let said = place.refused(&with(more));
    says(&said, parts);
    let lines = said.lines().filter(|l| l.starts_with("error: ")).count();
    assert_eq!(lines, 1, "{said}");
    assert_eq!(place.files("."), before, "{more:?}");
}

/// Writes grey frames of 16x16 at 8 a second.
fn video(place: &Place, name: &str, frames: usize) {
    let options = WriterOptions {
        width: 16,
        height: 16,
        fps: 8,
        container: Container::Mp4,
        codec: Codec::H264,
        quality: 18,
        tags: vec![],
    };
    let mut writer = VideoWriter::create(&place.path(name), options).unwrap();
    (0..frames).for_each(|i| {
        writer
            .write_rgb(&[(100 + i % 100) as u8; 16 * 16 * 3])
            .unwrap()
    });
    writer.finish().unwrap();
}

#[test]
fn names_that_nothing_is_written_for() {
    let place = Place::new();
    let known = "hint: use .mp4, .mov, .mkv, .webm or .gif";
    refused(
        &place,
        "-o a.avi",
        &["`a.avi` has an unknown extension", known],
    );
    refused(&place, "-o a", &["`a` has an unknown extension", known]);
    refused(&place, "-o -", &["cannot go to standard output"]);
    refused(
        &place,
        "-o no/a.mp4",
        &["the folder `no` does not exist", "mkdir -p"],
    );
    refused(&place, "-o a.png", &["holds one frame", "--seconds 0"]);
    place.write("x.txt", "");
    std::fs::create_dir(place.path("full")).unwrap();
    place.write("full/x.txt", "");
    refused(&place, "-o full/", &["the folder `full/` is not empty"]);
}

#[test]
fn codecs_and_qualities() {
    let place = Place::new();
    let webm = "a .webm file does not hold H.264";
    refused(&place, "-o a.webm --codec h264", &[webm, ".webm holds VP9"]);
    refused(
        &place,
        "-o a.gif --codec vp9",
        &["only videos have a codec"],
    );
    let quality = "the quality of H.264 ranges from 0, the best, to 51, but it is 52";
    refused(&place, "-o a.mp4 --quality 52", &[quality]);
    refused(
        &place,
        "-o a.mp4 --fps 0",
        &["`fps` should be from 1 to 240"],
    );
}

#[test]
fn lengths_and_sizes() {
    let place = Place::new();
    let longest = "the longest is 17 frames (2 s)";
    for (more, parts) in [
        ("--seconds 3", ["makes no video of 3 s", longest]),
        (
            "--seconds -1",
            ["makes no video of -1 s", "1 frame, a picture (0 s)"],
        ),
        (
            "--seconds 0.3",
            ["makes no video of 0.3 s", "the nearest is 5 frames (0.5 s)"],
        ),
        ("--seconds nan", ["invalid value 'nan'", "use a number"]),
        ("--frames 0", ["makes no video of 0 frames", longest]),
        (
            "--frames 10",
            [
                "makes no video of 10 frames",
                "the nearest is 9 frames (1 s)",
            ],
        ),
        (
            "-W 17",
            ["does not generate images 17 pixels wide", "is 16x16"],
        ),
        ("--aspect x", ["`x` is not a ratio", "16:9"]),
        (
            "--cfg-scale -1",
            ["`cfg-scale` should be from 0 to 1000", "--cfg-scale"],
        ),
    ] {
        refused(&place, &format!("-o a.mp4 {more}"), &parts);
    }
}

#[test]
fn models_of_another_kind() {
    let place = Place::new();
    let said = place.refused("video -m @tiny -p x -o a.mp4");
    says(&said, &["generates images, not videos"]);
    let said = place.refused("generate -m @video -p x -o a.png");
    says(
        &said,
        &["generates videos, not images", "use `nextscale video`"],
    );
    let two = "-p 'a cat' -o a.mp4 --batch-count 0";
    refused(&place, two, &["`count` should be at least 1"]);
    assert!(place.files(".").is_empty());
}

#[test]
fn files_that_are_no_video() {
    let place = Place::new();
    place.write("text.mp4", "this is no video");
    ffmpeg(&place, "-f lavfi -i sine=duration=2 sound.mp4");
    let go_on = |name: &str| format!("-o a.mp4 --video {name}");
    refused(
        &place,
        &go_on("none.mp4"),
        &["cannot read `none.mp4`", "No such file"],
    );
    refused(&place, &go_on("text.mp4"), &["text.mp4 cannot be read"]);
    refused(
        &place,
        &go_on("sound.mp4"),
        &["sound.mp4 has no video stream"],
    );
    refused(&place, &go_on("."), &["cannot be read"]);
    refused(
        &place,
        "-o a.mp4 -i text.mp4",
        &["`text.mp4` is not a readable image"],
    );
}

#[test]
fn videos_that_are_damaged_or_too_short() {
    let place = Place::new();
    let go_on = |name: &str| format!("-o a.mp4 --video {name}");
    video(&place, "one.mp4", 1);
    let short = "is too short: it has";
    refused(
        &place,
        &go_on("one.mp4"),
        &[short, "9 frames", "--image FILE"],
    );
    video(&place, "eight.mp4", 8);
    refused(&place, &go_on("eight.mp4"), &[short, "9 frames"]);
    video(&place, "nine.mp4", 9);
    place.good(&with(&go_on("nine.mp4")));
    std::fs::remove_file(place.path("a.mp4")).unwrap();
    // One whose end is missing: the header promises more than there is.
    video(&place, "cut.mp4", 200);
    let bytes = std::fs::read(place.path("cut.mp4")).unwrap();
    std::fs::write(place.path("cut.mp4"), &bytes[..bytes.len() * 6 / 10]).unwrap();
    refused(&place, &go_on("cut.mp4"), &["cut.mp4"]);
}

#[test]
fn a_codec_that_nobody_knows() {
    let place = Place::new();
    let source = "-f lavfi -i testsrc2=size=32x32:duration=2";
    ffmpeg(&place, &format!("{source} -c:v mpeg4 -vtag FMP4 a.avi"));
    let mut bytes = std::fs::read(place.path("a.avi")).unwrap();
    while let Some(at) = bytes.windows(4).position(|w| w == b"FMP4") {
        bytes[at..at + 4].copy_from_slice(b"ZQZQ");
    }
    std::fs::write(place.path("a.avi"), bytes).unwrap();
    refused(&place, "-o a.mp4 --video a.avi", &["a.avi", "no decoder"]);
}

#[test]
fn beginnings_that_contradict_each_other() {
    let place = Place::new();
    video(&place, "v.mp4", 17);
    image::RgbImage::new(9, 9)
        .save(place.path("i.png"))
        .unwrap();
    let zero = "-o a.mp4 -i i.png --seconds 0";
    refused(&place, zero, &["the video has only one frame", "--seconds"]);
    let full = "-o a.mp4 --video v.mp4 --seconds 1";
    refused(&place, full, &["has no room for new frames", "17 frames"]);
    let folder = place.path("short");
    std::fs::create_dir(&folder).unwrap();
    tiny::make_video(&folder, |manifest| manifest.frames.longest = 9);
    let model = folder.to_str().unwrap();
    let said = place.refused(&format!("video -m {model} -p x --video v.mp4 -o a.mp4"));
    says(&said, &["does not continue videos"]);
    assert!(!place.path("a.mp4").exists());
}

#[test]
fn weights_that_are_no_numbers() {
    // Whoever notices first, the loader or the stage, says so.
    for file in [VAE, TRANSFORMER] {
        let place = Place::new();
        let folder = place.path("nan");
        std::fs::create_dir(&folder).unwrap();
        tiny::make_video(&folder, |_| {});
        let path = folder.join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let nan = f32::NAN.to_le_bytes();
        bytes[header..]
            .chunks_exact_mut(4)
            .for_each(|x| x.copy_from_slice(&nan));
        std::fs::write(&path, bytes).unwrap();
        let text = std::fs::read_to_string(folder.join(MANIFEST)).unwrap();
        let mut manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
        manifest["fingerprints"] = serde_json::json!({});
        std::fs::write(folder.join(MANIFEST), manifest.to_string()).unwrap();
        let model = folder.to_str().unwrap();
        for out in ["a.mp4", "a.gif", "a/"] {
            let said = place.refused(&["video", "-m", model, "-p", "x", "-o", out]);
            assert!(said.contains("NaN"), "{file}: {said}");
            assert_eq!(place.files("."), ["nan"], "{file} {out}");
        }
    }
}

/// A disk that is full in the middle: files of this process may not grow beyond some kilobytes.
#[cfg(unix)]
#[test]
fn a_full_disk() {
    use std::os::unix::process::CommandExt;

    let place = Place::new();
    for (out, most) in [
        ("a.mp4", 3000),
        ("a.webm", 2000),
        ("a.gif", 3000),
        ("a/", 300),
    ] {
        let args = with(&format!("-o {out} --seconds 2"));
        let mut command = place.command(&args);
        // SAFETY: both calls only set values of the new process, and may be made between fork and exec.
        unsafe {
            command.pre_exec(move || {
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                let limit = libc::rlimit {
                    rlim_cur: most,
                    rlim_max: most,
                };
                match libc::setrlimit(libc::RLIMIT_FSIZE, &limit) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let output = command.output().unwrap();
        let said = crate::stderr(&output);
        assert!(!output.status.success(), "{out}: {said}");
        assert!(said.contains("File too large"), "{out}: {said}");
        assert!(!said.contains("panicked"), "{out}: {said}");
        assert!(place.files(".").is_empty(), "{out}: {:?}", place.files("."));
    }
}
