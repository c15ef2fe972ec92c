//! The file that describes a run of a benchmark. It lies beside the folder of the results, in which the scorers expect nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use nextscale_files::atomic_file;
use nextscale_models::device::{DeviceChoice, Dtype};
use nextscale_models::{Model, Request};
use serde::{Deserialize, Serialize};

use crate::error::EvalError;

/// What to generate.
#[derive(Debug, Clone)]
pub struct BenchmarkOptions {
    /// The model: a name or a folder.
    pub model: String,
    /// The prompts, in the benchmark's own file.
    pub prompts: PathBuf,
    /// The folder for the results.
    pub output: PathBuf,
    /// Results for each prompt, at least 1.
    pub samples: usize,
    /// Seed of the first result; the next ones count up.
    pub seed: u64,
    /// Guidance scale; the model's if absent.
    pub cfg_scale: Option<f64>,
    /// Temperature; the model's if absent.
    pub temperature: Option<f64>,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Number type of the transformer's weights.
    pub dtype: Dtype,
}

/// What was generated.
#[derive(Debug, Serialize)]
pub struct BenchmarkReport {
    /// What describes the run.
    #[serde(flatten)]
    pub record: Record,
    /// Number of prompts.
    pub prompts: usize,
    /// Number of results in the folder.
    pub results: usize,
    /// Number of those that this run has generated; the others were there.
    pub generated: usize,
}

/// What must be equal for a run to go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// `geneval` or `vbench`.
    pub benchmark: String,
    /// Name of the model in its manifest.
    pub model: String,
    /// Fingerprint of the weights.
    pub fingerprint: Option<String>,
    /// Results for each prompt.
    pub samples: usize,
    /// Seed of the first result.
    pub seed: u64,
    /// Guidance scale, if another than the model's.
    pub cfg_scale: Option<f64>,
    /// Temperature, if another than the model's.
    pub temperature: Option<f64>,
}

impl Record {
    /// That of a run with a model.
    pub(super) fn of(benchmark: &str, options: &BenchmarkOptions, model: &Model) -> Self {
        Self {
            benchmark: benchmark.to_owned(),
            model: model.manifest().name().to_owned(),
            fingerprint: model.fingerprint(),
            samples: options.samples,
            seed: options.seed,
            cfg_scale: options.cfg_scale,
            temperature: options.temperature,
        }
    }

    /// Makes the folder and writes the record beside it, or compares the one that is there.
    ///
    /// # Errors
    /// If nothing can be written, or the folder is of another run.
    pub(super) fn start(&self, folder: &Path) -> Result<(), EvalError> {
        fs::create_dir_all(folder).map_err(|reason| write_error(folder, reason))?;
        let path = beside(folder);
        if let Ok(text) = fs::read_to_string(&path) {
            let what = match serde_json::from_str::<Self>(&text) {
                Ok(other) => self.differs(&other),
                Err(_) => Some("the file is damaged"),
            };
            return what.map_or(Ok(()), |what| {
                Err(EvalError::OtherRun {
                    record: path,
                    folder: folder.to_owned(),
                    what,
                })
            });
        }
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        atomic_file::write(&path, &text).map_err(|reason| write_error(&path, reason))
    }

    /// What another run did otherwise.
    fn differs(&self, other: &Self) -> Option<&'static str> {
        let parts = [
            (self.benchmark != other.benchmark, "another benchmark"),
            (self.model != other.model, "another model"),
            (self.fingerprint != other.fingerprint, "other weights"),
            (self.samples != other.samples, "another number of samples"),
            (self.seed != other.seed, "another seed"),
            (self != other, "another guidance or temperature"),
        ];
        parts.into_iter().find(|part| part.0).map(|part| part.1)
    }
}

impl BenchmarkOptions {
    /// What is asked of the model for sample number `sample` of prompt number `prompt`.
    pub(super) fn request(&self, text: &str, prompt: usize, sample: usize) -> Request {
        let number = (prompt * self.samples + sample) as u64;
        let mut request = Request::prompt(text).seed(self.seed.wrapping_add(number));
        if let Some(scale) = self.cfg_scale {
            request = request.cfg_scale(scale);
        }
        if let Some(temperature) = self.temperature {
            request = request.temperature(temperature);
        }
        request
    }
}

/// `DIR.run.json` beside `DIR`.
fn beside(folder: &Path) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(".run.json");
    folder.with_file_name(name)
}

pub(super) fn write_error(path: &Path, reason: std::io::Error) -> EvalError {
    EvalError::Write {
        path: path.to_owned(),
        reason,
    }
}

pub(super) fn prompts_error(path: &Path, reason: impl ToString) -> EvalError {
    EvalError::Prompts {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_on_and_another_one_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("out");
        let record = Record {
            benchmark: "geneval".into(),
            model: "m".into(),
            fingerprint: None,
            samples: 4,
            seed: 7,
            cfg_scale: Some(3.0),
            temperature: None,
        };
        record.start(&folder).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        record.start(&folder).unwrap();
        let others = [
            (
                Record {
                    seed: 8,
                    ..record.clone()
                },
                "another seed",
            ),
            (
                Record {
                    cfg_scale: None,
                    ..record.clone()
                },
                "guidance",
            ),
            (
                Record {
                    model: "n".into(),
                    ..record.clone()
                },
                "another model",
            ),
        ];
        for (other, what) in others {
            let message = other.start(&folder).unwrap_err().to_string();
            assert!(
                message.contains(what) && message.contains("out.run.json"),
                "{message}"
            );
        }
    }
}
