//! Animated GIFs: written frame by frame, with the pipeline in their comments.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use gif::{AnyExtension, Encoder, Extension, Frame, Repeat};
use image::RgbImage;
use tempfile::NamedTempFile;

use nextscale_files::atomic_file;
use nextscale_video::FrameRate;

use super::frame_sink::{FrameSink, WriterSettings};
use crate::error::PipelineError;

/// Between the name and the text of a comment.
const SEPARATOR: &str = ":\n";
/// The palette search looks at one pixel in this many.
const SPEED: i32 = 10;

/// A GIF being written: a hidden file that is renamed when it is complete.
pub(super) struct Gif {
    path: PathBuf,
    rate: FrameRate,
    frames: usize,
    size: [u32; 2],
    encoder: Encoder<BufWriter<NamedTempFile>>,
}

impl Gif {
    pub(super) fn create(
        path: &Path,
        settings: &WriterSettings,
        size: [u32; 2],
    ) -> Result<Self, PipelineError> {
        let [Ok(w), Ok(h)] = size.map(u16::try_from) else {
            let message = format!("a GIF has sides up to 65535, not {}x{}", size[0], size[1]);
            return Err(PipelineError::refused(message));
        };
        let file = atomic_file::hidden_for(path);
        let file = file.map_err(PipelineError::io("write", path))?;
        let write = || -> Result<_, gif::EncodingError> {
            let mut encoder = Encoder::new(BufWriter::new(file), w, h, &[])?;
            encoder.set_repeat(Repeat::Infinite)?;
            for (key, text) in &settings.tags {
                let text = format!("{key}{SEPARATOR}{text}");
                let parts: Vec<&[u8]> = text.as_bytes().chunks(255).collect();
                encoder.write_raw_extension(AnyExtension(Extension::Comment as u8), &parts)?;
            }
            Ok(encoder)
        };
        Ok(Self {
            path: path.to_owned(),
            rate: settings.rate,
            frames: 0,
            size,
            encoder: write().map_err(|e| failed(path, e))?,
        })
    }

    /// Display time of frame `i` in hundredths of a second, rounded so that the total length is right.
    fn delay(&self, i: usize) -> u16 {
        let at = |i: usize| (100.0 * i as f64 / self.rate.per_second()).round() as u16;
        at(i + 1).wrapping_sub(at(i)).max(1)
    }
}

fn failed(path: &Path, error: gif::EncodingError) -> PipelineError {
    match error {
        gif::EncodingError::Io(error) => PipelineError::io("write", path)(error),
        other => PipelineError::refused(format!("cannot write `{}`: {other}", path.display())),
    }
}

impl FrameSink for Gif {
    fn write(&mut self, image: &RgbImage) -> Result<(), PipelineError> {
        let [w, h] = self.size.map(|side| side as u16);
        let mut frame = Frame::from_rgb_speed(w, h, image.as_raw(), SPEED);
        frame.delay = self.delay(self.frames);
        self.frames += 1;
        let written = self.encoder.write_frame(&frame);
        written.map_err(|e| failed(&self.path, e))
    }

    fn finish(self: Box<Self>) -> Result<PathBuf, PipelineError> {
        let Self { path, encoder, .. } = *self;
        let file = encoder.into_inner().map_err(|e| failed(&path, e))?;
        let whole = || -> std::io::Result<()> {
            let file = file.into_inner().map_err(|e| e.into_error())?;
            atomic_file::persist(file, &path)
        };
        whole().map_err(PipelineError::io("write", &path))?;
        Ok(path)
    }
}

/// The comments of a GIF as [`Gif`] writes them; any other is named `comment`.
pub(super) fn comments(path: &Path, bytes: &[u8]) -> Result<Vec<(String, String)>, PipelineError> {
    let found = scan(bytes);
    let found = found.ok_or_else(|| PipelineError::content(path, "is a truncated GIF", None))?;
    let named = found.into_iter().map(|text| {
        let text = String::from_utf8_lossy(&text).into_owned();
        match text.split_once(SEPARATOR) {
            Some((key, rest)) if !key.contains(char::is_whitespace) => {
                (key.to_owned(), rest.to_owned())
            }
            _ => ("comment".to_owned(), text),
        }
    });
    Ok(named.collect())
}

/// All comments up to the trailer (GIF89a, sections 18 to 27); none for a file that ends before its first frame.
fn scan(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut at = 13 + color_table(*bytes.get(10)?);
    let (mut found, mut has_frame) = (vec![], false);
    loop {
        let block = match bytes.get(at) {
            Some(0x21) => extension(bytes, at, &mut found),
            Some(0x2c) => {
                has_frame = true;
                frame(bytes, at)
            }
            Some(_) => break,
            None => None,
        };
        match block {
            Some(end) => at = end,
            // What a file has up to where it was cut off counts.
            None if has_frame => break,
            None => return None,
        }
    }
    Some(found)
}

/// Bytes of the colour table that these flags announce.
fn color_table(flags: u8) -> usize {
    match flags & 0x80 {
        0 => 0,
        _ => 3 << ((flags & 7) + 1),
    }
}

/// Where the extension at `at` ends, whose text is kept if it is a comment.
fn extension(bytes: &[u8], at: usize, found: &mut Vec<Vec<u8>>) -> Option<usize> {
    let is_comment = *bytes.get(at + 1)? == Extension::Comment as u8;
    let mut text = vec![];
    let end = sub_blocks(bytes, at + 2, |block| {
        if is_comment {
            text.extend_from_slice(block);
        }
    })?;
    if is_comment {
        found.push(text);
    }
    Some(end)
}

/// Where the frame at `at` ends: a header of ten bytes, its colour table, a byte and the pixels.
fn frame(bytes: &[u8], at: usize) -> Option<usize> {
    let pixels = at + 11 + color_table(*bytes.get(at + 9)?);
    sub_blocks(bytes, pixels, |_| ())
}

/// Where the chain of blocks at `at` ends.
fn sub_blocks(bytes: &[u8], mut at: usize, mut each: impl FnMut(&[u8])) -> Option<usize> {
    loop {
        let len = usize::from(*bytes.get(at)?);
        let block = bytes.get(at + 1..at + 1 + len)?;
        at += 1 + len;
        if len == 0 {
            return Some(at);
        }
        each(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A GIF of two frames with a comment before, between and after them.
    fn commented() -> Vec<u8> {
        let mut encoder = Encoder::new(vec![], 2, 2, &[0, 0, 0, 9, 9, 9]).unwrap();
        for text in ["one", "two"] {
            let comment = AnyExtension(Extension::Comment as u8);
            encoder
                .write_raw_extension(comment, &[text.as_bytes()])
                .unwrap();
            let frame = Frame::from_rgb(2, 2, &[7; 12]);
            encoder.write_frame(&frame).unwrap();
        }
        let mut bytes = encoder.into_inner().unwrap();
        assert_eq!(bytes.pop(), Some(0x3b));
        bytes.extend(b"\x21\xfe\x05three\x00\x3b\x21\xfe\x04late\x00");
        bytes
    }

    #[test]
    fn comments_are_found_up_to_the_trailer() {
        let bytes = commented();
        assert_eq!(scan(&bytes).unwrap(), [&b"one"[..], b"two", b"three"]);
        // Cut off in the last comment, and before the first frame.
        let cut = bytes.len() - 12;
        assert_eq!(scan(&bytes[..cut]).unwrap(), [&b"one"[..], b"two"]);
        assert_eq!(scan(&bytes[..22]), None);
    }
}
