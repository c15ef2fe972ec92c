//! `save-video`: frames to a video file, an animated GIF, a folder of pictures, or a picture.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::save::{check_folder, fill, numbered};
use super::video::length::Length;
use nextscale_files::atomic_file;

use crate::artifact::{Artifact, ArtifactType, Frames, Kind, Sample};
use crate::error::PipelineError;
use crate::media::image::{PIPELINE_KEY, encode_png, parameters_text};
use crate::media::{CodecChoice, Form, Settings, Sink};
use crate::setup::Setup;
use crate::stage::{Input, Output, Ports, Stage};

/// Writes videos. The form follows from the name: `.mp4` (H.264), `.mov`, `.mkv`, `.webm` (VP9), `.gif`, a name that ends
/// with `/` for a folder of frames; `.png`, `.jpg` and `.webp` hold one frame.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaveVideoParams {
    /// Where to, instead of the pipeline's `output`: a file, a folder, or a name with `{index}`, `{seed}` or `{prompt}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// How the video is compressed; what its container usually holds if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    codec: Option<CodecChoice>,
    /// Constant rate factor: 0 is the best and largest, 18 is hard to tell from it, 51 (VP9: 63) is the worst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quality: Option<u32>,
    /// Frames that are shown a second; as many as were made for a second if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fps: Option<usize>,
}

/// The stage.
pub(crate) struct SaveVideo {
    params: SaveVideoParams,
    output: String,
    form: Form,
    preview: Option<PathBuf>,
    /// The video that is being written.
    open: Option<Open>,
}

struct Open {
    sink: Box<dyn Sink>,
    size: (u32, u32),
    frames: usize,
    sample: Arc<Sample>,
}

const DEFAULT: &str = match cfg!(feature = "ffmpeg") {
    true => "nextscale-{seed}.mp4",
    false => "nextscale-{seed}.gif",
};

impl SaveVideo {
    pub(crate) fn new(params: SaveVideoParams, setup: &Setup) -> Result<Self, PipelineError> {
        let key = if params.path.is_some() {
            "path"
        } else {
            "output"
        };
        let output = params
            .path
            .clone()
            .or_else(|| setup.settings.output.clone());
        let output = output.unwrap_or_else(|| DEFAULT.to_owned());
        if output == "-" {
            let hint = "write it to a file: --output NAME.mp4";
            let message = "a video cannot go to standard output";
            return Err(setup.refuse(key, message).hint(hint).into());
        }
        let form = form(&output, key, setup)?;
        let checked = form.check(params.codec, params.quality);
        checked.map_err(|(at, message, hint)| {
            let at = if at == "output" { key } else { at };
            setup.refuse(at, message).hint(hint)
        })?;
        if let Some(fps) = params.fps.filter(|fps| !(1..=240).contains(fps)) {
            let message = format!("`fps` should be from 1 to 240, but it is {fps}");
            return Err(setup.refuse("fps", message).into());
        }
        let preview = setup.settings.preview.as_ref().map(PathBuf::from);
        if let Some(folder) = &preview {
            check_folder(folder, "preview", setup)?;
        }
        Ok(Self {
            params,
            output,
            form,
            preview,
            open: None,
        })
    }

    /// Where the video of a sample goes.
    fn path(&self, sample: &Sample) -> PathBuf {
        let filled = fill(&self.output, sample);
        if self.form != Form::Folder {
            return numbered(&self.output, filled, sample);
        }
        let folder = filled.trim_end_matches(['/', std::path::MAIN_SEPARATOR]);
        let unique = filled != self.output || sample.total < 2;
        match unique {
            true => PathBuf::from(folder),
            false => Path::new(folder).join(format!("{:05}-{}", sample.index, sample.seed)),
        }
    }

    fn start(&self, frames: &Frames, input: &Input) -> Result<Open, PipelineError> {
        let Some(first) = frames.images.first().filter(|_| frames.first == 0) else {
            return Err(input
                .context
                .failed("a video does not begin with its first frame"));
        };
        let size = first.dimensions();
        let settings = Settings {
            fps: self.params.fps.unwrap_or(frames.fps),
            codec: self.params.codec,
            quality: self.params.quality,
            tags: tags(size, input),
        };
        let path = self.path(&input.sample);
        let sink = self.form.open(&path, settings, [size.0, size.1])?;
        Ok(Open {
            sink,
            size,
            frames: 0,
            sample: input.sample.clone(),
        })
    }

