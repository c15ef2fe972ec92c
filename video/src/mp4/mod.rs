//! Video files through FFmpeg, written and read frame by frame.

mod codec;
mod error;
mod frame;
mod info;
mod reader;
mod writer;

use std::path::Path;

use ffmpeg_next as ffmpeg;

pub use codec::{Codec, Container};
pub use error::MediaError;
pub use frame::RgbFrame;
pub use info::VideoInfo;
pub use reader::{ReaderOptions, VideoReader};
pub use writer::{VideoWriter, WriterOptions};

/// Initialises FFmpeg, and limits its own messages on standard error to errors.
fn init() -> Result<(), ffmpeg::Error> {
    ffmpeg::init()?;
    ffmpeg::log::set_level(ffmpeg::log::Level::Error);
    Ok(())
}

/// The metadata tags of a file's container, in order, such as the prompt. Names are returned in lower case, as
/// [`VideoWriter`] takes them, also where a container stores them in capitals.
///
/// # Errors
/// If the file cannot be read.
pub fn tags(path: &Path) -> Result<Vec<(String, String)>, MediaError> {
    init().map_err(|e| MediaError::read(path, e))?;
    let input = ffmpeg::format::input(path).map_err(|e| MediaError::read(path, e))?;
    let tags = input.metadata();
    let all = tags
        .iter()
        .map(|(key, text)| (key.to_lowercase(), text.to_owned()));
    Ok(all.collect())
}

#[cfg(test)]
mod tests;
