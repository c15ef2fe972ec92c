//! Videos through FFmpeg: written frame by frame, and the last frames of one read.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use ::image::RgbImage;
use nextscale_files::atomic_file;
use nextscale_video::mp4::{
    self, Codec, Container, MediaError, ReaderOptions, VideoReader, VideoWriter, WriterOptions,
};

use super::clip::{ClipRequest, VideoInfo};
use super::frame_sink::{CodecChoice, FrameSink, Unsupported, WriterSettings};
use crate::error::PipelineError;

impl From<MediaError> for PipelineError {
    fn from(error: MediaError) -> Self {
        let hint = match &error {
            MediaError::NoVideo { .. } => "give a file with a video stream",
            MediaError::Codec { what, .. } if what.starts_with("decoder") => {
                "convert it to another codec, or install an FFmpeg that has this one"
            }
            MediaError::Codec { .. } => "choose another one: --codec h264",
            MediaError::Read { .. } => "any video that FFmpeg decodes is accepted",
            _ => return Self::refused(error.to_string()),
        };
        Self::refused_with(error.to_string(), hint)
    }
}

impl From<CodecChoice> for Codec {
    fn from(choice: CodecChoice) -> Self {
        match choice {
            CodecChoice::H264 => Self::H264,
            CodecChoice::H265 => Self::H265,
            CodecChoice::Vp9 => Self::Vp9,
        }
    }
}

struct VideoFile {
    path: PathBuf,
    writer: VideoWriter,
}

impl FrameSink for VideoFile {
    fn write(&mut self, frame: &RgbImage) -> Result<(), PipelineError> {
        Ok(self.writer.write_rgb(frame.as_raw())?)
    }

    fn finish(self: Box<Self>) -> Result<PathBuf, PipelineError> {
        let Self { path, writer } = *self;
        writer.finish()?;
        Ok(path)
    }
}

fn container_and_codec(extension: &str, codec: Option<CodecChoice>) -> (Container, Codec) {
    let container = Container::of_extension(extension).unwrap_or(Container::Mp4);
    let codec = codec.map_or(container.default_codec(), Codec::from);
    (container, codec)
}

pub(super) fn check(
    extension: &str,
    codec: Option<CodecChoice>,
    quality: Option<u32>,
) -> Result<(), Unsupported> {
    let (container, codec) = container_and_codec(extension, codec);
    let name = codec.name();
    if !container.holds(codec) {
        let message = format!("a .{extension} file does not hold {name}");
        let default = container.default_codec().name();
        let hint = format!("leave it out: .{extension} holds {default}");
        return Err(Unsupported::new(Some("codec"), message, hint));
    }
    if !codec.is_available() {
        let message = format!("this FFmpeg has no encoder for {name}");
        let hint = "install an FFmpeg that has it, or choose another: --codec";
        return Err(Unsupported::new(Some("codec"), message, hint));
    }
    let worst = codec.worst_quality();
    if let Some(quality) = quality.filter(|&quality| quality > worst) {
        let message = format!(
            "the quality of {name} ranges from 0, the best, to {worst}, but it is {quality}"
        );
        let good = codec.default_quality();
        let hint = format!("{good} is hard to tell from the original");
        return Err(Unsupported::new(Some("quality"), message, hint));
    }
    Ok(())
}

pub(super) fn open(
    path: &Path,
    extension: &str,
    settings: WriterSettings,
    [width, height]: [u32; 2],
) -> Result<Box<dyn FrameSink>, PipelineError> {
    let (container, codec) = container_and_codec(extension, settings.codec);
    let tags = settings.tags.into_iter();
    let options = WriterOptions {
        width: width as usize,
        height: height as usize,
        rate: settings.rate,
        container,
        codec,
        quality: settings.quality.unwrap_or(codec.default_quality()),
        tags: tags.map(|(key, text)| (key.to_owned(), text)).collect(),
    };
    let target = atomic_file::target(path);
    atomic_file::sweep(atomic_file::folder_of(&target));
    let (path, writer) = (path.to_owned(), VideoWriter::create(&target, options)?);
    Ok(Box::new(VideoFile { path, writer }))
}

/// What the header of a video says.
pub(crate) fn video_info(path: &Path) -> Result<VideoInfo, PipelineError> {
    std::fs::File::open(path).map_err(PipelineError::io("read", path))?;
    let reader = VideoReader::open(path, ReaderOptions::default())?;
    let info = reader.info();
    Ok(VideoInfo {
        width: info.width,
        height: info.height,
        seconds: info.seconds,
    })
}

/// How much earlier than needed reading starts, in seconds: enough for rounded headers, and if that is not enough, for a
/// file whose sound is longer than its video.
const MARGINS: [f64; 2] = [0.25, 30.0];

/// The last frames of a video at the requested rate and size. Reading starts shortly before them, or at the beginning if
/// the header does not give the length. `notice` gets what is odd about the file.
pub(crate) fn last_frames(
    request: &ClipRequest,
    notice: impl FnMut(String),
) -> Result<Vec<RgbImage>, PipelineError> {
    let info = video_info(&request.path)?;
    request.check(info)?;
    let (mut found, mut notices) = (VecDeque::new(), vec![]);
    for margin in MARGINS {
        let span = request.frames as f64 / request.fps as f64 + margin;
        let start = info
            .seconds
            .map_or(0.0, |seconds| (seconds - span).max(0.0));
        (found, notices) = read_from(start, request)?;
        if found.len() == request.frames || start == 0.0 {
            break;
        }
    }
    notices.into_iter().for_each(notice);
    match found.len() {
        n if n == request.frames => Ok(found.into()),
        1 => Err(request.too_short("1 frame")),
        n => Err(request.too_short(&format!("{n} frames at that rate"))),
    }
}

/// The first frames of a video, at most `count`, upright and of one size, at `fps` frames per second.
pub(super) fn first_frames(
    path: &Path,
    count: usize,
    fps: f64,
) -> Result<Vec<RgbImage>, PipelineError> {
    std::fs::File::open(path).map_err(PipelineError::io("read", path))?;
    let options = ReaderOptions {
        fps: Some(fps),
        ..ReaderOptions::default()
    };
    let reader = VideoReader::open(path, options)?;
    let frames = reader.take(count).map(|frame| {
        let ([width, height], rgb) = frame?;
        let image = RgbImage::from_raw(width as u32, height as u32, rgb);
        Ok(image.expect("a frame has the bytes of its size"))
    });
    frames.collect()
}

/// Up to the requested number of frames from the end of a video, decoded from `start` (seconds) on, and the reader's notices.
fn read_from(
    start: f64,
    request: &ClipRequest,
) -> Result<(VecDeque<RgbImage>, Vec<String>), PipelineError> {
    let options = ReaderOptions {
        size: Some(request.size),
        fps: Some(request.fps as f64),
        start,
    };
    let mut kept = VecDeque::with_capacity(request.frames + 1);
    let mut reader = VideoReader::open(&request.path, options)?;
    for frame in reader.by_ref() {
        let ([w, h], bytes) = frame?;
        let image = RgbImage::from_raw(w as u32, h as u32, bytes);
        kept.push_back(image.ok_or_else(|| request.too_short("broken frames"))?);
        if kept.len() > request.frames {
            kept.pop_front();
        }
    }
    Ok((kept, reader.notices()))
}

pub(super) fn video_tags(path: &Path) -> Result<Vec<(String, String)>, PipelineError> {
    Ok(mp4::tags(path)?)
}
