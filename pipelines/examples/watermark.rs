//! A custom stage, used from YAML and from Rust: a square in the corner of every image.
//!
//! ```sh
//! cargo build --workspace --example watermark
//! target/debug/examples/watermark --model FOLDER
//! ```
//!
//! It generates two images: `from-yaml.png` and `from-rust.png`.

use std::num::NonZeroU32;
use std::sync::Arc;

use image::{Rgb, RgbImage};
use nextscale_pipelines::stage::{Cancel, Event};
use nextscale_pipelines::stages::{
    DecodeParams, PromptsParams, SaveParams, TextEncoderParams, TextToImageParams,
};
use nextscale_pipelines::{Artifact, Pipeline, PipelineError, PipelineSpec, Registry};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

/// Draws a square in the lower right corner. The doc comments end up in the JSON Schema.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Watermark {
    /// Side of the square in pixels. A 0 is refused with its line and column.
    side: NonZeroU32,
    /// Its colour: red, green and blue.
    #[serde(default)]
    colour: [u8; 3],
}

fn mark(image: &mut RgbImage, params: &Watermark) {
    let (width, height) = image.dimensions();
    for y in height.saturating_sub(params.side.get())..height {
        for x in width.saturating_sub(params.side.get())..width {
            image.put_pixel(x, y, Rgb(params.colour));
        }
    }
}

const YAML: &str = "
output: from-yaml.png
seed: 7
stages:
  prompts: { stage: prompts, prompts: [a red apple] }
  text: { stage: text-encoder, from: prompts }
  latent: { stage: text-to-image, from: text }
  image: { stage: decode, from: latent }
  mark: { stage: watermark, from: image, side: 6, colour: [255, 0, 0] }
  save: { stage: save, from: mark }
";

fn main() -> Result<(), PipelineError> {
    let model = std::env::args().nth(2).unwrap_or_else(|| "default".into());
    let mut registry = Registry::builtin();
    registry.map_images("watermark", |image, params: &Watermark| {
        mark(image, params);
        Ok(())
    });

    let mut spec = PipelineSpec::from_yaml(YAML, "watermark.yaml")?;
    spec.settings.model = model.clone();
    run(Pipeline::with(spec, &registry)?)?;

    let prompts = PromptsParams {
        prompts: vec!["a red apple".into()],
        ..PromptsParams::default()
    };
    let blue = json!({ "side": 6, "colour": [0, 0, 255] });
    let settings = json!({ "model": model, "output": "from-rust.png", "seed": 7 });
    let spec = PipelineSpec::builder(settings)?
        .add("prompts", "", prompts)?
        .add("text", "prompts", TextEncoderParams::default())?
        .add("latent", "text", TextToImageParams::default())?
        .add("image", "latent", DecodeParams::default())?
        .stage("mark", "watermark", "image", blue)?
        .add("save", "mark", SaveParams::default())?
        .finish()?;
    run(Pipeline::with(spec, &registry)?)
}

fn run(pipeline: Pipeline) -> Result<(), PipelineError> {
    let observer = Arc::new(|event| {
        if let Event::Output { message, .. } = event
            && let Artifact::File(path) = message.artifact
        {
            println!("{}", path.display());
        }
    });
    pipeline.run_blocking(Cancel::default(), observer)
}
