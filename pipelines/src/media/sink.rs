//! Where the frames of a video go: a video file, an animated GIF, a folder of pictures, or one picture.

use std::path::{Path, PathBuf};

use image::{ImageFormat, RgbImage};
use tempfile::TempDir;

use super::frame_sink::{CodecChoice, Settings, Sink};
use super::gif::Gif;
use super::video;
use nextscale_files::atomic_file;

use crate::error::PipelineError;
use crate::media::image::encode_png;

/// The form of a result, by the name of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A video of this ending.
    Video(&'static str),
    /// An animated GIF.
    Gif,
    /// A single picture.
    Picture(ImageFormat),
    /// A folder with a PNG for each frame.
    Folder,
}

/// Endings of videos.
const VIDEOS: [&str; 5] = ["mp4", "m4v", "mov", "mkv", "webm"];

impl Form {
    /// The form of a file of this name; none for an ending that nothing is written for.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        if let Some(video) = VIDEOS.into_iter().find(|video| *video == ending) {
            return Some(Self::Video(video));
        }
        match ending.as_str() {
            "gif" => Some(Self::Gif),
            "png" => Some(Self::Picture(ImageFormat::Png)),
            "jpg" | "jpeg" => Some(Self::Picture(ImageFormat::Jpeg)),
            "webp" => Some(Self::Picture(ImageFormat::WebP)),
            _ => None,
        }
    }

    /// All that can be written, in words.
    pub(crate) const KNOWN: &str = ".mp4, .mov, .mkv, .webm and .gif are written, a name that ends with / as a folder of frames, and .png, .jpg and .webp for one frame";

    /// Refuses what this program cannot encode; the error is a message and a hint.
    pub(crate) fn check(
        self,
        codec: Option<CodecChoice>,
        quality: Option<u32>,
    ) -> Result<(), (&'static str, String, String)> {
        match self {
            Self::Video(ending) => video::check(ending, codec, quality),
            _ if codec.is_some() => Err((
                "codec",
                "only videos have a codec".into(),
                "leave it out, or write a .mp4".into(),
            )),
            _ if quality.is_some() => Err((
                "quality",
                "only videos have a quality".into(),
                "leave it out, or write a .mp4".into(),
            )),
            _ => Ok(()),
        }
    }

    /// Starts to write frames of a size.
    pub(crate) fn open(
        self,
        path: &Path,
        settings: Settings,
        size: [u32; 2],
    ) -> Result<Box<dyn Sink>, PipelineError> {
        Ok(match self {
            Self::Video(ending) => video::open(path, ending, settings, size)?,
            Self::Gif => Box::new(Gif::create(path, &settings, size)?),
            Self::Picture(format) => Box::new(Single {
                path: path.to_owned(),
                format,
                tags: settings.tags,
                image: None,
            }),
            Self::Folder => Box::new(Folder::create(path, settings.tags)?),
        })
    }
}

/// One picture.
struct Single {
    path: PathBuf,
    format: ImageFormat,
    tags: Vec<(&'static str, String)>,
    image: Option<RgbImage>,
}

impl Sink for Single {
    fn write(&mut self, frame: &RgbImage) -> Result<(), PipelineError> {
        match self.image.replace(frame.clone()) {
            None => Ok(()),
            Some(_) => Err(PipelineError::refused_with(
                format!(
                    "`{}` holds one frame, and there are more",
                    self.path.display()
                ),
                "write a video, a .gif or a folder of frames, or ask for a picture: --seconds 0",
            )),
        }
    }

