//! What takes the frames of a video one after the other.

use std::path::PathBuf;

use ::image::RgbImage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::PipelineError;

/// How a video is compressed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum CodecChoice {
    /// H.264: what everything plays
    H264,
    /// H.265: smaller, and played by less
    H265,
    /// VP9: what WebM holds
    Vp9,
}

/// How the frames are written.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Frames a second.
    pub(crate) fps: usize,
    /// For videos; their container's own if absent.
    pub(crate) codec: Option<CodecChoice>,
    /// Constant rate factor; the codec's own if absent.
    pub(crate) quality: Option<u32>,
    /// Names and texts that the result carries.
    pub(crate) tags: Vec<(&'static str, String)>,
}

/// Takes frames one after the other. What is dropped before it is finished leaves nothing behind.
pub(crate) trait Sink: Send {
    /// Adds a frame; all have the size of the first.
    fn write(&mut self, frame: &RgbImage) -> Result<(), PipelineError>;

    /// Gives the whole its name, which is returned.
    fn finish(self: Box<Self>) -> Result<PathBuf, PipelineError>;
}
