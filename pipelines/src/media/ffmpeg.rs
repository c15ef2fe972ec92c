//! Video files through FFmpeg.

use std::path::{Path, PathBuf};

use image::RgbImage;
use nextscale_video::mp4::{Codec, Container, VideoWriter, WriterOptions};

use nextscale_files::atomic_file;

use super::frame_sink::{CodecChoice, Settings, Sink};
use crate::error::PipelineError;

impl From<CodecChoice> for Codec {
    fn from(choice: CodecChoice) -> Self {
        match choice {
            CodecChoice::H264 => Self::H264,
            CodecChoice::H265 => Self::H265,
            CodecChoice::Vp9 => Self::Vp9,
        }
    }
}

struct File(PathBuf, VideoWriter);

impl Sink for File {
    fn write(&mut self, frame: &RgbImage) -> Result<(), PipelineError> {
        Ok(self.1.write_rgb(frame.as_raw())?)
    }

    fn finish(self: Box<Self>) -> Result<PathBuf, PipelineError> {
        let Self(path, writer) = *self;
        writer.finish()?;
        atomic_file::make_readable(&path).map_err(PipelineError::io("write", &path))?;
        Ok(path)
    }
}

fn chosen(ending: &str, codec: Option<CodecChoice>) -> (Container, Codec) {
    let container = Container::of_extension(ending).unwrap_or(Container::Mp4);
    (
        container,
        codec.map_or(container.default_codec(), Codec::from),
    )
}

pub(super) fn check(
    ending: &str,
    codec: Option<CodecChoice>,
    quality: Option<u32>,
) -> Result<(), (&'static str, String, String)> {
    let (container, codec) = chosen(ending, codec);
    let name = codec.name();
    if !container.holds(codec) {
        let hint = format!(
            "leave it out: .{ending} holds {}",
            container.default_codec().name()
        );
        return Err((
            "codec",
            format!("a .{ending} file does not hold {name}"),
            hint,
        ));
    }
    if !codec.is_available() {
        let hint = "install an FFmpeg that has it, or choose another: --codec".to_owned();
        return Err((
            "codec",
            format!("this FFmpeg has no encoder of {name}"),
            hint,
        ));
    }
    let worst = codec.worst_quality();
    match quality {
        Some(quality) if quality > worst => Err((
            "quality",
            format!("the quality of {name} goes from 0, the best, to {worst}, but it is {quality}"),
            format!(
                "{} is hard to tell from the original",
                codec.default_quality()
            ),
        )),
        _ => Ok(()),
    }
}

pub(super) fn open(
    path: &Path,
    ending: &str,
    settings: Settings,
    [width, height]: [u32; 2],
) -> Result<Box<dyn Sink>, PipelineError> {
    let (container, codec) = chosen(ending, settings.codec);
    let tags = settings.tags.into_iter();
    let options = WriterOptions {
        width: width as usize,
        height: height as usize,
        fps: settings.fps as u32,
        container,
        codec,
        quality: settings.quality.unwrap_or(codec.default_quality()),
        tags: tags.map(|(key, text)| (key.to_owned(), text)).collect(),
    };
    let writer = VideoWriter::create(path, options)?;
    Ok(Box::new(File(path.to_owned(), writer)))
}
