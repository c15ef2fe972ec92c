//! Training runs inside a study: written, trained and resumed in its folder.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nextscale_curves::Log;
use nextscale_files::atomic_file;
use nextscale_models::device::DeviceChoice;
use nextscale_train::{Observer, TrainError, TrainEvent, TrainRequest, TrainResult};
use nextscale_var_core::train::Outcome;

use crate::error::StudyError;
use crate::recipe::BATCH;
use crate::watch::{Event, Watch};

/// Trains what a request says.
pub(crate) type Train =
    fn(&TrainRequest<'_>, &AtomicBool, Observer<'_>) -> Result<TrainResult, TrainError>;

/// A run of a study.
#[derive(Debug, Clone)]
pub(crate) struct StudyRun {
    /// Its folder.
    pub folder: PathBuf,
    /// Its configuration.
    pub config: String,
}

/// What a run reports: the share of its budget that is spent, and its loss.
type OnStep<'a> = &'a mut dyn FnMut(f64, f64);

impl StudyRun {
    /// A run named `name` in the folder of a study.
    pub fn new(study: &Path, name: &str, config: String) -> Self {
        Self {
            folder: study.join("runs").join(name),
            config,
        }
    }

    /// Trains until the budget is spent; a run that was stopped goes on.
    fn train(
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

    /// Images that it has seen.
    pub fn images_seen(&self) -> Result<f64, StudyError> {
        let steps = self.log()?.series("loss").last().map_or(0.0, |last| last.0);
        Ok(steps * BATCH as f64)
    }

    /// Its log.
    pub fn log(&self) -> Result<Log, StudyError> {
        Ok(Log::read(&self.folder)?)
    }
}

/// The steps of a study, one after the other.
pub(crate) struct Steps<'a> {
    watch: Watch<'a>,
    done: usize,
    all: usize,
}

impl<'a> Steps<'a> {
    /// So many steps.
    pub fn new(watch: Watch<'a>, all: usize) -> Self {
        Self {
            watch,
            done: 0,
            all,
        }
    }

    /// Says that a step begins.
    ///
    /// # Errors
    /// If the study is to stop.
    pub fn begin(&mut self, what: &str) -> Result<(), StudyError> {
        let (done, all) = (self.done, self.all);
        (self.watch.observe)(Event { what, done, all });
        if self.watch.stop.load(Ordering::Relaxed) {
            return Err(StudyError::Stopped);
        }
        Ok(())
    }

    /// Says that a step is done.
    pub fn end(&mut self) {
        self.done += 1;
    }

    /// Trains a run of this name.
    pub fn train(
        &mut self,
        run: &StudyRun,
        name: &str,
        train: Train,
        device: DeviceChoice,
    ) -> Result<(), StudyError> {
        self.begin(name)?;
        let (done, all) = (self.done, self.all);
        let observe = &mut *self.watch.observe;
        let mut on_step = |progress: f64, loss: f64| {
            let what = format!("{name}, {:.0} %, loss {loss:.3}", 100.0 * progress);
            let what = &what;
            observe(Event { what, done, all });
        };
        run.train(train, device, self.watch.stop, &mut on_step)?;
        self.end();
        Ok(())
    }
}
