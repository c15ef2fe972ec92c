//! Where the frames of a video go: a video file, an animated GIF, a folder of images, or one image.

use std::path::{Path, PathBuf};

use image::{ImageFormat, RgbImage};

use nextscale_files::atomic_file::{self, HiddenFolder};
use nextscale_models::generator::Clip;
use nextscale_video::FrameRate;

use super::encode::{encode, format_of};
use super::ffmpeg;
use super::frame_sink::{CodecChoice, FrameSink, Unsupported, WriterSettings};
use super::gif::Gif;
use super::image::encode_png;
use crate::error::PipelineError;

/// The format of a video output, chosen by its file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputFormat {
    /// A video with this extension.
    Video(&'static str),
    /// An animated GIF.
    Gif,
    /// A single image.
    Image(ImageFormat),
    /// A folder with one PNG per frame.
    Folder,
}

/// Extensions of videos.
const VIDEOS: [&str; 5] = ["mp4", "m4v", "mov", "mkv", "webm"];

impl OutputFormat {
    /// All formats, in words.
    const KNOWN: &str = "use .mp4, .mov, .mkv, .webm or .gif, a name that ends with / for a folder of frames, or .png, .jpg or .webp for one frame";

    /// The format of a file with this name.
    pub(crate) fn of(path: &Path) -> Result<Self, Unsupported> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let extension = extension.unwrap_or_default().to_ascii_lowercase();
        if let Some(video) = VIDEOS.into_iter().find(|video| *video == extension) {
            return Ok(Self::Video(video));
        }
        if extension == "gif" {
            return Ok(Self::Gif);
        }
        format_of(path).map(Self::Image).ok_or_else(|| {
            let has = match path.extension() {
                Some(_) => "an unknown extension",
                None => "no extension",
            };
            let message = format!("`{}` has {has}", path.display());
            Unsupported::new(None, message, Self::KNOWN)
        })
    }

    /// Refuses what this program cannot encode.
    pub(crate) fn check(
        self,
        codec: Option<CodecChoice>,
        quality: Option<u32>,
    ) -> Result<(), Unsupported> {
        let only_videos = |key| {
            let message = format!("only videos have a {key}");
            let hint = "leave it out, or write a .mp4";
            Err(Unsupported::new(Some(key), message, hint))
        };
        match self {
            Self::Video(extension) => ffmpeg::check(extension, codec, quality),
            _ if codec.is_some() => only_videos("codec"),
            _ if quality.is_some() => only_videos("quality"),
            _ => Ok(()),
        }
    }

    /// Opens a sink for frames of `size`, width and height.
    pub(crate) fn open(
        self,
        path: &Path,
        settings: WriterSettings,
        size: [u32; 2],
    ) -> Result<Box<dyn FrameSink>, PipelineError> {
        Ok(match self {
            Self::Video(extension) => ffmpeg::open(path, extension, settings, size)?,
            Self::Gif => Box::new(Gif::create(path, &settings, size)?),
            Self::Image(format) => Box::new(Single {
                path: path.to_owned(),
                format,
                tags: settings.tags,
                image: None,
            }),
            Self::Folder => Box::new(Folder::create(path, settings.tags)?),
        })
    }
}

/// Writes a clip to a file. The extension chooses the format: `.mp4` (H.264), `.mov`, `.mkv`, `.webm` (VP9) or `.gif`.
///
/// # Errors
/// An unknown extension, a clip without frames, a file that cannot be written.
pub fn save_clip(path: impl AsRef<Path>, clip: &Clip) -> Result<(), PipelineError> {
    let path = path.as_ref();
    let refused = |e: Unsupported| PipelineError::refused_with(e.message, e.hint);
    let format = OutputFormat::of(path).map_err(refused)?;
    format.check(None, None).map_err(refused)?;
    let Some(first) = clip.frames.first() else {
        return Err(PipelineError::refused("a video without frames"));
    };
    let settings = WriterSettings::new(FrameRate::whole(clip.fps));
    let mut sink = format.open(path, settings, first.dimensions().into())?;
    clip.frames.iter().try_for_each(|frame| sink.write(frame))?;
    sink.finish().map(drop)
}

/// One image.
struct Single {
    path: PathBuf,
    format: ImageFormat,
    tags: Vec<(&'static str, String)>,
    image: Option<RgbImage>,
}

impl FrameSink for Single {
    fn write(&mut self, frame: &RgbImage) -> Result<(), PipelineError> {
        if self.image.replace(frame.clone()).is_none() {
            return Ok(());
        }
        let path = self.path.display();
        Err(PipelineError::refused_with(
            format!("`{path}` holds one frame, and there are more"),
            "write a video, a .gif or a folder of frames, or ask for an image: --seconds 0",
        ))
    }

