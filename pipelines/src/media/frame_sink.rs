//! What takes the frames of a video one after another.

use std::path::PathBuf;

use ::image::RgbImage;
use nextscale_video::FrameRate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::PipelineError;

/// How a video is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CodecChoice {
    /// H.264: plays everywhere
    H264,
    /// H.265: smaller, plays in fewer places
    H265,
    /// VP9: the codec of WebM
    Vp9,
}

/// How frames are written.
#[derive(Debug, Clone)]
pub(crate) struct WriterSettings {
    /// Frames per second.
    pub(crate) rate: FrameRate,
    /// For videos; the container's default if absent.
    #[cfg_attr(not(feature = "ffmpeg"), allow(dead_code))] // only FFmpeg compresses
    pub(crate) codec: Option<CodecChoice>,
    /// Constant rate factor; the codec's default if absent.
    #[cfg_attr(not(feature = "ffmpeg"), allow(dead_code))] // only FFmpeg compresses
    pub(crate) quality: Option<u32>,
    /// Names and texts that the file carries.
    pub(crate) tags: Vec<(&'static str, String)>,
}

impl WriterSettings {
    /// At this rate, with the defaults of the format and no tags.
    pub(crate) fn new(rate: FrameRate) -> Self {
        Self {
            rate,
            codec: None,
            quality: None,
            tags: vec![],
        }
    }
}

/// A setting that the output format does not support.
#[derive(Debug)]
pub(crate) struct Unsupported {
    /// The key of the stage that is wrong; none if it is the file name.
    pub(crate) key: Option<&'static str>,
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl Unsupported {
    pub(super) fn new(
        key: Option<&'static str>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let (message, hint) = (message.into(), hint.into());
        Self { key, message, hint }
    }
}

/// Takes frames one after another. A sink that is dropped before it is finished leaves no file.
pub(crate) trait FrameSink: Send {
    /// Adds a frame; all have the size of the first.
    fn write(&mut self, frame: &RgbImage) -> Result<(), PipelineError>;

    /// Completes the file, gives it its name and returns it.
    fn finish(self: Box<Self>) -> Result<PathBuf, PipelineError>;
}
