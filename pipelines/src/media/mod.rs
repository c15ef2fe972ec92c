//! Media files: images, animated GIFs and videos, read and written frame by frame, with the pipeline that made them inside.
//!
//! In a build without FFmpeg, reading or writing a video is an error that says so.

mod carrier;
mod clip;
#[cfg(feature = "ffmpeg")]
mod ffmpeg;
#[cfg(not(feature = "ffmpeg"))]
#[path = "no_ffmpeg.rs"]
mod ffmpeg;
mod frame_sink;
mod gif;
pub(crate) mod image;
mod sink;

pub(crate) use carrier::carrier;
pub use carrier::tags;
pub(crate) use clip::{ClipRequest, VideoInfo};
pub(crate) use ffmpeg::{last_frames, video_info};
pub use frame_sink::CodecChoice;
pub(crate) use frame_sink::{FrameSink, WriterSettings};
pub use nextscale_video::FrameRate;
pub(crate) use sink::OutputFormat;
pub use sink::save_clip;
