//! Checkpoints: a folder that is complete or absent.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::store::RecordError;
use serde::{Deserialize, Serialize};

use super::average::WeightAverage;
use super::ranks::Ranks;
use super::shards::Optimizer;
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
    /// The moments of the optimiser were written in shards and are not read so, or the other way round.
    #[error(
        "{} is missing: the run was begun {} `shard_optimizer`, and goes on in the same way only", path.display(),
        if *was { "without" } else { "with" }
    )]
    Sharding {
        /// The file.
        path: PathBuf,
        /// Whether there is one file of all moments.
        was: bool,
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

    pub(super) fn record(path: &Path) -> impl FnOnce(RecordError) -> Self {
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

/// A complete checkpoint on disk: `model.bpk`, `average.bpk`, `optimizer.bpk` or its shards, `progress.json`, and `task.json` if
/// the task has a state.
pub struct Checkpoint {
    /// Its folder, `step-NNNNNNNN`.
    pub path: PathBuf,
}

impl Checkpoint {
    /// Writes a checkpoint in the folder `run`, first under a temporary name, and keeps the last `keep` checkpoints. All ranks of a run
    /// call it: the first writes, and the others add their shards of the moments.
    ///
    /// A checkpoint of this step that is there already stays as it is: a run that goes on from it has changed nothing yet.
    ///
    /// # Errors
    /// If it cannot be written; older checkpoints are not touched then.
    pub(super) fn save<M: Module>(
        run: &Path,
        keep: usize,
        ranks: &Ranks,
        state: &State<'_, M>,
    ) -> Result<(), TrainError> {
        let path = run.join(format!("step-{:08}", state.progress.step));
        let together = state.optimizer.is_sharded();
        let there = u8::from(path.exists());
        let there = if together {
            ranks.exchange(&[there])?[0][0]
        } else {
            there
        };
        if there > 0 || !(together || ranks.is_first()) {
            return Ok(());
        }
        let part = run.join("checkpoint.part");
        if ranks.is_first() {
            remove(&part)?;
            fs::create_dir_all(&part).map_err(TrainError::io(&part))?;
        }
        let wait = || if together { ranks.barrier() } else { Ok(()) };
        wait()?;
        let written = state.optimizer.save(&part).and_then(|()| {
            if ranks.is_first() {
                state.write(&part)
            } else {
                Ok(())
            }
        });
        if written.is_err() {
            // What was written of it would fill a disk that is full; the error is told, not that of the removal.
            let _ = fs::remove_dir_all(&part);
        }
        written?;
        wait()?;
        if ranks.is_first() {
            finish(run, &part, &path, keep)?;
        }
        Ok(wait()?)
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

    fn load<M: Module>(&self, name: &str, model: M) -> Result<M, TrainError> {
        let path = self.path.join(name);
        model
            .try_load_file(&path)
            .map_err(TrainError::record(&path))
    }
}

/// What a checkpoint holds.
pub(super) struct State<'a, M: Module> {
    pub progress: &'a Progress,
    pub model: &'a M,
    pub average: &'a WeightAverage<M>,
    pub optimizer: &'a Optimizer,
    /// The state of the task.
    pub memory: Option<String>,
}

impl<M: Module> State<'_, M> {
    /// Writes everything but the moments into the folder `part`.
    fn write(&self, part: &Path) -> Result<(), TrainError> {
        let file = |name: &str| part.join(name);
        save_module(self.model.valid(), &file("model.bpk"))?;
        save_module(self.average.module().clone(), &file("average.bpk"))?;
        if let Some(memory) = &self.memory {
            write(&file(MEMORY), memory)?;
        }
        let state = file("progress.json");
        let text = serde_json::to_string(self.progress).map_err(|reason| TrainError::State {
            path: state.clone(),
            reason,
        })?;
        write(&state, &text)
    }
}

/// Gives a checkpoint its name, and removes old ones.
fn finish(run: &Path, part: &Path, path: &Path, keep: usize) -> Result<(), TrainError> {
    fs::rename(part, path).map_err(TrainError::io(path))?;
    // A removal that is cut short must not leave half a checkpoint under its name.
    let removed = run.join("removed.part");
    for old in all(run)?.iter().rev().skip(keep.max(1)) {
        remove(&removed)?;
        fs::rename(old, &removed).map_err(TrainError::io(old))?;
        remove(&removed)?;
    }
    Ok(())
}

fn save_module<M: Module>(module: M, path: &Path) -> Result<(), TrainError> {
    module.save_file(path).map_err(TrainError::record(path))
}

fn write(path: &Path, text: &str) -> Result<(), TrainError> {
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