    /// A frame of an unfinished video as a picture of its own.
    fn save_preview(&self, frames: &Frames, input: &Input) -> Result<(), PipelineError> {
        let (Some(folder), Some(step)) = (&self.preview, input.preview) else {
            return Ok(());
        };
        let Some(picture) = frames.images.first() else {
            return Ok(());
        };
        let (index, turn) = (input.sample.index.max(input.sample.turn), step.scale);
        let path = folder.join(format!("{index:05}-pass-{turn:03}.png"));
        let bytes = encode_png(picture, &[]).map_err(|e| input.context.failed(e))?;
        atomic_file::write(&path, &bytes).map_err(PipelineError::io("write", &path))
    }
}

/// The form of an output, if this pipeline can give it.
fn form(output: &str, key: &str, setup: &Setup) -> Result<Form, PipelineError> {
    let path = Path::new(output);
    if super::save::is_folder(output) {
        let taken = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
        if taken && !output.contains('{') {
            let message = format!("the folder `{output}` is not empty");
            let hint = "frames go into a folder of their own: give it another name";
            return Err(setup.refuse(key, message).hint(hint).into());
        }
        let parent = atomic_file::folder_of(path)
            .ancestors()
            .find(|folder| folder.exists());
        check_folder(parent.unwrap_or(Path::new(".")), key, setup)?;
        return Ok(Form::Folder);
    }
    check_folder(atomic_file::folder_of(path), key, setup)?;
    let Some(form) = Form::of(path) else {
        let message = format!("`{output}` has an ending that nothing is written for");
        return Err(setup.refuse(key, message).hint(Form::KNOWN).into());
    };
    let single = |node| {
        let Length {
            seconds, frames, ..
        } = Length::of_stage(node);
        seconds == Some(0.0) || frames == Some(1)
    };
    let makers = setup.others("text-to-video");
    if matches!(form, Form::Picture(_)) && makers.iter().any(|(_, node, _)| !single(node)) {
        let message = format!("`{output}` holds one frame, and a video has more");
        let hint = "write a .mp4, a .gif or a folder of frames, or ask for a picture: --seconds 0";
        return Err(setup.refuse(key, message).hint(hint).into());
    }
    Ok(form)
}

/// What the result carries.
fn tags(size: (u32, u32), input: &Input) -> Vec<(&'static str, String)> {
    let (sample, context) = (&input.sample, &input.context);
    if !context.settings.metadata {
        return vec![];
    }
    let prompt = match sample.story.is_empty() {
        true => sample.prompt.clone(),
        false => sample.story.join("\n"),
    };
    vec![
        ("prompt", prompt),
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
        Ports {
            inputs: vec![("frames", ArtifactType::new(Kind::Frames))],
            output: Some(ArtifactType::new(Kind::File)),
        }
    }

    fn resolved(&self) -> serde_json::Value {
        // Where a video lies is no part of how it is made.
        let params = SaveVideoParams {
            path: None,
            ..self.params.clone()
        };
        serde_json::to_value(params).unwrap_or_default()
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let Some(Artifact::Frames(frames)) = input.artifacts.first() else {
            return Err(input.context.failed("its input are no frames"));
        };
        if input.preview.is_some() {
            return self.save_preview(frames, input);
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.start(frames, input)?,
        };
        if open.sample.index != input.sample.index || open.frames != frames.first {
            return Err(input.context.failed("frames of a video are missing"));
        }
        for picture in &frames.images {
            let (w, h) = picture.dimensions();
            if (w, h) != open.size {
                let (width, height) = open.size;
                let message = format!("a frame of {w}x{h} pixels in a video of {width}x{height}");
                return Err(input.context.failed(message));
            }
            open.sink.write(picture)?;
            open.frames += 1;
        }
        match frames.last {
            true => out.send(input, Artifact::File(open.sink.finish()?)),
            false => {
                self.open = Some(open);
                Ok(())
            }
        }
    }
}
