//! What is found before any image is decoded: where the images are, and what describes them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nextscale_files::bounded::{self, MOST_IMAGE};

use crate::manifest::Skipped;

/// An image or a video with what describes it.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// Its name in messages: the path in the folder, the table or the archive.
    pub file: String,
    pub place: Place,
    /// Best first, not empty, with single spaces.
    pub captions: Vec<String>,
    pub class: Option<String>,
}

/// Where the bytes of a sample are.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    File(PathBuf),
    /// A part of an archive that is not compressed.
    Part {
        archive: Arc<Path>,
        offset: u64,
        length: u64,
    },
}

impl Place {
    /// Reads all bytes.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let (archive, offset, length) = match self {
            Self::File(path) => return bounded::read(path, MOST_IMAGE),
            Self::Part {
                archive,
                offset,
                length,
            } => (archive, *offset, *length),
        };
        if length > MOST_IMAGE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut file = File::open(archive)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }
}

/// All samples of a data set in order.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    pub samples: Vec<Sample>,
    /// Captions without an image.
    pub orphans: Vec<String>,
    /// Files, lines and archives that could not be read.
    pub unreadable: Vec<Skipped>,
}

impl Samples {
    /// Notes something that could not be read.
    pub fn skip(&mut self, file: impl Into<String>, reason: impl ToString) {
        self.unreadable.push(Skipped {
            file: file.into(),
            reason: reason.to_string(),
        });
    }

    /// Adds those of another place.
    pub fn extend(&mut self, other: Self) {
        self.samples.extend(other.samples);
        self.orphans.extend(other.orphans);
        self.unreadable.extend(other.unreadable);
    }
}

/// Adds captions that are not among the others.
pub(crate) fn merge(captions: &mut Vec<String>, more: impl IntoIterator<Item = String>) {
    for caption in more {
        if !captions.contains(&caption) {
            captions.push(caption);
        }
    }
}
