//! The kinds of files that can carry a pipeline, and the tags inside them.

use std::io::Read;
use std::path::Path;

use nextscale_files::bounded;

use super::exif;
use super::ffmpeg::{video_info, video_tags};
use super::gif::comments;
use super::image::{PIPELINE_KEY, png_texts};
use super::read::read_image;
use crate::error::PipelineError;

/// A kind of file that can carry a pipeline, recognised by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    Png,
    /// JPEG or WebP.
    Exif,
    Gif,
    Video,
}

impl Carrier {
    fn of(start: &[u8]) -> Option<Self> {
        match start {
            [0x89, b'P', b'N', b'G', ..] => Some(Self::Png),
            [b'G', b'I', b'F', b'8', ..] => Some(Self::Gif),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Exif),
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'W',
                b'E',
                b'B',
                b'P',
                ..,
            ] => Some(Self::Exif),
            [0x1a, 0x45, 0xdf, 0xa3, ..] => Some(Self::Video), // Matroska and WebM
            _ if start.get(4..8) == Some(b"ftyp") => Some(Self::Video), // MP4 and MOV
            _ => None,
        }
    }
}

/// The kind of a file; none if it cannot carry a pipeline.
pub(crate) fn carrier(path: &Path) -> Result<Option<Carrier>, PipelineError> {
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(PipelineError::io("read", path))?;
    let read = file.take(16).read_to_end(&mut start);
    read.map_err(PipelineError::io("read", path))?;
    Ok(Carrier::of(&start))
}

/// Width and height in pixels of an image, which is read as a whole, or of the frames of a video.
///
/// # Errors
/// A file that cannot be read as one.
pub fn size(path: &Path) -> Result<(u32, u32), PipelineError> {
    if carrier(path)? == Some(Carrier::Video) {
        let info = video_info(path)?;
        let sides = u32::try_from(info.width)
            .ok()
            .zip(u32::try_from(info.height).ok());
        let wrong = || PipelineError::content(path, "is not a readable video", None);
        return sides.ok_or_else(wrong);
    }
    Ok(read_image(path)?.dimensions())
}

/// All tags of an image or a video: names and texts, in file order.
///
/// # Errors
/// A file of another kind, or a truncated one.
pub fn tags(path: &Path) -> Result<Vec<(String, String)>, PipelineError> {
    match carrier(path)? {
        Some(Carrier::Png) => png_texts(path, &read(path)?),
        Some(Carrier::Exif) => Ok(exif::read(&read(path)?, PIPELINE_KEY)),
        Some(Carrier::Gif) => comments(path, &read(path)?),
        Some(Carrier::Video) => video_tags(path),
        None => Err(PipelineError::content(
            path,
            "is not a readable image or video",
            None,
        )),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PipelineError> {
    bounded::read(path, bounded::MOST_IMAGE).map_err(PipelineError::io("read", path))
}
