//! What can go wrong with curves.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

/// An error of reading a log, or of writing a plot or an event file; each message is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum CurvesError {
    /// A file or folder could not be read.
    #[error("cannot read {}: {reason}; name the folder of a training run", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// A line of a log cannot be understood.
    #[error("line {line} of {} {message}: correct or remove it", path.display())]
    Line {
        /// The log.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// A log without a line.
    #[error("{} has no line yet: wait for the first logged step of the run", path.display())]
    Empty {
        /// The log.
        path: PathBuf,
    },
    /// The name of a plot does not say what kind of picture to write.
    #[error("{} must end in .svg or .png, which are the pictures that can be drawn", path.display())]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// A page too small for its panels, or too large for memory.
    #[error(
        "a page of {width} x {height} pixels cannot be drawn: ask for at least 400 x {least} and at most 8000 x 8000"
    )]
    Size {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The smallest height in pixels that the panels need.
        least: u32,
    },
    /// No log has a number that a panel shows.
    #[error(
        "the runs have no numbers to plot: their logs need at least a loss, and seconds for an axis of time or examples"
    )]
    Nothing,
    /// The library that draws failed.
    #[error("the page could not be drawn: {message}")]
    Draw {
        /// Its complaint.
        message: String,
    },
    /// An image for an event file is not a PNG.
    #[error("the image {tag} is not a PNG file: encode it before it is written")]
    Image {
        /// The image's tag.
        tag: String,
    },
}

impl CurvesError {
    /// An error of writing a file.
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |reason| Self::Write {
            path: path.to_owned(),
            reason,
        }
    }

    /// An error of drawing.
    pub(crate) fn draw(reason: impl Display) -> Self {
        Self::Draw {
            message: reason.to_string(),
        }
    }
}