    fn finish(self: Box<Self>) -> Result<PathBuf, PipelineError> {
        let Some(image) = &self.image else {
            return Err(PipelineError::refused("a video without frames"));
        };
        let bytes = encode(image, self.format, &self.tags)?;
        atomic_file::write(&self.path, &bytes).map_err(PipelineError::io("write", &self.path))?;
        Ok(self.path)
    }
}

/// One PNG per frame, in a hidden folder that is renamed when all are written. The first carries the tags.
struct Folder {
    path: PathBuf,
    part: HiddenFolder,
    tags: Vec<(&'static str, String)>,
    frames: usize,
}

impl Folder {
    fn create(path: &Path, tags: Vec<(&'static str, String)>) -> Result<Self, PipelineError> {
        let parent = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(PipelineError::io("make", parent))?;
        let part = HiddenFolder::new_in(atomic_file::folder_of(path));
        Ok(Self {
            path: path.to_owned(),
            part: part.map_err(PipelineError::io("make", path))?,
            tags,
            frames: 0,
        })
    }
}

impl FrameSink for Folder {
    fn write(&mut self, frame: &RgbImage) -> Result<(), PipelineError> {
        let tags = if self.frames == 0 {
            &self.tags[..]
        } else {
            &[]
        };
        let bytes = encode_png(frame, tags);
        let bytes = bytes.map_err(|e| PipelineError::refused(e.to_string()))?;
        let path = self.part.path().join(format!("{:05}.png", self.frames));
        self.frames += 1;
        std::fs::write(&path, bytes).map_err(PipelineError::io("write", &path))
    }

    fn finish(self: Box<Self>) -> Result<PathBuf, PipelineError> {
        let Self { path, part, .. } = *self;
        part.persist(&path)
            .map_err(PipelineError::io("write", &path))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::carrier::tags;
    use crate::media::image::PIPELINE_KEY;

    fn settings() -> WriterSettings {
        WriterSettings {
            tags: vec![
                ("prompt", "a cat".into()),
                (PIPELINE_KEY, "a: b\n".repeat(99)),
            ],
            ..WriterSettings::new(FrameRate::whole(16))
        }
    }

    fn frame(i: u8) -> RgbImage {
        RgbImage::from_pixel(8, 6, image::Rgb([10 * i, 100, 200]))
    }

    #[test]
    fn a_gif_carries_its_tags_and_plays_at_its_rate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gif");
        let mut sink = OutputFormat::Gif.open(&path, settings(), [8, 6]).unwrap();
        for i in 0..17 {
            sink.write(&frame(i)).unwrap();
        }
        assert!(!path.exists());
        sink.finish().unwrap();
        let found = tags(&path).unwrap();
        assert_eq!(found[0], ("prompt".into(), "a cat".into()));
        assert_eq!(found[1], (PIPELINE_KEY.into(), "a: b\n".repeat(99)));
        let mut decoder = ::gif::DecodeOptions::new();
        decoder.set_color_output(::gif::ColorOutput::RGBA);
        let mut reader = decoder
            .read_info(std::fs::File::open(&path).unwrap())
            .unwrap();
        let (mut delays, mut colours) = (0, vec![]);
        while let Some(frame) = reader.read_next_frame().unwrap() {
            delays += usize::from(frame.delay);
            colours.push(frame.buffer[0]);
        }
        assert_eq!(delays, 106, "17 frames at 16 a second");
        assert_eq!(colours.len(), 17);
        assert!(colours[16].abs_diff(160) < 3, "{colours:?}");
    }

    #[test]
    fn a_folder_is_whole_or_not_there() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("frames");
        let open = || {
            OutputFormat::Folder
                .open(&path, settings(), [8, 6])
                .unwrap()
        };
        let mut sink = open();
        sink.write(&frame(1)).unwrap();
        assert!(!path.exists());
        drop(sink);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
        let mut sink = open();
        (0..3).for_each(|i| sink.write(&frame(i)).unwrap());
        sink.finish().unwrap();
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 3);
        assert_eq!(tags(&path.join("00000.png")).unwrap().len(), 2);
    }

    #[test]
    fn forms_by_name() {
        let of = |name: &str| OutputFormat::of(Path::new(name)).ok();
        assert_eq!(of("a.MP4"), Some(OutputFormat::Video("mp4")));
        assert_eq!(of("a.gif"), Some(OutputFormat::Gif));
        assert_eq!(of("a.jpeg"), Some(OutputFormat::Image(ImageFormat::Jpeg)));
        assert_eq!((of("a.avi"), of("a")), (None, None));
    }
}
