//! Videos from the command line, on a tiny model with random weights: 8 frames a second, 9 frames unless told otherwise.

mod bad_input;
mod beginnings;
mod browser;
mod embedded;
mod forms;
mod released;
mod shortcuts;
mod stages;

use nextscale_var_core::blocks::Transformer as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nextscale_models::{BlockStorage, Model, Placement, SPRITES};
use serde_json::Value;

use crate::{Place, tiny, words};

/// The folder of the tiny model.
fn model() -> &'static str {
    tiny::video_model().to_str().unwrap()
}

/// `video` with the tiny model, a prompt and a seed, and further arguments.
fn with(more: &str) -> String {
    format!("video -m @video -p 'a red house' -s 7 {more}")
}

/// What ffprobe says of the video stream and of the container of a file, every frame counted.
fn probe(path: &Path) -> (Value, Value) {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-show_streams"])
        .args(["-show_format", "-of", "json"])
        .arg(path)
        .stderr(Stdio::inherit())
        .output()
        .expect("ffprobe, which tools/setup installs");
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let streams = all["streams"].as_array().unwrap();
    assert_eq!(streams.len(), 1, "{all}");
    (streams[0].clone(), all["format"].clone())
}

/// The number of frames of a file.
fn count(path: &Path) -> usize {
    let (stream, _) = probe(path);
    stream["nb_read_frames"].as_str().unwrap().parse().unwrap()
}

/// Makes a file with the `ffmpeg` command.
fn ffmpeg(place: &Place, line: &str) {
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y"])
        .args(words(line))
        .current_dir(place.folder.path())
        .stdin(Stdio::null())
        .status();
    let status = status.expect("ffmpeg, which tools/setup installs");
    assert!(status.success(), "{line}");
}

/// The frames of a file as RGB bytes, one after the other.
fn frames(place: &Place, name: &str) -> Vec<Vec<u8>> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i", name, "-f", "rawvideo"])
        .args(["-pix_fmt", "rgb24", "-fps_mode", "passthrough", "-"])
        .current_dir(place.folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (stream, _) = probe(&place.path(name));
    let side = |key: &str| stream[key].as_u64().unwrap() as usize;
    let frame = 3 * side("width") * side("height");
    output
        .stdout
        .chunks_exact(frame)
        .map(<[u8]>::to_vec)
        .collect()
}

#[test]
fn a_folder_of_a_video_model_opens() {
    let folder = tiny::video_model().to_str().unwrap();
    let model = Model::open(folder).unwrap();
    assert_eq!(model.name(), folder);
    let device = burn::tensor::Device::flex();
    model.load_text_encoder(&device).unwrap();
    model.load_infinity_star_vae(&Placement::cpu()).unwrap();
    let star = model.load_infinity_star(&Placement::cpu()).unwrap();
    assert_eq!(star.channels(), 8);
    let streamed = Placement {
        blocks: BlockStorage::Streamed,
        ..Placement::cpu()
    };
    let streamed = model.load_infinity_star(&streamed).unwrap();
    assert_eq!((streamed.blocks.len(), streamed.depth()), (0, star.depth()));
    assert!(model.fingerprint().is_some());
}

#[test]
fn a_program_without_a_video_model_says_so() {
    let place = Place::new();
    if Model::open(SPRITES).is_ok() {
        // One that has a model lists it.
        assert!(place.stdout("models").contains("sprites"));
        return;
    }
    place.refuses(
        "video -p 'a cat' -o x.mp4",
        &[
            "there is no video model inside this program",
            "hint: name one: --model",
        ],
    );
    assert!(place.files(".").is_empty());
}
