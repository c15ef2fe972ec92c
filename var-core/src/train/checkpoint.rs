//! Checkpoints: a folder that is complete or absent.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::store::RecordError;
use serde::{Deserialize, Serialize};

use super::average::WeightAverage;
use super::optimizer::AdamW;
use crate::collective::CollectiveError;

/// Why training failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A file or folder of the run cannot be read or written.
    #[error("{path}: {reason}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        reason: io::Error,
    },
    /// A weight file of a checkpoint cannot be read or written, or is not of this model.
    #[error("{path}: {reason}")]
    Record {
        /// The file.
        path: PathBuf,
        /// The error of the store.
        reason: RecordError,
    },
    /// The state file of a checkpoint is damaged.
    #[error("{path}: {reason}")]
    State {
        /// The file.
        path: PathBuf,
        /// The error of the parser.
        reason: serde_json::Error,
    },
    /// The loss or the gradient is not finite.
    #[error(
        "the loss is not a number at step {step}; the last good checkpoint is {}. Lower the \
         learning rate and resume",
        checkpoint.as_ref().map_or("missing".to_string(), |path| path.display().to_string())
    )]
    NotANumber {
        /// The step that failed.
        step: u64,
        /// The checkpoint that a resumed run would start from.
        checkpoint: Option<PathBuf>,
    },
    /// Samples of the weights of the moment cannot be made.
    #[error("no samples can be made at step {step}: {reason}")]
    Samples {
        /// The step.
        step: u64,
        /// What went wrong.
        reason: String,
    },
    /// The batches of a step cannot be shared evenly by the processes of the run.
    #[error(
        "a step has {batches} {} (`parallel` times `accumulate`), which {world} processes cannot share evenly: make it a multiple of {world}",
        if *batches == 1 { "batch" } else { "batches" }
    )]
    Share {
        /// Batches of a step.
        batches: usize,
        /// Processes.
        world: usize,
    },
    /// A process of the run is at another step.
    #[error(
        "rank {rank} is at step {step} and rank 0 at step {first}: all processes must see the same folder of the run"
    )]
    Step {
        /// The rank.
        rank: usize,
        /// Its step.
        step: u64,
        /// The step of rank 0.
        first: u64,
    },
    /// The processes of the run cannot talk any more.
    #[error(transparent)]
    Ranks(#[from] CollectiveError),
    /// The thread that makes batches has panicked.
    #[error("the thread that makes batches ended at step {step}; its message is above")]
    NoBatch {
        /// The step that waited for a batch.
        step: u64,
    },
}

impl TrainError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |reason| Self::Io { path, reason }
    }

    fn record(path: &Path) -> impl FnOnce(RecordError) -> Self {
        let path = path.to_path_buf();
        move |reason| Self::Record { path, reason }
    }
}

/// The file with the state of the task.
const MEMORY: &str = "task.json";

/// Progress of a run. The position in the data is the step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimiser steps done; also the number of the next step.
    pub step: u64,
    /// Seconds of training, including those before a resume.
    pub seconds: f64,
    /// Examples used so far.
    pub examples: u64,
}

/// A complete checkpoint on disk: `model.bpk`, `average.bpk`, `optimizer.bpk`, `progress.json`, and `task.json` if
/// the task has a state.
pub struct Checkpoint {
    /// Its folder, `step-NNNNNNNN`.
    pub path: PathBuf,
}

impl Checkpoint {
    /// Writes a checkpoint in the folder `run`, first under a temporary name, and keeps the last `keep` checkpoints.
    ///
    /// A checkpoint of this step that is there already stays as it is: a run that goes on from it has changed nothing yet.
    ///
    /// # Errors
    /// If it cannot be written; older checkpoints are not touched then.
    pub fn save<M: Module>(
        run: &Path,
        keep: usize,
        progress: &Progress,
        model: &M,
        average: &WeightAverage<M>,
        optimizer: &AdamW,
        memory: Option<String>,
    ) -> Result<Self, TrainError> {
        let path = run.join(format!("step-{:08}", progress.step));
        if path.exists() {
            return Ok(Self { path });
        }
        let part = run.join("checkpoint.part");
        remove(&part)?;
        let written = Self::write(&part, progress, model, average, optimizer, memory);
        if written.is_err() {
            // What was written of it would fill a disk that is full; the error is told, not that of the removal.
            let _ = fs::remove_dir_all(&part);
        }
        written?;
        fs::rename(&part, &path).map_err(TrainError::io(&path))?;
        // A removal that is cut short must not leave half a checkpoint under its name.
        let removed = run.join("removed.part");
        for old in all(run)?.iter().rev().skip(keep.max(1)) {
            remove(&removed)?;
            fs::rename(old, &removed).map_err(TrainError::io(old))?;
            remove(&removed)?;
        }
        Ok(Self { path })
    }

