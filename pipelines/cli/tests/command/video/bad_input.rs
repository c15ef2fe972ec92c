//! What is refused: one clear sentence, a way out, and no file.

use nextscale_models::{TRANSFORMER, VAE};

use super::{ffmpeg, with};
use crate::{Place, says, stderr, tiny};

/// `video` with the tiny model, a prompt and a seed.
const VIDEO: &str = "video -m @video -p 'a red house' -s 7 -o a.mp4";

/// Writes a test video of 16x16 pixels at 8 frames a second.
fn video(place: &Place, name: &str, frames: usize) {
    let source = "-f lavfi -i testsrc2=size=16x16:rate=8";
    ffmpeg(
        place,
        &format!("{source} -frames:v {frames} -movflags faststart {name}"),
    );
}

#[test]
fn names_that_nothing_is_written_for() {
    let place = Place::new();
    place.write("x.txt", "");
    place.make_dir("full");
    place.write("full/x.txt", "");
    place.refuses_each(
        "video -m @video -p 'a red house' -s 7",
        "
        -o a.avi    => `a.avi` has an unknown extension | hint: use .mp4, .mov, .mkv, .webm or .gif
        -o a        => `a` has no extension | hint: use .mp4, .mov, .mkv, .webm or .gif, a name that ends with / for a folder
        -o -        => cannot go to standard output
        -o no/a.mp4 => the folder `no` does not exist | mkdir -p
        -o a.png    => holds one frame | --seconds 0
        -o full/    => the folder `full/` is not empty
        -o a.webm --codec h264   => a .webm file does not hold H.264 | .webm holds VP9
        -o a.gif --codec vp9     => only videos have a codec
        -o a.mp4 --quality 52    => the quality of H.264 ranges from 0, the best, to 51, but it is 52
        -o a.mp4 --fps 0         => `0` is not a frame rate
        -o a.mp4 --fps 241       => `fps` should be from 1 to 240
        -o a.mp4 --batch-count 0 => `count` should be at least 1",
    );
}

#[test]
fn lengths_and_sizes() {
    Place::new().refuses_each(
        VIDEO,
        "
        --seconds 3    => makes no video of 3 s | the longest is 17 frames (2 s)
        --seconds -1   => makes no video of -1 s | 1 frame, an image (0 s)
        --seconds 0.3  => makes no video of 0.3 s | the nearest is 5 frames (0.5 s)
        --seconds nan  => invalid value 'nan' | use a number
        --frames 0     => makes no video of 0 frames | the longest is 17 frames (2 s)
        --frames 10    => makes no video of 10 frames | the nearest is 9 frames (1 s)
        -W 17          => does not generate images 17 pixels wide | is 16x16
        --aspect x     => `x` is not a ratio | 16:9
        --cfg-scale -1 => `cfg-scale` should be from 0 to 1000 | --cfg-scale",
    );
}

#[test]
fn models_of_another_kind() {
    Place::new().refuses_each(
        "",
        "
        video -m @tiny -p x -o a.mp4    => generates images, not videos
        generate -m @video -p x -o a.png => generates videos, not images | use `nextscale video`",
    );
}

#[test]
fn files_that_are_no_video() {
    let place = Place::new();
    place.write("text.mp4", "this is no video");
    ffmpeg(&place, "-f lavfi -i sine=duration=2 sound.mp4");
    place.refuses_each(
        VIDEO,
        "
        --video none.mp4  => cannot read `none.mp4` | No such file
        --video text.mp4  => text.mp4 cannot be read
        --video sound.mp4 => sound.mp4 has no video stream
        --video .         => cannot be read
        -i text.mp4       => `text.mp4` is not a readable image",
    );
}

#[test]
fn videos_that_are_damaged_or_too_short() {
    let place = Place::new();
    video(&place, "nine.mp4", 9);
    place.good(&with("-o a.mp4 --video nine.mp4"));
    std::fs::remove_file(place.path("a.mp4")).unwrap();
    video(&place, "one.mp4", 1);
    video(&place, "eight.mp4", 8);
    // One whose end is missing: the header promises more than there is.
    video(&place, "cut.mp4", 200);
    let bytes = place.read("cut.mp4");
    std::fs::write(place.path("cut.mp4"), &bytes[..bytes.len() * 6 / 10]).unwrap();
    place.refuses_each(
        VIDEO,
        "
        --video one.mp4   => is too short: it has | 9 frames | --image FILE
        --video eight.mp4 => is too short: it has | 9 frames",
    );
    // What is whole of it is read.
    let output = place.good(&with("-o a.mp4 --video cut.mp4"));
    says(
        &stderr(&output),
        &["`cut.mp4` is damaged: one part was left out"],
    );
}

#[test]
fn a_codec_that_nobody_knows() {
    let place = Place::new();
    let source = "-f lavfi -i testsrc2=size=32x32:duration=2";
    ffmpeg(&place, &format!("{source} -c:v mpeg4 -vtag FMP4 a.avi"));
    let mut bytes = place.read("a.avi");
    while let Some(at) = bytes.windows(4).position(|w| w == b"FMP4") {
        bytes[at..at + 4].copy_from_slice(b"ZQZQ");
    }
    std::fs::write(place.path("a.avi"), bytes).unwrap();
    place.refuses_each(VIDEO, "--video a.avi => a.avi | no decoder");
}

#[test]
fn beginnings_that_contradict_each_other() {
    let place = Place::new();
    video(&place, "v.mp4", 17);
    image::RgbImage::new(9, 9)
        .save(place.path("i.png"))
        .unwrap();
    tiny::make_video(&place.make_dir("short"), |manifest| {
        manifest.frames.longest = 9
    });
    place.refuses_each(
        VIDEO,
        "
        -i i.png --seconds 0      => the video has only one frame | --seconds
        --video v.mp4 --seconds 1 => has no room for new frames | 17 frames",
    );
    place.refuses_each(
        "video -m short -p x -o a.mp4",
        "--video v.mp4 => does not continue videos",
    );
}

#[test]
fn weights_that_are_no_numbers() {
    // Whoever notices first, the loader or the stage, says so.
    for file in [VAE, TRANSFORMER] {
        let place = Place::new();
        let folder = place.make_dir("nan");
        tiny::make_video(&folder, |_| {});
        let path = folder.join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let nan = f32::NAN.to_le_bytes();
        bytes[header..]
            .chunks_exact_mut(4)
            .for_each(|x| x.copy_from_slice(&nan));
        std::fs::write(&path, bytes).unwrap();
        tiny::forget_checksums(&folder);
        for out in ["a.mp4", "a.gif", "a/"] {
            let said = place.refused(&format!("video -m nan -p x -o {out}"));
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
