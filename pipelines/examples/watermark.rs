//! A stage of one's own, used from YAML and from Rust.
//!
//! ```sh
//! cargo build --workspace --example watermark
//! target/debug/examples/watermark --model FOLDER
//! ```
//!
//! It paints two pictures, each with a mark in the corner: `from-yaml.png` and `from-rust.png`.

use std::sync::Arc;

use image::Rgb;
use nextscale_pipelines::setup::Setup;
use nextscale_pipelines::stage::{Cancel, Event, Input, Output, Ports, Stage};
use nextscale_pipelines::{
    Artifact, ArtifactType, Kind, Pipeline, PipelineError, PipelineSpec, Registry,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

/// Puts a square into the lower right corner. The doc comments end up in the JSON Schema.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WatermarkParams {
    /// Side of the square in pixels.
    side: u32,
    /// Its colour: red, green and blue.
    #[serde(default)]
    colour: [u8; 3],
}

struct Watermark {
    params: WatermarkParams,
}

impl Watermark {
    /// Runs while the pipeline is checked: what is refused here has line and column.
    fn new(params: WatermarkParams, setup: &Setup) -> Result<Self, PipelineError> {
        if params.side == 0 {
            return Err(setup
                .refuse("side", "a square of no size is no mark")
                .into());
        }
        Ok(Self { params })
    }
}

impl Stage for Watermark {
    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![("image", ArtifactType::new(Kind::Image))],
            output: Some(ArtifactType::new(Kind::Image)),
        }
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let Some(Artifact::Image(image)) = input.artifacts.first() else {
            return Err(input.context.failed("its input is no image"));
        };
        let mut image = (**image).clone();
        let (width, height) = image.dimensions();
        for y in height.saturating_sub(self.params.side)..height {
            for x in width.saturating_sub(self.params.side)..width {
                image.put_pixel(x, y, Rgb(self.params.colour));
            }
        }
        out.send(input, Artifact::Image(Arc::new(image)))
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
    registry.register("watermark", Watermark::new);

    let mut spec = PipelineSpec::from_yaml(YAML, "watermark.yaml")?;
    spec.settings.model = model.clone();
    run(Pipeline::with(spec, &registry)?)?;

    let spec =
        PipelineSpec::builder(json!({ "model": model, "output": "from-rust.png", "seed": 7 }))?
            .stage(
                "prompts",
                "prompts",
                "",
                json!({ "prompts": ["a red apple"] }),
            )?
            .stage("text", "text-encoder", "prompts", json!({}))?
            .stage("latent", "text-to-image", "text", json!({}))?
            .stage("image", "decode", "latent", json!({}))?
            .stage(
                "mark",
                "watermark",
                "image",
                json!({ "side": 6, "colour": [0, 0, 255] }),
            )?
            .stage("save", "save", "mark", json!({}))?
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
