//! A stage of one's own that works on the frames of a video: a caption burnt into every frame, and a bar under it that
//! grows with time.
//!
//! ```sh
//! cargo build --workspace --example caption
//! target/debug/examples/caption --model FOLDER
//! ```
//!
//! It makes `caption.mp4` (`caption.gif` in a build without FFmpeg) from the prompt "red apple bouncing".

use std::sync::Arc;

use image::{Rgb, RgbImage};
use nextscale_pipelines::setup::Setup;
use nextscale_pipelines::stage::{Cancel, Event, Input, Output, Ports, Stage};
use nextscale_pipelines::{
    Artifact, ArtifactType, Kind, Pipeline, PipelineError, PipelineSpec, Registry,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Burns a caption into the lower edge of every frame. The doc comments end up in the JSON Schema.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaptionParams {
    /// What it says: letters, digits and spaces; the prompt if absent.
    text: Option<String>,
    /// Its colour: red, green and blue.
    #[serde(default = "white")]
    colour: [u8; 3],
}

fn white() -> [u8; 3] {
    [255; 3]
}

/// The stage.
pub struct Caption {
    params: CaptionParams,
}

impl Caption {
    /// Runs while the pipeline is checked: what is refused here has line and column.
    ///
    /// # Errors
    /// A caption that says nothing.
    pub fn new(params: CaptionParams, setup: &Setup) -> Result<Self, PipelineError> {
        if params.text.as_deref().is_some_and(|t| t.trim().is_empty()) {
            return Err(setup.refuse("text", "a caption that says nothing").into());
        }
        Ok(Self { params })
    }

    /// One frame with the caption and a bar of `seconds`, a pixel for an eighth of a second.
    fn burn(&self, frame: &RgbImage, text: &str, seconds: f64) -> RgbImage {
        let mut frame = frame.clone();
        let (width, height) = frame.dimensions();
        let top = height.saturating_sub(HEIGHT + 3);
        for y in top..height {
            for x in 0..width {
                let pixel = frame.get_pixel_mut(x, y);
                pixel.0 = pixel.0.map(|c| c / 3);
            }
        }
        let colour = Rgb(self.params.colour);
        let mut dot = |x: u32, y: u32| {
            if x < width && y < height {
                frame.put_pixel(x, y, colour);
            }
        };
        for (n, letter) in text.chars().enumerate() {
            let left = 1 + n as u32 * (WIDTH + 1);
            for (row, bits) in glyph(letter).into_iter().enumerate() {
                let columns = (0..WIDTH).filter(|c| bits >> (WIDTH - 1 - c) & 1 == 1);
                columns.for_each(|column| dot(left + column, top + 1 + row as u32));
            }
        }
        (0..(seconds * 8.0) as u32).for_each(|x| dot(x, height - 1));
        frame
    }
}

impl Stage for Caption {
    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![("frames", ArtifactType::new(Kind::Frames))],
            output: Some(ArtifactType::new(Kind::Frames)),
        }
    }

    /// Works on a chunk: a video comes in several, and the whole is never in memory.
    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let Some(Artifact::Frames(frames)) = input.artifacts.first() else {
            return Err(input.context.failed("its input are no frames"));
        };
        let text = self.params.text.as_ref().unwrap_or(&input.sample.prompt);
        let fps = frames.fps as f64;
        let captioned = frames.map(|number, frame| self.burn(frame, text, number as f64 / fps));
        out.send(input, Artifact::Frames(Arc::new(captioned)))
    }
}

/// Size of a letter in pixels.
const WIDTH: u32 = 3;
const HEIGHT: u32 = 5;

/// The rows of a letter from the top, a bit a pixel.
fn glyph(letter: char) -> [u8; 5] {
    let number = match letter.to_ascii_lowercase() {
        letter @ 'a'..='z' => letter as usize - 'a' as usize,
        digit @ '0'..='9' => 26 + digit as usize - '0' as usize,
        _ => return [0; 5],
    };
    GLYPHS[number].map(|row| row - b'0')
}

/// Letters and digits, three pixels wide: each row is a number from 0 to 7.
const GLYPHS: [[u8; 5]; 36] = [
    *b"25755", *b"65656", *b"34443", *b"65556", *b"74647", *b"74644", *b"34553", *b"55755",
    *b"72227", *b"11152", *b"55655", *b"44447", *b"57755", *b"65555", *b"25552", *b"65644",
    *b"25563", *b"65655", *b"34216", *b"72222", *b"55557", *b"55552", *b"55775", *b"55255",
    *b"55222", *b"71247", *b"75557", *b"26227", *b"61247", *b"61216", *b"55711", *b"74616",
    *b"34757", *b"71122", *b"75757", *b"75716",
];

const YAML: &str = "
model: MODEL
output: OUTPUT
seed: 7
stages:
  prompts: { stage: prompts, prompts: [red apple bouncing] }
  text: { stage: text-encoder, from: prompts }
  latent: { stage: text-to-video, from: text }
  frames: { stage: decode-video, from: latent }
  caption: { stage: caption, from: frames, colour: [255, 255, 0] }
  save: { stage: save-video, from: caption }
";

#[allow(dead_code)] // not called where the stage is used from elsewhere
fn main() -> Result<(), PipelineError> {
    let model = std::env::args().nth(2).unwrap_or_else(|| "sprites".into());
    let output = match cfg!(feature = "ffmpeg") {
        true => "caption.mp4",
        false => "caption.gif",
    };
    let yaml = YAML.replace("MODEL", &model).replace("OUTPUT", output);
    let mut registry = Registry::builtin();
    registry.register("caption", Caption::new);
    let spec = PipelineSpec::from_yaml(&yaml, "caption.yaml")?;
    let pipeline = Pipeline::with(spec, &registry)?;
    let observer = Arc::new(|event| {
        if let Event::Output { message, .. } = event
            && let Artifact::File(path) = message.artifact
        {
            println!("{}", path.display());
        }
    });
    pipeline.run_blocking(Cancel::default(), observer)
}
