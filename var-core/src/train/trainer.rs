//! The training loop.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::module::Module;
use burn::tensor::Tensor;

use super::average::WeightAverage;
use super::checkpoint::{Checkpoint, Progress, State, TrainError, latest};
use super::clip::clip_apart;
use super::log::{LogLine, Measurements, TrainLog};
use super::optimizer::AdamW;
use super::options::TrainOptions;
use super::prefetcher::{Batches, Prefetcher};
use super::ranks::{Decision, Ranks};
use super::shards::Optimizer;
use super::task::{Loss, Task};
use super::workers::Workers;

/// Why a run returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The budget is spent.
    Finished,
    /// It was stopped, and can be resumed.
    Stopped,
}

/// What a run tells while it goes on.
#[derive(Clone, Copy, Debug)]
pub enum Observed<'a> {
    /// A line of the log.
    Line(&'a LogLine),
    /// A sheet of samples after so many steps, a PNG file.
    Sheet(u64, &'a Path),
}

/// What a step did.
struct Update {
    loss: Loss,
    /// The learning rate.
    rate: f64,
    /// Norms of the gradients: of the network that is clipped on its own, after that of the rest.
    norms: [f32; 2],
}

/// A model in training. See the [module](super) for the order of a step.
pub struct Trainer<T: Task> {
    task: T,
    options: TrainOptions,
    run: PathBuf,
    model: Option<T::Model>,
    average: WeightAverage<T::Model>,
    optimizer: Optimizer,
    progress: Progress,
    ranks: Ranks,
    /// They compute batches in parallel.
    workers: Workers,
}

impl<T: Task> Trainer<T> {
    /// Resumes the run in the folder `run` if it has a checkpoint, otherwise starts one from `model`, which is on an autodiff
    /// device.
    ///
    /// # Errors
    /// If there is a checkpoint that cannot be read, or is of another model.
    pub fn resume_or_start(
        task: T,
        model: T::Model,
        options: TrainOptions,
        run: &Path,
    ) -> Result<Self, TrainError> {
        Self::on_ranks(task, model, options, run, Ranks::default())
    }

    /// As [`resume_or_start`](Self::resume_or_start), on several processes, each of which calls it in the same way. They start from
    /// the weights of the first, which alone writes the log, the checkpoints and the samples.
    ///
    /// # Errors
    /// Also if the batches of a step cannot be shared evenly, or a process finds another checkpoint.
    pub fn on_ranks(
        task: T,
        model: T::Model,
        options: TrainOptions,
        run: &Path,
        ranks: Ranks,
    ) -> Result<Self, TrainError> {
        ranks.share(options.batches_of_step())?;
        std::fs::create_dir_all(run).map_err(TrainError::io(run))?;
        let checkpoint = latest(run)?;
        let (model, average, progress) = match &checkpoint {
            Some(found) => {
                let average = found.average(task.averaged(&model).valid())?;
                let model = found.model(model)?;
                let average = WeightAverage::from_module(average, options.average_decay);
                (model, average, found.progress()?)
            }
            None => {
                let average = WeightAverage::new(&*task.averaged(&model), options.average_decay);
                (model, average, Progress::default())
            }
        };
        ranks.agree_on(progress.step)?;
        let model = ranks.first_model(model)?;
        let average = average.map(|average| ranks.first_model(average))?;
        let adamw = || {
            let all = AdamW::new(&options.adamw, &model, task.no_decay());
            let all = match options.muon {
                Some(muon) => all.with_muon(muon, &model, task.no_decay()),
                None => all,
            };
            match task.apart() {
                Some(apart) => all.with_rate(&model, apart.field, apart.rate, task.no_decay()),
                None => all,
            }
        };
        let mut optimizer = Optimizer::new(&model, options.shard_optimizer, &ranks, adamw);
        if let Some(found) = &checkpoint {
            optimizer = optimizer.load(&found.path)?;
            found.restore_state(|state| task.restore_state(state))?;
        }
        Ok(Self {
            task,
            workers: Workers::new(options.parallel),
            options,
            run: run.to_path_buf(),
            model: Some(model),
            average,
            optimizer,
            progress,
            ranks,
        })
    }

    /// Progress of the run.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// The averaged weights.
    pub fn average(&self) -> &T::Model {
        self.average.module()
    }

    /// The task.
    pub fn task(&self) -> &T {
        &self.task
    }

    /// Trains until the budget is spent or `stop` is set, and writes a checkpoint in both cases. `observe` gets every line of
    /// the log and every sheet of samples.
    ///
    /// # Errors
    /// If the loss is not finite, or a file cannot be written.
    pub fn run<S: Batches<Batch = T::Batch>>(
        &mut self,
        batches: S,
        stop: &AtomicBool,
        observe: &mut dyn FnMut(Observed<'_>),
    ) -> Result<Outcome, TrainError> {
        let ranks = self.ranks.clone();
        let batches_of_step = self.options.batches_of_step();
        let share = ranks.share(batches_of_step)?;
        let numbers = ranks.numbers(self.progress.step, batches_of_step, share);
        let ahead = 3 * share.min(self.options.parallel.max(1));
        let feed = Prefetcher::start(batches, numbers, ahead);
        let mut log = if ranks.is_first() {
            Some(TrainLog::open(&self.run, self.progress.step)?)
        } else {
            None
        };
        let mut saved = Instant::now();
        let mut window = (self.progress.examples, self.progress.seconds);
        loop {
            let decision = ranks.decide(Decision {
                stop: stop.load(Ordering::Relaxed),
                save: saved.elapsed().as_secs_f64() > self.options.checkpoint_minutes * 60.0,
                seconds: self.progress.seconds,
            })?;
            self.progress.seconds = decision.seconds;
            let spent = self.spent();
            let finished = spent >= 1.0;
            if finished || decision.stop {
                self.save()?;
                return Ok(if finished {
                    Outcome::Finished
                } else {
                    Outcome::Stopped
                });
            }
            if decision.save {
                self.save()?;
                saved = Instant::now();
            }
            let step = self.progress.step;
            let batches = (0..share).map(|_| feed.next());
            let batches: Option<Vec<_>> = batches.collect();
            let batches = batches.ok_or(TrainError::NoBatch { step })?;
            let loss = self.step(batches, spent)?;
            let Some(log) = log.as_mut() else { continue };
            if let Some(mut line) = self.line(loss) {
                let seconds = self.progress.seconds - window.1;
                line.examples_per_second = (self.progress.examples - window.0) as f64 / seconds;
                window = (self.progress.examples, self.progress.seconds);
                log.write(&line)?;
                observe(Observed::Line(&line));
            }
            if let Some(path) = self.sample()? {
                observe(Observed::Sheet(self.progress.step, &path));
            }
        }
    }

    fn spent(&self) -> f64 {
        self.options
            .budget
            .progress(self.progress.step, self.progress.seconds)
    }

    /// One optimiser step.
    fn step(&mut self, batches: Vec<T::Batch>, spent: f64) -> Result<Update, TrainError> {
        let started = Instant::now();
        let step = self.progress.step;
        let model = self.model.take().expect("the model is always put back");
        let computed = self
            .ranks
            .gradients(&self.task, &model, batches, &self.workers);
        let (loss, gradients) = computed?;
        if self.ranks.world() > 1 {
            let traces = self.ranks.exchange(&self.task.traces())?;
            self.task.receive_traces(traces);
        }
        let apart = self.task.apart().map(|apart| apart.field);
        let most = self.options.adamw.clip_norm;
        let (gradients, norms) = clip_apart(&model, gradients, most, apart);
        if norms.iter().any(|norm| !norm.is_finite()) {
            self.model = Some(model);
            let checkpoint = latest(&self.run)?.map(|found| found.path);
            return Err(TrainError::NotANumber { step, checkpoint });
        }
        let budget = self.options.budget;
        let rate = self.options.learning_rate.at(budget, step, spent);
        let position = budget.position(step, spent);
        let model = self.optimizer.step(rate, position, model, gradients)?;
        let model = self.task.after_step(model, step, spent);
        self.average.update(&self.task.averaged(&model), step);
        self.model = Some(model);
        self.progress.step += 1;
        self.progress.examples += loss.examples as u64;
        self.progress.seconds += started.elapsed().as_secs_f64();
        Ok(Update { loss, rate, norms })
    }

    /// A line for the log, if one is due.
    fn line(&mut self, update: Update) -> Option<LogLine> {
        let Update {
            loss,
            rate,
            norms: [norm, apart],
        } = update;
        let Progress { step, seconds, .. } = self.progress;
        let spent = self.spent();
        let every = |n: u64| n > 0 && step.is_multiple_of(n);
        let evaluate = every(self.options.evaluate_every) || spent >= 1.0;
        if !(every(self.options.log_every.max(1)) || evaluate) {
            return None;
        }
        let number = |tensor: Tensor<1>| tensor.into_scalar::<f32>() as f64;
        let mut parts: Vec<(String, f64)> = loss
            .parts
            .into_iter()
            .map(|(name, value)| (name.to_string(), number(value)))
            .collect();
        if let Some(network) = self.task.apart().filter(|_| apart > 0.0) {
            let name = format!("{}_gradient_norm", network.field);
            parts.push((name, f64::from(apart)));
        }
        parts.extend(self.task.measure());
        if evaluate {
            let measured = self.task.evaluate(self.average.module());
            parts.extend(measured);
        }
        Some(LogLine {
            step,
            progress: spent,
            loss: number(loss.total),
            parts: Measurements(parts),
            learning_rate: rate,
            gradient_norm: norm as f64,
            examples_per_second: 0.0,
            seconds,
        })
    }

    /// Writes a sheet of samples, if one is due.
    fn sample(&self) -> Result<Option<PathBuf>, TrainError> {
        let (step, every) = (self.progress.step, self.task.sample_every());
        let due = every > 0 && (step.is_multiple_of(every) || self.spent() >= 1.0);
        if !due {
            return Ok(None);
        }
        let folder = self.run.join("samples");
        std::fs::create_dir_all(&folder).map_err(TrainError::io(&folder))?;
        let path = folder.join(format!("step-{step:08}.png"));
        let part = folder.join("sheet.part");
        let made = self.task.sample(self.average.module(), &part);
        made.map_err(|reason| TrainError::Samples { step, reason })?;
        std::fs::rename(&part, &path).map_err(TrainError::io(&path))?;
        Ok(Some(path))
    }

    fn save(&self) -> Result<(), TrainError> {
        let state = State {
            progress: &self.progress,
            model: self.model.as_ref().expect("the model is always put back"),
            average: &self.average,
            optimizer: &self.optimizer,
            memory: self.task.state(),
        };
        Checkpoint::save(&self.run, self.options.keep, &self.ranks, &state)
    }
}
