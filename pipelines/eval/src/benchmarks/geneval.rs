//! `nextscale eval geneval`: images of GenEval's prompts in the layout that its scorer reads.
//!
//! The prompts are those of `evaluation_metadata.jsonl` in <https://github.com/djghosh13/geneval>. For prompt number 3 there are
//! `00003/metadata.jsonl`, its line of that file, and `00003/samples/0000.png` and so on. The scorer is run on the folder:
//! `python evaluation/evaluate_images.py DIR --outfile results.jsonl`.

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use image::{ImageFormat, RgbImage};
use nextscale_files::atomic_file;
use nextscale_models::Model;
use nextscale_models::generator::ImageGenerator;
use serde_json::Value;

use crate::benchmarks::record::{
    BenchmarkOptions, BenchmarkReport, Record, prompts_error, write_error,
};
use crate::error::EvalError;
use crate::measure::{Measured, OnProgress, open};

/// Generates the images that are not there yet.
///
/// # Errors
/// If prompts or model cannot be used, nothing can be written, or the folder is of another run.
pub fn geneval(
    options: &BenchmarkOptions,
    progress: OnProgress<'_>,
) -> Result<Measured<BenchmarkReport>, EvalError> {
    let prompts = prompts(&options.prompts)?;
    let model = Arc::new(Model::open(&options.model)?);
    let record = Record::of("geneval", options, &model);
    record.start(&options.output)?;
    let placement = open(options.device, options.dtype, false)?;
    let generator = ImageGenerator::load(&model, &placement)?;
    let (mut done, mut generated) = (0, 0);
    let results = prompts.len() * options.samples;
    for (index, (line, prompt)) in prompts.iter().enumerate() {
        let folder = options.output.join(format!("{index:05}"));
        let samples = folder.join("samples");
        fs::create_dir_all(&samples).map_err(|reason| write_error(&samples, reason))?;
        describe(&folder.join("metadata.jsonl"), line)?;
        for sample in 0..options.samples {
            let path = samples.join(format!("{sample:04}.png"));
            if !path.exists() {
                let image = generator.generate(&options.request(prompt, index, sample))?;
                save(&path, &image)?;
                generated += 1;
            }
            done += 1;
            progress(done, results);
        }
    }
    Ok(Measured::plain(BenchmarkReport {
        record,
        prompts: prompts.len(),
        results,
        generated,
    }))
}

/// The lines of a file, each with its prompt.
fn prompts(path: &Path) -> Result<Vec<(String, String)>, EvalError> {
    let text = fs::read_to_string(path).map_err(|e| prompts_error(path, e))?;
    let lines = text.lines().map(str::trim).enumerate();
    let one = |(number, line): (usize, &str)| {
        let value: Option<Value> = serde_json::from_str(line).ok();
        let prompt = value.as_ref().and_then(|value| value["prompt"].as_str());
        let reason = format!(
            "line {} is no JSON object with a `prompt`, as those of GenEval's evaluation_metadata.jsonl",
            number + 1
        );
        let prompt = prompt.ok_or_else(|| prompts_error(path, reason))?;
        Ok((line.to_owned(), prompt.to_owned()))
    };
    let lines = lines.filter(|(_, line)| !line.is_empty());
    let prompts: Vec<_> = lines.map(one).collect::<Result<_, EvalError>>()?;
    if prompts.is_empty() {
        return Err(prompts_error(path, "it has no prompt"));
    }
    Ok(prompts)
}

/// Writes the line of a prompt, or compares the one that is there.
fn describe(path: &Path, line: &str) -> Result<(), EvalError> {
    match fs::read_to_string(path) {
        Ok(there) if there.trim() == line => Ok(()),
        Ok(_) => Err(prompts_error(
            path,
            "it is of another prompt: name another folder",
        )),
        Err(_) => atomic_file::write(path, line.as_bytes()).map_err(|e| write_error(path, e)),
    }
}

fn save(path: &Path, image: &RgbImage) -> Result<(), EvalError> {
    let mut bytes = Cursor::new(Vec::new());
    let encoded = image.write_to(&mut bytes, ImageFormat::Png);
    let written = encoded.map_err(std::io::Error::other);
    let written = written.and_then(|()| atomic_file::write(path, bytes.get_ref()));
    written.map_err(|reason| write_error(path, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_as_they_are_and_wrong_ones_are_named() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("evaluation_metadata.jsonl");
        let line = r#"{"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"}"#;
        fs::write(&path, format!("{line}\n\n")).unwrap();
        let read = prompts(&path).unwrap();
        assert_eq!(read, [(line.to_owned(), "a photo of a bench".to_owned())]);
        fs::write(&path, format!("{line}\n{{\"prompt\": 3}}\n")).unwrap();
        let message = prompts(&path).unwrap_err().to_string();
        assert!(
            message.contains("line 2") && message.contains("evaluation_metadata"),
            "{message}"
        );

        let metadata = place.path().join("metadata.jsonl");
        describe(&metadata, line).unwrap();
        describe(&metadata, line).unwrap();
        assert!(describe(&metadata, "{}").is_err());
    }
}
