//! Nextscale pipelines: stages, YAML and the run.
//!
//! A pipeline is a graph of [`Stage`]s that pass artifacts on: prompts, text features, latents,
//! images, files. It is written in YAML ([`PipelineSpec`]), checked as a whole before any weight is
//! loaded ([`Pipeline`]), and run with one thread a stage and bounded queues between them, so that
//! one image is decoded while the next is generated.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod artifact;
pub mod error;
pub mod graph;
mod map;
pub mod media;
pub mod per_scale;
pub mod registry;
mod run;
pub mod schema;
pub mod settings;
pub mod setup;
pub mod spec;
pub mod stage;
pub mod stage_params;
pub mod stages;
pub mod yaml;

pub use artifact::{Artifact, ArtifactType, Kind};
pub use error::PipelineError;
pub use graph::Pipeline;
pub use map::FrameInfo;
pub use media::CodecChoice;
pub use registry::Registry;
pub use spec::PipelineSpec;
pub use stage::Stage;
pub use stage_params::StageParams;
