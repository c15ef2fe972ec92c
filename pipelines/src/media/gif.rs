//! Animated GIFs: written frame by frame, with the pipeline in comments.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use gif::{AnyExtension, Encoder, Extension, Frame, Repeat};
use image::RgbImage;
use tempfile::NamedTempFile;

use super::frame_sink::{Settings, Sink};
use nextscale_models::ModelError;

use nextscale_files::atomic_file;

use crate::error::PipelineError;

/// Between the name and the text of a comment.
const SEPARATOR: &str = ":\n";
/// Pixels that the search for colours looks at: one in so many.
const SPEED: i32 = 10;

/// A GIF in the making: a hidden file that takes its name when it is whole.
pub(super) struct Gif {
    path: PathBuf,
    fps: usize,
    frames: usize,
    size: [u32; 2],
    encoder: Encoder<BufWriter<NamedTempFile>>,
}

impl Gif {
    pub(super) fn create(
        path: &Path,
        settings: &Settings,
        size: [u32; 2],
    ) -> Result<Self, PipelineError> {
        let [Ok(w), Ok(h)] = size.map(u16::try_from) else {
            let message = format!("a GIF has sides up to 65535, not {}x{}", size[0], size[1]);
            return Err(PipelineError::refused(message));
        };
        let file = atomic_file::hidden_in(atomic_file::folder_of(path));
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
            fps: settings.fps,
            frames: 0,
            size,
            encoder: write().map_err(|e| failed(path, e))?,
        })
    }

    /// Hundredths of a second that frame `i` is shown: rounded so that the whole has the right length.
    fn delay(&self, i: usize) -> u16 {
        let at = |i: usize| (100.0 * i as f64 / self.fps as f64).round() as u16;
        at(i + 1).wrapping_sub(at(i)).max(1)
    }
}

fn failed(path: &Path, error: gif::EncodingError) -> PipelineError {
    match error {
        gif::EncodingError::Io(error) => PipelineError::io("write", path)(error),
        other => PipelineError::refused(format!("cannot write `{}`: {other}", path.display())),
    }
}

impl Sink for Gif {
    fn write(&mut self, picture: &RgbImage) -> Result<(), PipelineError> {
        let [w, h] = self.size.map(|side| side as u16);
        let mut frame = Frame::from_rgb_speed(w, h, picture.as_raw(), SPEED);
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
            atomic_file::make_readable(file.path())?;
            file.persist(&path).map(drop).map_err(|e| e.error)
        };
        whole().map_err(PipelineError::io("write", &path))?;
        Ok(path)
    }
}

/// The comments of a GIF, as [`Gif`] writes them; others have the name `comment`.
pub(super) fn comments(path: &Path) -> Result<Vec<(String, String)>, PipelineError> {
    let bytes = std::fs::read(path).map_err(PipelineError::io("read", path))?;
    let found = scan(&bytes).ok_or_else(|| {
        PipelineError::Model(ModelError::Content {
            path: path.to_owned(),
            message: "is a GIF that is cut off".into(),
            hint: None,
        })
    })?;
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

/// The comments in front of the first frame (GIF89a, sections 18 to 24); none for a file that ends too early.
fn scan(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let flags = *bytes.get(10)?;
    let table = if flags & 0x80 != 0 {
        3 << ((flags & 7) + 1)
    } else {
        0
    };
    let (mut at, mut found) = (13 + table, vec![]);
    while *bytes.get(at)? == 0x21 {
        let label = *bytes.get(at + 1)?;
        at += 2;
        let mut text = vec![];
        loop {
            let len = usize::from(*bytes.get(at)?);
            let block = bytes.get(at + 1..at + 1 + len)?;
            at += 1 + len;
            if len == 0 {
                break;
            }
            text.extend_from_slice(block);
        }
        if label == Extension::Comment as u8 {
            found.push(text);
        }
    }
    Some(found)
}
