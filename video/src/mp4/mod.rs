//! Video files through FFmpeg, written and read frame by frame.

mod codec;
mod frame;
mod reader;
mod writer;

use std::path::{Path, PathBuf};

use ffmpeg_next as ffmpeg;
use thiserror::Error;

pub use codec::{Codec, Container};
pub use frame::RgbFrame;
pub use reader::{ReaderOptions, VideoInfo, VideoReader};
pub use writer::{VideoWriter, WriterOptions};

/// An error in reading or writing a video.
#[derive(Debug, Error)]
pub enum MediaError {
    /// The file cannot be opened, or FFmpeg does not recognise it as a video.
    #[error("{path} cannot be read: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// FFmpeg's message.
        reason: String,
    },
    /// The file has no video stream.
    #[error("{path} has no video stream")]
    NoVideo {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("{path} cannot be written: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The message of FFmpeg or of the system.
        reason: String,
    },
    /// Frames of this size cannot be written.
    #[error("{path}: videos in 4:2:0 have even sides from 2, not {width}x{height}")]
    Size {
        /// The file.
        path: PathBuf,
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// FFmpeg was built without an encoder or a decoder for this format.
    #[error("{path}: this FFmpeg has no {what}")]
    Codec {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: String,
    },
    /// The bytes are not whole frames.
    #[error("{path}: {bytes} bytes are not frames of {frame} bytes")]
    Frames {
        /// The file.
        path: PathBuf,
        /// The number of bytes.
        bytes: usize,
        /// Bytes per frame.
        frame: usize,
    },
}

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

impl MediaError {
    fn read(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Read {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    fn write(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Write {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
