//! Stands in for `ffmpeg.rs` in a build without FFmpeg.

use std::path::Path;

use ::image::RgbImage;

use super::clip::{ClipRequest, VideoInfo};
use super::frame_sink::{CodecChoice, FrameSink, Unsupported, WriterSettings};
use crate::error::PipelineError;

pub(super) fn check(
    extension: &str,
    _: Option<CodecChoice>,
    _: Option<u32>,
) -> Result<(), Unsupported> {
    Err(unsupported(extension))
}

fn unsupported(extension: &str) -> Unsupported {
    Unsupported::new(
        None,
        format!("this program was built without FFmpeg, which writes .{extension}"),
        "write a .gif or a folder of frames (a name that ends with /), or build it with its default features",
    )
}

pub(super) fn open(
    _: &Path,
    extension: &str,
    _: WriterSettings,
    _: [u32; 2],
) -> Result<Box<dyn FrameSink>, PipelineError> {
    let Unsupported { message, hint, .. } = unsupported(extension);
    Err(PipelineError::refused_with(message, hint))
}

fn unreadable(path: &Path) -> PipelineError {
    let message = "cannot be read: this program was built without FFmpeg";
    PipelineError::content(path, message, Some("build it with its default features"))
}

pub(crate) fn video_info(path: &Path) -> Result<VideoInfo, PipelineError> {
    Err(unreadable(path))
}

pub(crate) fn last_frames(
    request: &ClipRequest,
    _: impl FnMut(String),
) -> Result<Vec<RgbImage>, PipelineError> {
    Err(unreadable(&request.path))
}

pub(super) fn first_frames(path: &Path, _: usize, _: f64) -> Result<Vec<RgbImage>, PipelineError> {
    Err(unreadable(path))
}

pub(super) fn video_tags(path: &Path) -> Result<Vec<(String, String)>, PipelineError> {
    Err(unreadable(path))
}
