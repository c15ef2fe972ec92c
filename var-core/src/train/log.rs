//! The loss log: one JSON object per line, ready to plot.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::checkpoint::TrainError;

/// Measurements of a step.
#[derive(Clone, Debug, Serialize)]
pub struct LogLine {
    /// Steps done.
    pub step: u64,
    /// Fraction of the budget spent.
    pub progress: f64,
    /// The loss that was minimised.
    pub loss: f64,
    /// Its parts and the task's measurements, by name.
    #[serde(flatten)]
    pub parts: Measurements,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Global gradient norm before clipping.
    pub gradient_norm: f64,
    /// Examples per second since the previous line.
    pub examples_per_second: f64,
    /// Seconds of training so far.
    pub seconds: f64,
}

/// Named numbers in the order in which they were measured.
#[derive(Clone, Debug, Default)]
pub struct Measurements(pub Vec<(String, f64)>);

impl Serialize for Measurements {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// The file `log.jsonl` of a run.
pub struct TrainLog {
    path: PathBuf,
    file: File,
}

impl TrainLog {
    /// Opens the log of a run. Lines after `step` were written by a run that was killed after its
    /// last checkpoint. They will be written again, so they are dropped.
    ///
    /// # Errors
    /// When the file can't be read or written.
    pub fn open(run: &Path, step: u64) -> Result<Self, TrainError> {
        let path = run.join("log.jsonl");
        if path.exists() {
            let text = fs::read_to_string(&path).map_err(TrainError::io(&path))?;
            let kept: String = text
                .lines()
                .filter(|line| line_step(line).is_some_and(|at| at <= step))
                .flat_map(|line| [line, "\n"])
                .collect();
            let part = run.join("log.jsonl.part");
            fs::write(&part, kept).map_err(TrainError::io(&part))?;
            fs::rename(&part, &path).map_err(TrainError::io(&path))?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(TrainError::io(&path))?;
        Ok(Self { path, file })
    }

    /// Appends a line.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&mut self, line: &LogLine) -> Result<(), TrainError> {
        let mut text = serde_json::to_string(line).map_err(|reason| TrainError::State {
            path: self.path.clone(),
            reason,
        })?;
        text.push('\n');
        self.file
            .write_all(text.as_bytes())
            .map_err(TrainError::io(&self.path))
    }
}

fn line_step(line: &str) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(line)
        .ok()?
        .get("step")?
        .as_u64()
}
