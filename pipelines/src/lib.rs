//! Images and videos by next-scale prediction: VAR, Infinity and InfinityStar.
//!
//! # Quick start
//!
//! An image from a prompt, with the model inside this crate:
//!
//! ```
//! use nextscale_pipelines::{Generator, Request};
//!
//! let model = Generator::open("default")?;
//! let image = model.generate(&Request::prompt("a red apple").seed(7))?.image()?;
//! assert_eq!(image.dimensions(), (64, 64)); // an image::RgbImage: image.save("apple.png")?
//! # Ok::<(), nextscale_pipelines::PipelineError>(())
//! ```
//!
//! A clip, written to a file:
//!
//! ```no_run
//! use nextscale_pipelines::{Generator, Request, media};
//!
//! let model = Generator::open("sprites")?;
//! let request = Request::prompt("red apple bouncing").seed(7).seconds(2.0);
//! let clip = model.generate(&request)?.video()?;
//! println!("{} frames at {} fps", clip.frames.len(), clip.fps);
//! media::save_clip("apple.mp4", &clip)?;
//! # Ok::<(), nextscale_pipelines::PipelineError>(())
//! ```
//!
//! A pipeline: a graph of [`Stage`]s, with one thread per stage and bounded queues between them, so that one image is
//! decoded while the next is generated. It is checked as a whole before any weight is loaded, and every mistake is reported
//! with its line and column:
//!
//! ```
//! use nextscale_pipelines::stages::{DecodeParams, PromptsParams, TextEncoderParams, TextToImageParams};
//! use nextscale_pipelines::{Pipeline, PipelineSpec};
//!
//! let prompts = PromptsParams { prompts: vec!["a red apple".into()], ..Default::default() };
//! let spec = PipelineSpec::builder(serde_json::json!({ "seed": 7 }))?
//!     .add("prompts", "", prompts)?
//!     .add("text", "prompts", TextEncoderParams::default())?
//!     .add("latent", "text", TextToImageParams::default())?
//!     .add("image", "latent", DecodeParams::default())?
//!     .finish()?;
//! let pipeline = Pipeline::new(spec)?; // then pipeline.run_blocking(cancel, observer)
//! # Ok::<(), nextscale_pipelines::PipelineError>(())
//! ```
//!
//! # What to use
//!
//! | I want to | use |
//! |---|---|
//! | generate an image or a clip | [`Generator::generate`] |
//! | see every scale, with previews and early stop | [`Generator::steps`] |
//! | know what a model is before it is loaded | [`Model::open`] |
//! | run a YAML file, or the pipeline inside a PNG or MP4 | [`PipelineSpec::from_file`], [`Pipeline`] |
//! | write a pipeline in Rust | [`PipelineSpec::builder`], the parameters in [`stages`] |
//! | change every image, or every frame of a video | [`Registry::map_images`], [`Registry::map_frames`] |
//! | write a stage of any other kind | [`Stage`], [`Registry::register`] |
//! | share the samples of a run between processes | [`Share`], as `share` of the settings |
//! | generate each image with several processes | [`Together`], as `together` of the settings |
//! | follow progress, collect results in memory, stop | [`stage::Event`], [`stage::Observer`], [`stage::Cancel`] |
//! | read the metadata of a file | [`media::tags`] |

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod artifact;
mod dispatch;
pub mod error;
pub mod file_path;
pub mod graph;
pub mod lora;
mod map;
pub mod media;
pub mod per_scale;
pub mod registry;
mod run;
pub mod schema;
pub mod settings;
pub mod setup;
pub mod share;
pub mod spec;
pub mod stage;
pub mod stage_params;
pub mod stages;
pub mod together;
mod untrusted;
pub mod uploads;
mod wiring;
mod work;
pub mod yaml;

pub use artifact::{Artifact, ArtifactType, Kind};
pub use error::PipelineError;
pub use graph::Pipeline;
pub use map::FrameInfo;
pub use media::CodecChoice;
pub use nextscale_models::{Generator, Model, Request};
pub use registry::Registry;
pub use share::Share;
pub use spec::PipelineSpec;
pub use stage::Stage;
pub use stage_params::StageParams;
pub use together::Together;
