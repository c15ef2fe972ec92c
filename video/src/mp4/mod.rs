//! Video files through FFmpeg, written and read frame by frame.

mod clock;
mod codec;
mod colour;
mod error;
mod file;
mod frame;
mod info;
mod reader;
mod writer;

use ffmpeg_next as ffmpeg;

pub use codec::{Codec, Container};
pub use error::MediaError;
pub use file::tags;
pub use frame::RgbFrame;
pub use info::VideoInfo;
pub use reader::{ReaderOptions, VideoReader};
pub use writer::{VideoWriter, WriterOptions};

/// Initialises FFmpeg. Its own messages on standard error are switched off: what a user needs is in [`MediaError`] and in
/// [`VideoReader::notices`].
fn init() -> Result<(), ffmpeg::Error> {
    ffmpeg::init()?;
    ffmpeg::log::set_level(ffmpeg::log::Level::Fatal);
    Ok(())
}

#[cfg(test)]
mod tests;
