//! `save`: images to files or to standard output.

use std::io::Write;
use std::path::{Path, PathBuf};

use image::{ImageFormat, RgbImage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use nextscale_files::{atomic_file, path_text};

use super::file_names::{
    check_file, check_folder, check_replacing, check_unique, fill, is_folder, numbered, replaced,
    with_suffix,
};
use crate::artifact::{Artifact, Kind, Sample};
use crate::error::{Diagnostic, PipelineError};
use crate::media::image::{PIPELINE_KEY, parameters_text};
use crate::media::{encode, format_of};
use crate::setup::Setup;
use crate::stage::{Context, Input, Output, Ports, Stage};
use crate::stage_params::StageParams;

/// Writes each image to a file: PNG, JPEG or WebP, by its name.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaveParams {
    /// The output, instead of the pipeline's `output`: a file, a name with `{index}`, `{seed}` or
    /// `{prompt}`, a folder, or `-`.
    pub path: Option<String>,
}

impl StageParams for SaveParams {
    const STAGE: &'static str = "save";
}

pub(crate) struct Save {
    output: String,
    format: ImageFormat,
    preview: Option<PathBuf>,
}

const DEFAULT: &str = "nextscale-{seed}.png";

impl Save {
    pub(crate) fn new(params: SaveParams, setup: &Setup) -> Result<Self, PipelineError> {
        let (key, output) = output(params.path, setup);
        let output = output.unwrap_or_else(|| DEFAULT.to_owned());
        let format = check_output(&output, key, setup)?;
        let preview = preview(setup)?;
        Ok(Self {
            output,
            format,
            preview,
        })
    }

    /// What the file carries.
    fn texts(&self, image: &RgbImage, input: &Input) -> Vec<(&'static str, String)> {
        if !input.context.settings.metadata {
            return vec![];
        }
        let parameters =
            parameters_text(&input.sample, image.dimensions(), &input.context.parameters);
        let record = input.context.record(&input.sample).to_yaml();
        vec![("parameters", parameters), (PIPELINE_KEY, record)]
    }
}

/// The output of a stage, if one is given, and the key that gives it.
pub(super) fn output(path: Option<String>, setup: &Setup) -> (&'static str, Option<String>) {
    match path {
        Some(path) => ("path", Some(path)),
        None => ("output", setup.settings.output.clone()),
    }
}

/// The folder of previews, if they are wanted.
pub(super) fn preview(setup: &Setup) -> Result<Option<PathBuf>, Diagnostic> {
    let folder = setup.settings.preview.as_deref().map(Path::to_path_buf);
    if let Some(folder) = &folder {
        check_folder(folder, "preview", setup)?;
    }
    Ok(folder)
}

/// The format of an output, if it can be written.
fn check_output(output: &str, key: &str, setup: &Setup) -> Result<ImageFormat, Diagnostic> {
    let path = &*path_text::to_path(output);
    if output == "-" || atomic_file::is_stream(path) {
        return check_stream(output, key, setup).map(|()| ImageFormat::Png);
    }
    if is_folder(output) {
        check_folder(path, key, setup)?;
        return Ok(ImageFormat::Png);
    }
    check_file(output, key, setup)?;
    check_unique(output, key, setup)?;
    format_of(path).ok_or_else(|| {
        let message = format!("`{}` should end with .png, .jpg or .webp", path.display());
        let hint = "end it with / for a folder, in which images get names of their own";
        setup.refuse(key, message).hint(hint)
    })
}

/// Refuses an output that several processes would write at the same time.
fn check_stream(output: &str, key: &str, setup: &Setup) -> Result<(), Diagnostic> {
    let share = setup.settings.share;
    if !share.is_split() {
        return Ok(());
    }
    let message = format!(
        "{} processes cannot write to `{output}` together",
        share.of()
    );
    let hint = "write to files: --output NAME-{index}.png, or a folder";
    Err(setup.refuse(key, message).hint(hint))
}

