//! `nextscale eval vbench`: videos of VBench's prompts under the names that its scorer looks for.
//!
//! The prompts are those of `VBench_full_info.json` or of a file of `prompts/` in <https://github.com/Vchitect/VBench>. Each prompt gets
//! `PROMPT-0.mp4`, `PROMPT-1.mp4` and so on. The scorer is run on the folder: `vbench evaluate --videos_path DIR --dimension DIMENSION`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use nextscale_models::Model;
use nextscale_models::generator::VideoGenerator;
use nextscale_pipelines::media::save_clip;
use serde_json::Value;

use crate::benchmarks::record::{BenchmarkOptions, BenchmarkReport, Record, prompts_error};
use crate::error::EvalError;
use crate::measure::{Measured, OnProgress, open};

/// No file name is longer on the usual file systems, in bytes.
const LONGEST: usize = 255;

/// Generates the videos that are not there yet.
///
/// # Errors
/// If prompts or model cannot be used, nothing can be written, or the folder is of another run.
pub fn vbench(
    options: &BenchmarkOptions,
    progress: OnProgress<'_>,
) -> Result<Measured<BenchmarkReport>, EvalError> {
    let prompts = prompts(&options.prompts)?;
    let names = |prompt: &str, sample| format!("{prompt}-{sample}.mp4");
    for prompt in &prompts {
        let name = names(prompt, options.samples - 1);
        if name.len() > LONGEST || name.contains(['/', '\\', '\0']) {
            let reason = format!("`{prompt}` cannot be the name of a file, which VBench expects");
            return Err(prompts_error(&options.prompts, reason));
        }
    }
    let model = Arc::new(Model::open(&options.model)?);
    let record = Record::of("vbench", options, &model);
    record.start(&options.output)?;
    let placement = open(options.device, options.dtype, false)?;
    let generator = VideoGenerator::load(&model, &placement)?;
    let (mut done, mut generated) = (0, 0);
    let results = prompts.len() * options.samples;
    for (index, prompt) in prompts.iter().enumerate() {
        for sample in 0..options.samples {
            let path = options.output.join(names(prompt, sample));
            if !path.exists() {
                let clip = generator.generate(&options.request(prompt, index, sample))?;
                save_clip(&path, &clip)?;
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

/// The prompts of VBench's JSON file, or of a text file with one a line; each once, in their order.
fn prompts(path: &Path) -> Result<Vec<String>, EvalError> {
    let text = fs::read_to_string(path).map_err(|e| prompts_error(path, e))?;
    let mut all: Vec<String> = match serde_json::from_str::<Vec<Value>>(&text) {
        Ok(entries) => {
            let prompts = entries.iter().map(|entry| entry["prompt_en"].as_str());
            let prompts: Option<Vec<&str>> = prompts.collect();
            let reason = "an entry has no `prompt_en`, as those of VBench_full_info.json have";
            let prompts = prompts.ok_or_else(|| prompts_error(path, reason))?;
            prompts.into_iter().map(str::to_owned).collect()
        }
        Err(_) => {
            let lines = text.lines().map(str::trim);
            lines.filter(|l| !l.is_empty()).map(str::to_owned).collect()
        }
    };
    let mut seen = std::collections::HashSet::new();
    all.retain(|prompt| seen.insert(prompt.clone()));
    if all.is_empty() {
        return Err(prompts_error(path, "it has no prompt"));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_read_from_both_files() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("prompts");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            prompts(&path)
        };
        let json = r#"[{"prompt_en": "a dog", "dimension": ["x"]}, {"prompt_en": "a cat"}, {"prompt_en": "a dog"}]"#;
        assert_eq!(read(json).unwrap(), ["a dog", "a cat"]);
        assert_eq!(read("a dog\n\na cat \n").unwrap(), ["a dog", "a cat"]);
        assert!(read("[{}]").unwrap_err().to_string().contains("prompt_en"));
        assert!(read("\n").unwrap_err().to_string().contains("no prompt"));
    }
}
