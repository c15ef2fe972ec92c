//! Training runs inside a study: written, trained and resumed in its folder.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use nextscale_curves::Log;
use nextscale_files::atomic_file;
use nextscale_models::device::DeviceChoice;
use nextscale_train::{Observer, TrainError, TrainEvent, TrainRequest, TrainResult};
use nextscale_var_core::train::Outcome;

use crate::error::StudyError;

type Train = fn(&TrainRequest<'_>, &AtomicBool, Observer<'_>) -> Result<TrainResult, TrainError>;

/// A run of a study.
#[derive(Debug, Clone)]
pub(crate) struct StudyRun {
    /// Its folder.
    pub folder: PathBuf,
    /// Its configuration.
    pub config: String,
}

/// What a run reports: the share of its budget that is spent, and its loss.
pub(crate) type OnStep<'a> = &'a mut dyn FnMut(f64, f64);

impl StudyRun {
    /// A run named `name` in the folder of a study.
    pub fn new(study: &Path, name: &str, config: String) -> Self {
        Self {
            folder: study.join("runs").join(name),
            config,
        }
    }

    /// Trains until the budget is spent; a run that was stopped goes on.
    pub fn train(
        &self,
        train: Train,
        device: DeviceChoice,
        stop: &AtomicBool,
        on_step: OnStep<'_>,
    ) -> Result<(), StudyError> {
        let parent = self.folder.parent().unwrap_or(&self.folder);
        std::fs::create_dir_all(parent).map_err(StudyError::write(parent))?;
        let config = self.folder.with_extension("yaml");
        atomic_file::write(&config, self.config.as_bytes()).map_err(StudyError::write(&config))?;
        let request = TrainRequest {
            config: &config,
            out: &self.folder,
            budget: None,
            device,
            deterministic: false,
            local_rank: 0,
            ranks: None,
        };
        let mut observe = |event: TrainEvent<'_>| {
            if let TrainEvent::Logged(line) = event {
                on_step(line.progress, line.loss);
            }
        };
        let result = train(&request, stop, &mut observe)?;
        match result.outcome {
            Outcome::Stopped => Err(StudyError::Stopped),
            _ => Ok(()),
        }
    }

    /// Its log.
    pub fn log(&self) -> Result<Log, StudyError> {
        Ok(Log::read(&self.folder)?)
    }
}
