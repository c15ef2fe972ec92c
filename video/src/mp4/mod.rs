//! Videos in files, through FFmpeg: written frame by frame as they are decoded from the latent, and read as far as they
//! are needed.

mod codec;
mod reader;
mod writer;

use std::path::{Path, PathBuf};

use ffmpeg_next as ffmpeg;
use thiserror::Error;

pub use codec::{Codec, Container};
pub use reader::{ReaderOptions, VideoInfo, VideoReader};
pub use writer::{VideoWriter, WriterOptions};

/// Why a video could not be read or written.
#[derive(Debug, Error)]
pub enum MediaError {
    /// The file cannot be opened, or is no video that FFmpeg knows.
    #[error("{path} cannot be read: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What FFmpeg said.
        reason: String,
    },
    /// The file has no pictures that move.
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
        /// What FFmpeg or the system said.
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
        /// Bytes that came.
        bytes: usize,
        /// Bytes of a frame.
        frame: usize,
    },
}

/// Gets FFmpeg ready, which writes its own messages to standard error: only errors from here on.
fn init() -> Result<(), ffmpeg::Error> {
    ffmpeg::init()?;
    ffmpeg::log::set_level(ffmpeg::log::Level::Error);
    Ok(())
}

/// The tags of a file's container in their order, such as the prompt that a video was made from. Names that
/// [`VideoWriter`] wrote come back as they were, also where a container has them in capitals.
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