    /// Writes the files of a checkpoint in the folder `part`.
    fn write<M: Module>(
        part: &Path,
        progress: &Progress,
        model: &M,
        average: &WeightAverage<M>,
        optimizer: &AdamW,
        memory: Option<String>,
    ) -> Result<(), TrainError> {
        fs::create_dir_all(part).map_err(TrainError::io(part))?;
        let file = |name: &str| part.join(name);
        save_module(model.valid(), &file("model.bpk"))?;
        save_module(average.module().clone(), &file("average.bpk"))?;
        let moments = file("optimizer.bpk");
        let saved = optimizer.save(&moments);
        saved.map_err(TrainError::record(&moments))?;
        if let Some(memory) = memory {
            write(&file(MEMORY), memory)?;
        }
        let state = file("progress.json");
        let text = serde_json::to_string(progress).map_err(|reason| TrainError::State {
            path: state.clone(),
            reason,
        })?;
        write(&state, text)
    }

    /// The progress at which the checkpoint was written.
    ///
    /// # Errors
    /// If `progress.json` cannot be read.
    pub fn progress(&self) -> Result<Progress, TrainError> {
        let path = self.path.join("progress.json");
        let text = fs::read_to_string(&path).map_err(TrainError::io(&path))?;
        serde_json::from_str(&text).map_err(|reason| TrainError::State { path, reason })
    }

    /// Restores the state of the task, if there is one.
    ///
    /// # Errors
    /// If the file cannot be read, or the task refuses it.
    pub fn restore_state(
        &self,
        restore: impl FnOnce(&str) -> Result<(), serde_json::Error>,
    ) -> Result<(), TrainError> {
        let path = self.path.join(MEMORY);
        if !path.exists() {
            return Ok(());
        }
        let text = fs::read_to_string(&path).map_err(TrainError::io(&path))?;
        restore(&text).map_err(|reason| TrainError::State { path, reason })
    }

    /// Loads the trained weights into `model`, parameter identities included.
    ///
    /// # Errors
    /// If the file cannot be read, or is not of this model.
    pub fn model<M: Module>(&self, model: M) -> Result<M, TrainError> {
        self.load("model.bpk", model)
    }

    /// Loads the averaged weights into `model`.
    ///
    /// # Errors
    /// If the file cannot be read, or is not of this model.
    pub fn average<M: Module>(&self, model: M) -> Result<M, TrainError> {
        self.load("average.bpk", model)
    }

    /// Loads the moments into an optimiser made for the model that [`model`](Self::model) returned.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn optimizer(&self, optimizer: AdamW) -> Result<AdamW, TrainError> {
        let path = self.path.join("optimizer.bpk");
        optimizer.load(&path).map_err(TrainError::record(&path))
    }

    fn load<M: Module>(&self, name: &str, model: M) -> Result<M, TrainError> {
        let path = self.path.join(name);
        model
            .try_load_file(&path)
            .map_err(TrainError::record(&path))
    }
}

fn save_module<M: Module>(module: M, path: &Path) -> Result<(), TrainError> {
    module.save_file(path).map_err(TrainError::record(path))
}

fn write(path: &Path, text: String) -> Result<(), TrainError> {
    fs::write(path, text).map_err(TrainError::io(path))
}

/// Removes a folder, if there is one.
fn remove(folder: &Path) -> Result<(), TrainError> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(TrainError::io(folder))?;
    }
    Ok(())
}

/// The newest complete checkpoint of a run, if there is one.
///
/// # Errors
/// If the run's folder cannot be listed.
pub fn latest(run: &Path) -> Result<Option<Checkpoint>, TrainError> {
    if !run.is_dir() {
        return Ok(None);
    }
    Ok(all(run)?.pop().map(|path| Checkpoint { path }))
}

/// All complete checkpoints, oldest first.
fn all(run: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(run).map_err(TrainError::io(run))? {
        let path = entry.map_err(TrainError::io(run))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let digits = name.and_then(|name| name.strip_prefix("step-"));
        if digits.is_some_and(|digits| digits.parse::<u64>().is_ok()) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
