//! `save`: images to PNG files or to standard output.

use std::io::Write;
use std::path::{Path, PathBuf};

use image::RgbImage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use nextscale_files::atomic_file;

use crate::artifact::{Artifact, Kind, Sample};
use crate::error::{Diagnostic, PipelineError};
use crate::media::image::{PIPELINE_KEY, encode_png, parameters_text};
use crate::setup::Setup;
use crate::stage::{Input, Output, Ports, Stage};
use crate::stage_params::StageParams;

/// Writes each image to a PNG file.
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
    preview: Option<PathBuf>,
}

const DEFAULT: &str = "nextscale-{seed}.png";

impl Save {
    pub(crate) fn new(params: SaveParams, setup: &Setup) -> Result<Self, PipelineError> {
        let (key, output) = output(params.path, setup);
        let output = output.unwrap_or_else(|| DEFAULT.to_owned());
        if output != "-" {
            check_output(&output, key, setup)?;
        }
        let preview = preview(setup)?;
        Ok(Self { output, preview })
    }

    /// The text chunks of the PNG.
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
    let folder = setup.settings.preview.as_ref().map(PathBuf::from);
    if let Some(folder) = &folder {
        check_folder(folder, "preview", setup)?;
    }
    Ok(folder)
}

fn check_output(output: &str, key: &str, setup: &Setup) -> Result<(), Diagnostic> {
    let path = Path::new(output);
    if is_folder(output) {
        return check_folder(path, key, setup);
    }
    check_folder(atomic_file::folder_of(path), key, setup)?;
    let extension = path.extension().and_then(|e| e.to_str());
    if extension.is_some_and(|e| e.eq_ignore_ascii_case("png")) {
        return Ok(());
    }
    let message = format!("`{output}` should end with .png: images are PNG files");
    Err(setup.refuse(key, message))
}

pub(super) fn is_folder(output: &str) -> bool {
    output.ends_with(['/', std::path::MAIN_SEPARATOR]) || Path::new(output).is_dir()
}

/// Refuses a folder that does not exist or cannot be written to, before any weight is loaded.
pub(super) fn check_folder(folder: &Path, key: &str, setup: &Setup) -> Result<(), Diagnostic> {
    let shown = folder.display();
    if !folder.exists() {
        let message = format!("the folder `{shown}` does not exist");
        let hint = format!("create it: mkdir -p '{shown}'");
        return Err(setup.refuse(key, message).hint(hint));
    }
    if !folder.is_dir() {
        return Err(setup.refuse(key, format!("`{shown}` is not a folder")));
    }
    let probe = tempfile::Builder::new()
        .prefix(".nextscale-")
        .tempfile_in(folder);
    probe.map(drop).map_err(|e| {
        setup.refuse(
            key,
            format!("the folder `{shown}` cannot be written to: {e}"),
        )
    })
}

/// The file of an image: placeholders filled in, and a number before the extension if there are more
/// images than names.
fn file_name(output: &str, sample: &Sample) -> PathBuf {
    let index = format!("{:05}", sample.index);
    if is_folder(output) {
        return Path::new(output).join(format!("{index}-{}.png", sample.seed));
    }
    numbered(output, fill(output, sample), sample)
}

/// A name with its placeholders filled in.
pub(super) fn fill(output: &str, sample: &Sample) -> String {
    output
        .replace("{index}", &format!("{:05}", sample.index))
        .replace("{seed}", &sample.seed.to_string())
        .replace("{prompt}", &slug(&sample.prompt))
}

/// A filled name, with a number before the extension if several results would have it.
pub(super) fn numbered(output: &str, filled: String, sample: &Sample) -> PathBuf {
    let unique = ["{index}", "{seed}"].iter().any(|p| output.contains(p));
    let path = PathBuf::from(filled);
    if unique || sample.total < 2 {
        return path;
    }
    let part =
        |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let (stem, extension) = (part(path.file_stem()), part(path.extension()));
    path.with_file_name(format!("{stem}-{:05}.{extension}", sample.index))
}

/// A prompt as part of a file name: letters and digits, at most 60 of them.
fn slug(prompt: &str) -> String {
    let spaced = prompt
        .chars()
        .map(|c| if c.is_alphanumeric() { c } else { ' ' });
    let words = spaced.collect::<String>();
    let words: Vec<&str> = words.split_whitespace().collect();
    words.join("-").chars().take(60).collect()
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
        let bytes = encode_png(image, &texts).map_err(|e| input.context.failed(e))?;
        if self.output == "-" && input.preview.is_none() {
            if input.sample.total > 1 {
                let message = "only one image can go to standard output";
                let hint = "write several to files: --output NAME-{index}.png";
                return Err(PipelineError::refused_with(message, hint));
            }
            let mut stdout = std::io::stdout().lock();
            let written = stdout.write_all(&bytes).and_then(|()| stdout.flush());
            written.map_err(PipelineError::io("write", "standard output"))?;
            return Ok(());
        }
        atomic_file::write(&path, &bytes).map_err(PipelineError::io("write", &path))?;
        if input.preview.is_some() {
            return Ok(());
        }
        out.send(input, Artifact::File(path))
    }
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
        assert_eq!(slug("../../etc/passwd"), "etc-passwd");
    }
}
