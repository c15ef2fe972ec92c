//! A custom stage that changes the frames of a video: a caption on every frame, and below it a bar that grows with time.
//!
//! ```sh
//! cargo build --workspace --example caption
//! target/debug/examples/caption --model FOLDER
//! ```
//!
//! It makes `caption.mp4` (`caption.gif` in a build without FFmpeg) from the prompt "red apple bouncing".

use std::sync::Arc;

use image::{Rgb, RgbImage};
use nextscale_pipelines::stage::{Cancel, Event};
use nextscale_pipelines::{Artifact, FrameInfo, Pipeline, PipelineError, PipelineSpec, Registry};
use schemars::JsonSchema;
use serde::Deserialize;

/// Draws a caption at the bottom of every frame. The doc comments end up in the JSON Schema.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Caption {
    /// The text: letters, digits and spaces; the prompt if absent.
    text: Option<String>,
    /// Its colour: red, green and blue.
    #[serde(default = "white")]
    colour: [u8; 3],
}

fn white() -> [u8; 3] {
    [255; 3]
}

/// Adds the stage `caption`.
pub fn register(registry: &mut Registry) {
    registry.map_frames("caption", |frame, info, params: &Caption| {
        params.draw(frame, info);
        Ok(())
    });
}

impl Caption {
    /// The caption, and a bar with one pixel per eighth of a second.
    fn draw(&self, frame: &mut RgbImage, info: FrameInfo<'_>) {
        let text = self.text.as_ref().unwrap_or(&info.sample.prompt);
        let (width, height) = frame.dimensions();
        let top = height.saturating_sub(HEIGHT + 3);
        for y in top..height {
            for x in 0..width {
                let pixel = frame.get_pixel_mut(x, y);
                pixel.0 = pixel.0.map(|c| c / 3);
            }
        }
        let colour = Rgb(self.colour);
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
        (0..(info.seconds() * 8.0) as u32).for_each(|x| dot(x, height - 1));
    }
}

/// Size of a letter in pixels.
const WIDTH: u32 = 3;
const HEIGHT: u32 = 5;

/// The rows of a letter from the top, one bit per pixel.
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

#[allow(dead_code)] // a test uses the stage without it
fn main() -> Result<(), PipelineError> {
    let model = std::env::args().nth(2).unwrap_or_else(|| "sprites".into());
    let output = if cfg!(feature = "ffmpeg") {
        "caption.mp4"
    } else {
        "caption.gif"
    };
    let yaml = YAML.replace("MODEL", &model).replace("OUTPUT", output);
    let mut registry = Registry::builtin();
    register(&mut registry);
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
