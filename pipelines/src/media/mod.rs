//! Video files: where frames go, where they come from, and the tags inside. What needs FFmpeg is a sentence of refusal
//! in a program that was built without it.

mod frame_sink;
mod gif;
pub mod image;
mod sink;
#[cfg_attr(feature = "ffmpeg", path = "ffmpeg.rs")]
#[cfg_attr(not(feature = "ffmpeg"), path = "no_ffmpeg.rs")]
mod video;

use std::path::{Path, PathBuf};

use ::image::RgbImage;
use nextscale_models::ModelError;

use crate::error::PipelineError;

pub use frame_sink::CodecChoice;
pub(crate) use frame_sink::{Settings, Sink};
pub(crate) use sink::Form;

/// What kind of file its first bytes say it is, as far as it may carry a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    Png,
    Gif,
    Video,
}

impl Carrier {
    /// The kind of a file that begins with these bytes.
    pub(crate) fn of(start: &[u8]) -> Option<Self> {
        let iso = start.get(4..8) == Some(b"ftyp");
        match start {
            _ if crate::media::image::is_png(start) => Some(Self::Png),
            [b'G', b'I', b'F', b'8', ..] => Some(Self::Gif),
            [0x1a, 0x45, 0xdf, 0xa3, ..] => Some(Self::Video),
            _ if iso => Some(Self::Video),
            _ => None,
        }
    }
}

/// Everything that a PNG, a GIF or a video says about itself.
///
/// # Errors
/// A file of another kind, or one that is cut off.
pub fn tags(path: &Path) -> Result<Vec<(String, String)>, PipelineError> {
    match carrier(path)? {
        Some(Carrier::Png) => {
            let bytes = std::fs::read(path).map_err(PipelineError::io("read", path))?;
            crate::media::image::png_texts(path, &bytes)
        }
        Some(Carrier::Gif) => gif::comments(path),
        Some(Carrier::Video) => video_tags(path),
        None => Err(PipelineError::Model(ModelError::Content {
            path: path.to_owned(),
            message: "is not a readable PNG, GIF or video".into(),
            hint: None,
        })),
    }
}

/// The kind of a file.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn carrier(path: &Path) -> Result<Option<Carrier>, PipelineError> {
    use std::io::Read;
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(PipelineError::io("read", path))?;
    let read = file.take(16).read_to_end(&mut start);
    read.map_err(PipelineError::io("read", path))?;
    Ok(Carrier::of(&start))
}

/// How a given video is read.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "ffmpeg"), allow(dead_code))]
pub(crate) struct ClipRequest {
    pub(crate) path: PathBuf,
    /// Columns and rows.
    pub(crate) size: [usize; 2],
    pub(crate) fps: usize,
    /// How many frames are needed, from the end of the video.
    pub(crate) frames: usize,
}

/// What the check of a given video finds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VideoInfo {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// None where the file does not say.
    #[cfg_attr(not(feature = "ffmpeg"), allow(dead_code))]
    pub(crate) seconds: Option<f64>,
}

impl ClipRequest {
    /// Refuses a video that is too short, as far as its header tells.
    pub(crate) fn check(&self, info: VideoInfo) -> Result<(), PipelineError> {
        match info.seconds {
            // A frame less may be a matter of rounding; the frames themselves are counted when they are read.
            Some(seconds) if seconds * (self.fps as f64) + 1.0 < self.frames as f64 => {
                Err(self.short(&format!("{seconds:.2} s")))
            }
            _ => Ok(()),
        }
    }

    fn short(&self, has: &str) -> PipelineError {
        let needed = self.frames as f64 / self.fps as f64;
        PipelineError::Model(ModelError::Content {
            path: self.path.clone(),
            message: format!(
                "is too short: it has {has}, and the model goes on from {} frames, {needed:.2} s at its rate of {} a second",
                self.frames, self.fps
            ),
            hint: Some("give a longer video, or a picture to begin with: --image FILE".into()),
        })
    }
}

#[cfg(feature = "ffmpeg")]
mod ffmpeg {
    use std::collections::VecDeque;

