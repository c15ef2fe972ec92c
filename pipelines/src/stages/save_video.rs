//! `save-video`: frames to a video file, an animated GIF, a folder of images, or one image.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nextscale_video::FrameRate;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use nextscale_files::{atomic_file, path_text};

use super::file_names::{
    check_file, check_folder, check_replacing, check_unique, fill, is_folder, numbered, replaced,
};
use super::save::{output, preview};
use super::video::params::TextToVideoParams;
use crate::artifact::{Artifact, Frames, Kind, Sample};
use crate::error::PipelineError;
use crate::media::image::{PIPELINE_KEY, encode_png, parameters_text};
use crate::media::{CodecChoice, FrameSink, OutputFormat, WriterSettings};
use crate::setup::Setup;
use crate::stage::{Input, Output, Ports, Stage};
use crate::stage_params::StageParams;

/// Writes videos. The name chooses the format: `.mp4` (H.264), `.mov`, `.mkv`, `.webm` (VP9), `.gif`, or a name that ends
/// with `/` for a folder of frames; `.png`, `.jpg` and `.webp` hold one frame.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaveVideoParams {
    /// The output, instead of the pipeline's `output`: a file, a folder, or a name with `{index}`, `{seed}` or `{prompt}`.
    pub path: Option<String>,
    /// How the video is compressed; the container's default if absent.
    pub codec: Option<CodecChoice>,
    /// Constant rate factor: 0 is the best and largest, 18 is hard to tell from it, 51 (VP9: 63) is the worst.
    pub quality: Option<u32>,
    /// Frames per second at which the video plays, such as 24, 29.97 or "30000/1001"; those of the model if absent.
    #[schemars(schema_with = "frame_rate")]
    pub fps: Option<FrameRate>,
}

impl StageParams for SaveVideoParams {
    const STAGE: &'static str = "save-video";
}

fn frame_rate(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["number", "string", "null"] })
}

pub(crate) struct SaveVideo {
    params: SaveVideoParams,
    output: String,
    format: OutputFormat,
    preview: Option<PathBuf>,
    /// The video that is being written.
    open: Option<OpenVideo>,
}

struct OpenVideo {
    sink: Box<dyn FrameSink>,
    size: (u32, u32),
    frames: usize,
    sample: Arc<Sample>,
}

const DEFAULT: &str = if cfg!(feature = "ffmpeg") {
    "nextscale-{seed}.mp4"
} else {
    "nextscale-{seed}.gif"
};

impl SaveVideo {
    pub(crate) fn new(params: SaveVideoParams, setup: &Setup) -> Result<Self, PipelineError> {
        let (key, output) = output(params.path.clone(), setup);
        let output = output.unwrap_or_else(|| DEFAULT.to_owned());
        if output == "-" {
            let hint = "write it to a file: --output NAME.mp4";
            let message = "a video cannot go to standard output";
            return Err(setup.refuse(key, message).hint(hint).into());
        }
        let format = format_of(&output, key, setup)?;
        check_unique(&output, key, setup)?;
        let checked = format.check(params.codec, params.quality);
        checked.map_err(|e| setup.refuse(e.key.unwrap_or(key), e.message).hint(e.hint))?;
        let out_of_range = |rate: &FrameRate| !(1.0..=240.0).contains(&rate.per_second());
        if let Some(fps) = params.fps.filter(out_of_range) {
            let message = format!("`fps` should be from 1 to 240, but it is {fps}");
            return Err(setup.refuse("fps", message).into());
        }
        Ok(Self {
            params,
            output,
            format,
            preview: preview(setup)?,
            open: None,
        })
    }

    /// The path of the video of a sample.
    fn path(&self, sample: &Sample) -> PathBuf {
        let filled = fill(&self.output, sample);
        if self.format != OutputFormat::Folder {
            return numbered(&self.output, &filled, sample);
        }
        let folder = filled.trim_end_matches(['/', std::path::MAIN_SEPARATOR]);
        let unique = filled != self.output || sample.total < 2;
        if unique {
            path_text::to_path(folder).into_owned()
        } else {
            path_text::to_path(folder).join(format!("{:05}-{}", sample.index, sample.seed))
        }
    }

    fn start(&self, frames: &Frames, input: &Input) -> Result<OpenVideo, PipelineError> {
        let Some(first) = frames.images.first().filter(|_| frames.first == 0) else {
            let message = "a video does not begin with its first frame";
            return Err(input.context.failed(message));
        };
        let size = first.dimensions();
        let settings = WriterSettings {
            rate: self.params.fps.unwrap_or(FrameRate::whole(frames.fps)),
            codec: self.params.codec,
            quality: self.params.quality,
            tags: tags(size, input),
        };
        let path = self.path(&input.sample);
        let is_split = input.context.settings.share.is_split();
        if is_split && self.format == OutputFormat::Folder && is_taken(&path) {
            return Err(PipelineError::refused_with(taken(&path), TAKEN_HINT));
        }
        if check_replacing(&path, &input.context.settings)? {
            input.context.warn(replaced(&path));
        }
        let sink = self.format.open(&path, settings, [size.0, size.1])?;
        Ok(OpenVideo {
            sink,
            size,
            frames: 0,
            sample: input.sample.clone(),
        })
    }

