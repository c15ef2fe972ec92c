//! Nextscale pipelines: stages, YAML, training and the `nextscale` command.
//!
//! A pipeline is a graph of [`Stage`]s that pass artifacts on: prompts, text features, latents,
//! images, files. It is written in YAML ([`PipelineSpec`]), checked as a whole before any weight is
//! loaded ([`Pipeline`]), and run with one thread a stage and bounded queues between them, so that
//! one picture is decoded while the next is painted.

pub mod artifact;
pub mod bench;
pub mod bundle;
pub mod cli;
pub mod convert;
mod curl;
pub mod data;
pub mod device;
pub mod error;
pub mod eval;
mod flow;
mod media;
pub mod memory;
pub mod node;
pub mod per_scale;
pub mod picture;
pub mod pipeline;
pub mod registry;
pub mod schema;
pub mod sheet;
pub mod spec;
pub mod stage;
mod stages;
pub mod train;

pub use artifact::{Artifact, ArtifactType, Kind};
pub use bundle::Bundle;
pub use error::PipelineError;
pub use media::CodecChoice;
pub use pipeline::Pipeline;
pub use registry::Registry;
pub use spec::PipelineSpec;
pub use stage::Stage;