    fn finish(self: Box<Self>) -> Result<PathBuf, PipelineError> {
        let Some(image) = &self.image else {
            return Err(PipelineError::refused("a video without frames"));
        };
        let bytes = match self.format {
            ImageFormat::Png => encode_png(image, &self.tags),
            format => {
                let mut bytes = std::io::Cursor::new(vec![]);
                let written = image.write_to(&mut bytes, format);
                written
                    .map(|()| bytes.into_inner())
                    .map_err(|e| e.to_string())
            }
        };
        let bytes = bytes.map_err(PipelineError::refused)?;
        atomic_file::write(&self.path, &bytes).map_err(PipelineError::io("write", &self.path))?;
        Ok(self.path)
    }
}

/// A picture for every frame, in a hidden folder that takes its name when all are there. The first carries the tags.
struct Folder {
    path: PathBuf,
    part: TempDir,
    tags: Vec<(&'static str, String)>,
    frames: usize,
}

impl Folder {
    fn create(path: &Path, tags: Vec<(&'static str, String)>) -> Result<Self, PipelineError> {
        let parent = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(PipelineError::io("make", parent))?;
        let part = tempfile::Builder::new()
            .prefix(".nextscale-")
            .suffix(".part")
            .tempdir_in(atomic_file::folder_of(path));
        Ok(Self {
            path: path.to_owned(),
            part: part.map_err(PipelineError::io("make", path))?,
            tags,
            frames: 0,
        })
    }
}

impl Sink for Folder {
    fn write(&mut self, frame: &RgbImage) -> Result<(), PipelineError> {
        let tags = if self.frames == 0 {
            &self.tags[..]
        } else {
            &[]
        };
        let bytes = encode_png(frame, tags).map_err(PipelineError::refused)?;
        let path = self.part.path().join(format!("{:05}.png", self.frames));
        self.frames += 1;
        std::fs::write(&path, bytes).map_err(PipelineError::io("write", &path))
    }

    fn finish(self: Box<Self>) -> Result<PathBuf, PipelineError> {
        let Self { path, part, .. } = *self;
        let whole = || -> std::io::Result<()> {
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                std::fs::set_permissions(part.path(), std::fs::Permissions::from_mode(0o755))?;
            }
            // An empty folder of that name makes room.
            let _ = std::fs::remove_dir(&path);
            std::fs::rename(part.path(), &path)
        };
        whole().map_err(PipelineError::io("write", &path))?;
        // It has its name now: there is nothing to remove.
        let _ = part.keep();
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::tags;

    fn settings() -> Settings {
        Settings {
            fps: 16,
            codec: None,
            quality: None,
            tags: vec![
                ("prompt", "a cat".into()),
                (crate::media::image::PIPELINE_KEY, "a: b\n".repeat(99)),
            ],
        }
    }

    fn frame(i: u8) -> RgbImage {
        RgbImage::from_pixel(8, 6, image::Rgb([10 * i, 100, 200]))
    }

    #[test]
    fn a_gif_carries_its_tags_and_plays_at_its_rate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gif");
        let mut sink = Form::Gif.open(&path, settings(), [8, 6]).unwrap();
        for i in 0..17 {
            sink.write(&frame(i)).unwrap();
        }
        assert!(!path.exists());
        sink.finish().unwrap();
        let found = tags(&path).unwrap();
        assert_eq!(found[0], ("prompt".into(), "a cat".into()));
        assert_eq!(
            found[1],
            (
                crate::media::image::PIPELINE_KEY.into(),
                "a: b\n".repeat(99)
            )
        );
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
        let mut sink = Form::Folder.open(&path, settings(), [8, 6]).unwrap();
        sink.write(&frame(1)).unwrap();
        assert!(!path.exists());
        drop(sink);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
        let mut sink = Form::Folder.open(&path, settings(), [8, 6]).unwrap();
        (0..3).for_each(|i| sink.write(&frame(i)).unwrap());
        sink.finish().unwrap();
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 3);
        assert_eq!(tags(&path.join("00000.png")).unwrap().len(), 2);
    }

    #[test]
    fn forms_by_name() {
        let of = |name: &str| Form::of(Path::new(name));
        assert_eq!(of("a.MP4"), Some(Form::Video("mp4")));
        assert_eq!(of("a.gif"), Some(Form::Gif));
        assert_eq!(of("a.jpeg"), Some(Form::Picture(ImageFormat::Jpeg)));
        assert_eq!((of("a.avi"), of("a")), (None, None));
    }
}
