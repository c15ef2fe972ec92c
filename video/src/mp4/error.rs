use std::path::{Path, PathBuf};

use thiserror::Error;

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

impl MediaError {
    pub(super) fn read(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Read {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(super) fn write(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Write {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}
