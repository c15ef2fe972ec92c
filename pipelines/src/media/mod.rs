//! Media files: images, animated GIFs and videos, read and written frame by frame, with the pipeline that made them inside.
//!
//! In a build without FFmpeg, reading or writing a video is an error that says so.

mod carrier;
mod clip;
mod encode;
mod exif;
#[cfg(feature = "ffmpeg")]
mod ffmpeg;
#[cfg(not(feature = "ffmpeg"))]
#[path = "no_ffmpeg.rs"]
mod ffmpeg;
mod frame_sink;
mod gif;
pub(crate) mod image;
mod png_texts;
mod read;
mod sink;

/// The extension of videos unless asked otherwise: what this build can write.
pub const VIDEO_EXTENSION: &str = if cfg!(feature = "ffmpeg") {
    "mp4"
} else {
    "gif"
};

pub(crate) use carrier::carrier;
pub use carrier::size;
pub use carrier::tags;
pub(crate) use clip::{ClipRequest, VideoInfo};
pub(crate) use encode::{encode, format_of};
pub(crate) use ffmpeg::{last_frames, video_info};
pub use frame_sink::CodecChoice;
pub(crate) use frame_sink::{FrameSink, WriterSettings};
pub use image::PIPELINE_KEY;
pub use nextscale_video::FrameRate;
pub use read::read_image;
pub(crate) use read::{on_white, read_with_alpha};
pub(crate) use sink::OutputFormat;
pub use sink::save_clip;

/// The first frames of a video, at most `count`, upright and of one size, at `fps` frames per second.
///
/// # Errors
/// A file that cannot be read or is no video, and a build without FFmpeg.
pub fn first_frames(
    path: &std::path::Path,
    count: usize,
    fps: f64,
) -> Result<Vec<::image::RgbImage>, crate::error::PipelineError> {
    ffmpeg::first_frames(path, count, fps)
}
