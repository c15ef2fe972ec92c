//! What stands for video files in a program that was built without FFmpeg.

use std::path::Path;

use super::frame_sink::{CodecChoice, Settings, Sink};
use crate::error::PipelineError;

pub(super) fn check(
    ending: &str,
    _: Option<CodecChoice>,
    _: Option<u32>,
) -> Result<(), (&'static str, String, String)> {
    Err((
        "output",
        format!("this program was built without FFmpeg, which writes .{ending}"),
        "write a .gif or a folder of frames (a name that ends with /), or build it with its default features".into(),
    ))
}

pub(super) fn open(
    _: &Path,
    ending: &str,
    settings: Settings,
    _: [u32; 2],
) -> Result<Box<dyn Sink>, PipelineError> {
    let refused = check(ending, settings.codec, settings.quality);
    let (_, message, hint) = refused.err().unwrap_or_default();
    Err(PipelineError::refused_with(message, hint))
}
