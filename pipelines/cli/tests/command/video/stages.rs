//! Videos in YAML and from the library.

use std::sync::{Arc, Mutex};

use nextscale_pipelines::artifact::Frames;
use nextscale_pipelines::stage::{Cancel, Event, Input, Output, Ports, Stage};
use nextscale_pipelines::{Artifact, Kind, Pipeline, PipelineError, PipelineSpec, Registry};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{count, frames, model};
use crate::{Place, tiny};

#[path = "../../../../examples/caption.rs"]
mod caption;

fn yaml(frames: &str, output: &str) -> String {
    format!(
        "model: {}
seed: 7
output: {output}
stages:
  prompts: {{ stage: prompts, prompts: [a red house] }}
  text: {{ stage: text-encoder, from: prompts }}
  latent: {{ stage: text-to-video, from: text{frames} }}
  frames: {{ stage: decode-video, from: latent }}
  save: {{ stage: save-video, from: frames }}
",
        model()
    )
}

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

/// Notes the chunks that come through.
struct Probe(Arc<Mutex<Vec<Frames>>>);

impl Stage for Probe {
    fn ports(&self) -> Ports {
        Ports::one("frames", Kind::Frames, Kind::Frames)
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let Some(Artifact::Frames(frames)) = input.artifacts.first() else {
            panic!("no frames");
        };
        self.0.lock().unwrap().push((**frames).clone());
        out.send(input, Artifact::Frames(frames.clone()))
    }
}

fn run(yaml: &str, registry: &Registry) {
    let spec = PipelineSpec::from_yaml(yaml, "v.yaml").unwrap();
    let pipeline = Pipeline::with(spec, registry).unwrap_or_else(|e| panic!("{e}"));
    let done = pipeline.run_blocking(Cancel::default(), Arc::new(|_: Event| {}));
    done.unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn frames_come_in_chunks_of_one_size() {
    let place = Place::new();
    let chunks = Arc::new(Mutex::new(vec![]));
    let mut registry = Registry::builtin();
    let seen = chunks.clone();
    registry.register("probe", move |_: Nothing, _: &_| Ok(Probe(seen.clone())));
    let output = place.path("a.mp4").display().to_string();
    let text = yaml(", seconds: 2", &output).replace(
        "save-video, from: frames",
        "save-video, from: probe }\n  probe: { stage: probe, from: frames",
    );
    run(&text, &registry);
    let chunks = chunks.lock().unwrap();
    // Two clips of four latent frames behind the image: two latent frames at a time.
    let sizes: Vec<usize> = chunks.iter().map(|chunk| chunk.images.len()).collect();
    assert_eq!(sizes, [1, 4, 4, 4, 4]);
    let first: Vec<usize> = chunks.iter().map(|chunk| chunk.first).collect();
    assert_eq!(first, [0, 1, 5, 9, 13]);
    let last: Vec<bool> = chunks.iter().map(|chunk| chunk.last).collect();
    assert_eq!(last, [false, false, false, false, true]);
    assert!(chunks.iter().all(|chunk| chunk.fps == 8));
    assert_eq!(count(&place.path("a.mp4")), 17);
}

#[test]
fn a_caption_is_burnt_in() {
    let place = Place::new();
    let mut registry = Registry::builtin();
    caption::register(&mut registry);
    let [plain, captioned] = ["plain/", "captioned/"].map(|name| {
        let path = place.path(name).display().to_string();
        yaml("", &(path.trim_end_matches('/').to_owned() + "/"))
    });
    run(&plain, &registry);
    let stage = "save-video, from: caption }\n  caption: { stage: caption, from: frames, text: HI, colour: [255, 0, 0]";
    run(
        &captioned.replace("save-video, from: frames", stage),
        &registry,
    );
    let read = |folder: &str, i: usize| {
        image::open(place.path(folder).join(format!("{i:05}.png")))
            .unwrap()
            .into_rgb8()
    };
    assert_eq!(place.files("captioned").len(), 9);
    for i in 0..9 {
        let (before, after) = (read("plain", i), read("captioned", i));
        let changed = |y: u32| (0..16).any(|x| before.get_pixel(x, y) != after.get_pixel(x, y));
        assert!(
            (0..8).all(|y| !changed(y)),
            "frame {i}: the picture above stays"
        );
        let red = |x: u32, y: u32| after.get_pixel(x, y).0 == [255, 0, 0];
        // The H: both posts and the bar between them.
        assert!(
            red(1, 9) && red(3, 9) && !red(2, 9) && red(2, 11),
            "frame {i}"
        );
        let bar = (0..16).filter(|&x| red(x, 15)).count();
        assert_eq!(
            bar, i,
            "the bar grows by a pixel a frame at 8 frames a second"
        );
    }
}

/// Text to a picture to a video: one file.
#[test]
fn image_and_video_in_one_pipeline() {
    let place = Place::new();
    let text = format!(
        "model: {}
seed: 7
output: OUT
stages:
  prompts: {{ stage: prompts, prompts: [a red house, a cat] }}
  words: {{ stage: text-encoder, from: prompts, model: {pictures} }}
  picture: {{ stage: text-to-image, from: words, model: {pictures} }}
  image: {{ stage: decode, from: picture, model: {pictures} }}
  fitted: {{ stage: fit, from: image, width: 24, height: 16, mode: inside, background: [0, 0, 0] }}
  text: {{ stage: text-encoder, from: prompts }}
  latent: {{ stage: text-to-video, from: {{ text: text, image: fitted }}, width: 24, frames: 5 }}
  frames: {{ stage: decode-video, from: latent }}
  save: {{ stage: save-video, from: frames }}
",
        model(),
        pictures = tiny::model().display()
    );
    place.write("v.yaml", &text.replace("OUT", "v-{index}.mp4"));
    place.good("validate v.yaml");
    place.good("run v.yaml");
    assert_eq!(count(&place.path("v-00000.mp4")), 5);
    assert_ne!(frames(&place, "v-00000.mp4"), frames(&place, "v-00001.mp4"));
    // Previews of the picture, which come earlier than the text, confuse nothing.
    place.make_dir("steps");
    place.write(
        "p.yaml",
        &text.replace("OUT", "p-{index}.mp4\npreview: steps"),
    );
    place.good("run p.yaml");
    assert_eq!(frames(&place, "p-00001.mp4"), frames(&place, "v-00001.mp4"));
    assert!(
        place
            .files("steps")
            .contains(&"00001-pass-004.png".to_owned())
    );
}

/// The encoder tells the length of the video, so it has to know it: from the stage behind it, or said.
#[test]
fn the_prompt_knows_the_length() {
    let place = Place::new();
    let text = yaml(", frames: 17", "x.mp4");
    place.write("a.yaml", &text);
    place.good("validate a.yaml");
    let said = text.replace("from: prompts", "from: prompts, frames: 17");
    place.write("b.yaml", &said);
    place.good("validate b.yaml");
    place.write(
        "c.yaml",
        &said.replace("prompts, frames: 17", "prompts, frames: 5"),
    );
    place.refuses("validate c.yaml", &["c.yaml:7:", "frames 17", "gives 5"]);
}