    use nextscale_video::mp4::{self, MediaError, ReaderOptions, VideoReader};

    use super::*;

    impl From<MediaError> for PipelineError {
        fn from(error: MediaError) -> Self {
            let hint = match &error {
                MediaError::NoVideo { .. } => "give a file with moving pictures",
                MediaError::Codec { what, .. } if what.starts_with("decoder") => {
                    "bring it to another codec, or install an FFmpeg that has this one"
                }
                MediaError::Codec { .. } => "choose another one: --codec h264",
                MediaError::Read { .. } => "any video that FFmpeg decodes is read",
                _ => return Self::refused(error.to_string()),
            };
            Self::refused_with(error.to_string(), hint)
        }
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

    /// The last frames of a video, brought to the wished rate and size. The file is entered shortly before them: what
    /// lies in front is not read, unless the file does not say how long it is.
    pub(crate) fn last_frames(request: &ClipRequest) -> Result<Vec<RgbImage>, PipelineError> {
        let info = video_info(&request.path)?;
        request.check(info)?;
        let mut found = VecDeque::new();
        for earlier in EARLIER {
            let span = request.frames as f64 / request.fps as f64 + earlier;
            let start = info
                .seconds
                .map_or(0.0, |seconds| (seconds - span).max(0.0));
            found = read_from(start, request)?;
            if found.len() == request.frames || start == 0.0 {
                break;
            }
        }
        match found.len() {
            n if n == request.frames => Ok(found.into()),
            1 => Err(request.short("1 frame")),
            n => Err(request.short(&format!("{n} frames at that rate"))),
        }
    }

    /// How much earlier than needed a video is entered, seconds: enough for what headers round, and if that is not, for
    /// one whose sound goes on behind its pictures.
    const EARLIER: [f64; 2] = [0.25, 30.0];

    /// As many frames as are wished for, or less, from the end of a video that is read from `start` on.
    fn read_from(start: f64, request: &ClipRequest) -> Result<VecDeque<RgbImage>, PipelineError> {
        let options = ReaderOptions {
            size: Some(request.size),
            fps: Some(request.fps as f64),
            start,
        };
        let mut kept = VecDeque::with_capacity(request.frames + 1);
        for frame in VideoReader::open(&request.path, options)? {
            let ([w, h], bytes) = frame?;
            let picture = RgbImage::from_raw(w as u32, h as u32, bytes);
            kept.push_back(picture.ok_or_else(|| request.short("broken frames"))?);
            if kept.len() > request.frames {
                kept.pop_front();
            }
        }
        Ok(kept)
    }

    pub(super) fn video_tags(path: &Path) -> Result<Vec<(String, String)>, PipelineError> {
        Ok(mp4::tags(path)?)
    }
}

#[cfg(feature = "ffmpeg")]
use ffmpeg::video_tags;
#[cfg(feature = "ffmpeg")]
pub(crate) use ffmpeg::{last_frames, video_info};

#[cfg(not(feature = "ffmpeg"))]
mod without {
    use super::*;

    /// Why a file is not read or written.
    pub(crate) fn refuse(path: &Path, what: &str) -> PipelineError {
        PipelineError::Model(ModelError::Content {
            path: path.to_owned(),
            message: format!("cannot be {what}: this program was built without FFmpeg"),
            hint: Some("build it with its default features".into()),
        })
    }

    pub(crate) fn video_info(path: &Path) -> Result<VideoInfo, PipelineError> {
        Err(refuse(path, "read"))
    }

    pub(crate) fn last_frames(request: &ClipRequest) -> Result<Vec<RgbImage>, PipelineError> {
        Err(refuse(&request.path, "read"))
    }

    pub(super) fn video_tags(path: &Path) -> Result<Vec<(String, String)>, PipelineError> {
        Err(refuse(path, "read"))
    }
}

#[cfg(not(feature = "ffmpeg"))]
use without::video_tags;
#[cfg(not(feature = "ffmpeg"))]
pub(crate) use without::{last_frames, video_info};