/// Writes a file under a name that the user chose. One that is there is replaced with a notice, or it stays and this is an error.
fn store(path: &Path, bytes: &[u8], context: &Context) -> Result<(), PipelineError> {
    let is_there = check_replacing(path, &context.settings)?;
    if is_there && std::fs::read(path).is_ok_and(|old| old != bytes) {
        context.warn(replaced(path));
    }
    atomic_file::write(path, bytes).map_err(PipelineError::io("write", path))
}

/// Writes a file into a folder under a name of our own; if another file has it, under the next one that is free.
fn store_in_folder(path: &Path, bytes: &[u8]) -> Result<PathBuf, PipelineError> {
    let failed = |e| PipelineError::io("write", path)(e);
    let mut file = atomic_file::hidden_for(path).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    let (mut name, mut number) = (path.to_owned(), 1);
    loop {
        if std::fs::read(&name).is_ok_and(|old| old == bytes) {
            return Ok(name);
        }
        match atomic_file::persist_new(file, &name).map_err(failed)? {
            None => return Ok(name),
            Some(kept) => file = kept,
        }
        number += 1;
        name = with_suffix(path, &number.to_string());
    }
}

/// The file of an image: placeholders filled in, and a number before the extension if there are more
/// images than names.
fn file_name(output: &str, sample: &Sample) -> PathBuf {
    let index = format!("{:05}", sample.index);
    if is_folder(output) {
        return path_text::to_path(output).join(format!("{index}-{}.png", sample.seed));
    }
    numbered(output, &fill(output, sample), sample)
}

impl Stage for Save {
    fn resolved(&self) -> Option<serde_json::Value> {
        // Where an image is saved is not part of how it is generated.
        Some(serde_json::json!({}))
    }

    fn ports(&self) -> Ports {
        Ports::one("image", Kind::Image, Kind::File)
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let Some(Artifact::Image(image)) = input.artifacts.first() else {
            return Err(input.context.failed("its input is not an image"));
        };
        let path = match (&self.preview, input.preview) {
            (_, None) => file_name(&self.output, &input.sample),
            (None, Some(_)) => return Ok(()),
            (Some(folder), Some(step)) => folder.join(format!(
                "{:05}-scale-{:02}.png",
                input.sample.index, step.scale
            )),
        };
        let texts = self.texts(image, input);
        if let Some(step) = input.preview {
            let bytes = encode(image, ImageFormat::Png, &texts)?;
            atomic_file::write(&path, &bytes).map_err(PipelineError::io("write", &path))?;
            out.preview(input, step, path);
            return Ok(());
        }
        let bytes = encode(image, self.format, &texts)?;
        if self.output == "-" {
            return print(&bytes, &input.sample);
        }
        let path = if is_folder(&self.output) {
            store_in_folder(&path, &bytes)?
        } else {
            store(&path, &bytes, &input.context)?;
            path
        };
        out.send(input, Artifact::File(path))
    }
}

/// Writes an image to standard output.
fn print(bytes: &[u8], sample: &Sample) -> Result<(), PipelineError> {
    if sample.total > 1 {
        let message = "only one image can go to standard output";
        let hint = "write several to files: --output NAME-{index}.png";
        return Err(PipelineError::refused_with(message, hint));
    }
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    written.map_err(PipelineError::io("write", "standard output"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        let mut sample = Sample {
            index: 3,
            total: 1,
            seed: 42,
            prompt: "A red apple, 3d style!".to_owned(),
            ..Sample::default()
        };
        assert_eq!(file_name("a.png", &sample), Path::new("a.png"));
        sample.total = 9;
        for (output, name) in [
            ("a.png", "a-00003.png"),
            ("x/{index}_{seed}.png", "x/00003_42.png"),
            ("{prompt}-{seed}.png", "A-red-apple-3d-style-42.png"),
            ("{prompt}.png", "A-red-apple-3d-style-00003.png"),
            ("./", "./00003-42.png"),
        ] {
            assert_eq!(file_name(output, &sample), Path::new(name));
        }
    }
}