    /// Writes the first frame of an unfinished video as an image.
    fn save_preview(
        &self,
        frames: &Frames,
        input: &Input,
        out: &Output,
    ) -> Result<(), PipelineError> {
        let (Some(folder), Some(step)) = (&self.preview, input.preview) else {
            return Ok(());
        };
        let Some(image) = frames.images.first() else {
            return Ok(());
        };
        let (index, pass) = (input.sample.index.max(input.sample.turn), step.scale);
        let path = folder.join(format!("{index:05}-pass-{pass:03}.png"));
        let bytes = encode_png(image, &[]).map_err(|e| input.context.failed(e))?;
        atomic_file::write(&path, &bytes).map_err(PipelineError::io("write", &path))?;
        out.preview(input, step, path);
        Ok(())
    }
}

/// Whether a folder holds something.
fn is_taken(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

fn taken(folder: &Path) -> String {
    format!("the folder `{}` is not empty", folder.display())
}

const TAKEN_HINT: &str = "frames go into a folder of their own: give it another name";

/// The format of an output, if this pipeline can write it.
fn format_of(output: &str, key: &str, setup: &Setup) -> Result<OutputFormat, PipelineError> {
    let path = &*path_text::to_path(output);
    let shown = path.display();
    if is_folder(output) {
        // Of several processes, one may have begun to write into it: each looks at the folders of its own videos.
        let is_ours = !setup.settings.share.is_split() && !output.contains('{');
        if is_ours && is_taken(path) {
            return Err(setup.refuse(key, taken(path)).hint(TAKEN_HINT).into());
        }
        let parent = atomic_file::folder_of(path)
            .ancestors()
            .find(|folder| folder.exists());
        check_folder(parent.unwrap_or(Path::new(".")), key, setup)?;
        return Ok(OutputFormat::Folder);
    }
    if atomic_file::is_stream(path) {
        let message = format!("a video cannot go to `{shown}`, which is no file");
        let hint = "write it to a file: --output NAME.mp4";
        return Err(setup.refuse(key, message).hint(hint).into());
    }
    check_file(output, key, setup)?;
    let format = OutputFormat::of(path);
    let format = format.map_err(|e| setup.refuse(key, e.message).hint(e.hint))?;
    let mut videos = setup.all::<TextToVideoParams>();
    if matches!(format, OutputFormat::Image(_)) && videos.any(|video| !video.is_single_frame()) {
        let message = format!("`{shown}` holds one frame, and a video has more");
        let hint = "write a .mp4, a .gif or a folder of frames, or ask for an image: --seconds 0";
        return Err(setup.refuse(key, message).hint(hint).into());
    }
    Ok(format)
}

/// The tags of the file.
fn tags(size: (u32, u32), input: &Input) -> Vec<(&'static str, String)> {
    let (sample, context) = (&input.sample, &input.context);
    if !context.settings.metadata {
        return vec![];
    }
    vec![
        ("prompt", sample.full_prompt()),
        ("seed", sample.seed.to_string()),
        (
            "parameters",
            parameters_text(sample, size, &context.parameters),
        ),
        (PIPELINE_KEY, context.record(sample).to_yaml()),
    ]
}

impl Stage for SaveVideo {
    fn ports(&self) -> Ports {
        Ports::one("frames", Kind::Frames, Kind::File)
    }

    fn resolved(&self) -> Option<serde_json::Value> {
        // Where a video is saved is not part of how it is generated.
        let params = SaveVideoParams {
            path: None,
            ..self.params.clone()
        };
        serde_json::to_value(params).ok()
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let Some(Artifact::Frames(frames)) = input.artifacts.first() else {
            return Err(input.context.failed("its input is not frames"));
        };
        if input.preview.is_some() {
            return self.save_preview(frames, input, out);
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.start(frames, input)?,
        };
        if open.sample.index != input.sample.index || open.frames != frames.first {
            return Err(input.context.failed("frames of a video are missing"));
        }
        for image in &frames.images {
            let (w, h) = image.dimensions();
            if (w, h) != open.size {
                let (width, height) = open.size;
                let message = format!("a frame of {w}x{h} pixels in a video of {width}x{height}");
                return Err(input.context.failed(message));
            }
            open.sink.write(image)?;
            open.frames += 1;
        }
        if frames.last {
            return out.send(input, Artifact::File(open.sink.finish()?));
        }
        self.open = Some(open);
        Ok(())
    }
}
