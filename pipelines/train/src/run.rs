//! One run of any kind: read, check, lock, start, train.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::module::Module as _;
use burn::tensor::Device;
use nextscale_curves::EventWriter;
use nextscale_data::Dataset;
use nextscale_distributed::DistributedError;
use nextscale_models::device::{self, DeviceChoice};
use nextscale_var_core::collective::Collective;
use nextscale_var_core::train::{
    Batches, Budget, LogLine, MuonConfig, Observed, Outcome, Ranks, Task, TrainOptions, Trainer,
};
use serde::de::DeserializeOwned;

use crate::agreement;
use crate::config::{self, SharedKeys};
use crate::error::{Result, TrainError, ensure};
use crate::run_folder;
use crate::transformer::MemoryOfRun;

/// What to train, where, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct TrainRequest<'a> {
    /// The configuration (YAML).
    pub config: &'a Path,
    /// Folder of the run; a run that exists is resumed.
    pub out: &'a Path,
    /// Replaces the budget of the configuration.
    pub budget: Option<Budget>,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Fix which kernels a card takes.
    pub deterministic: bool,
    /// The number of the process among those on its machine, from 0: the card that `cuda` and `auto` mean.
    pub local_rank: usize,
    /// The processes that share the run; none if this one is alone. They see the same files, and the first alone writes the run's
    /// folder and reports events.
    pub ranks: Option<&'a Arc<dyn Collective>>,
}

/// What a run reports.
#[derive(Clone, Copy, Debug)]
pub enum TrainEvent<'a> {
    /// The vocabulary of the text encoder is learned from the captions.
    LearningVocabulary,
    /// The model exists and has this number of parameters.
    Parameters(usize),
    /// The run continues at this step.
    Resuming(u64),
    /// Something that should be known, in a sentence.
    Notice(&'a str),
    /// What the run will take in memory.
    Memory(MemoryOfRun),
    /// So many of all images or captions were encoded.
    Encoding {
        /// `images` or `captions`.
        what: &'static str,
        /// Those that are done.
        done: usize,
        /// All of them.
        all: usize,
    },
    /// A line was written to the log.
    Logged(&'a LogLine),
    /// A sheet of samples was written.
    Sheet(&'a Path),
}

/// Receives the events of a run.
pub type Observer<'a> = &'a mut dyn FnMut(TrainEvent<'_>);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainResult {
    /// Whether the budget is spent.
    pub outcome: Outcome,
    /// Steps done, those before a resume included.
    pub step: u64,
}

/// The configuration of a run: one type for each kind of tokenizer and transformer.
pub(crate) trait Run: DeserializeOwned + Debug {
    /// What is trained.
    type Task: Task;
    /// What it is trained on.
    type Batches: Batches<Batch = <Self::Task as Task>::Batch>;

    /// Whether it takes images of several shapes, and clips.
    const ANY_SHAPE: bool = false;

    /// Rejects settings that contradict each other or the data set, before the run's folder is touched.
    fn check(&self, set: &Dataset) -> Result<()>;

    /// Imports what earlier runs made, and initialises the task, the model and the batches.
    fn start(self, set: Arc<Dataset>, context: &mut StartContext<'_>) -> Result<Start<Self>>;
}

/// Where a run starts.
pub(crate) struct StartContext<'a> {
    /// Folder of the run.
    pub out: &'a Path,
    /// The device, without autodiff.
    pub device: &'a Device,
    /// Processes that share the run.
    pub world: usize,
    /// Receives events.
    pub observe: Observer<'a>,
}

/// A run that is ready to train: its task, its model on an autodiff device, and its batches.
pub(crate) type Start<R> = (
    <R as Run>::Task,
    <<R as Run>::Task as Task>::Model,
    <R as Run>::Batches,
);

/// Trains the configuration `R` until its budget is spent or `stop` is set; resumes a run that exists.
pub(crate) fn train<R: Run>(
    request: &TrainRequest<'_>,
    stop: &AtomicBool,
    observe: Observer<'_>,
) -> Result<TrainResult> {
    let &TrainRequest {
        config,
        out,
        budget,
        device,
        deterministic,
        local_rank,
        ranks,
    } = request;
    let run: R = config::read(config)?;
    let SharedKeys { data, train } = config::read(config)?;
    let options = TrainOptions {
        budget: budget.unwrap_or(train.budget),
        ..train
    };
    let in_config = |error: TrainError| error.in_config(config);
    check_muon(&options).map_err(in_config)?;
    if deterministic {
        device::use_deterministic_kernels()?;
    }
    let device = device::open_local(device, local_rank)?;
    let set = load(&data)?;
    if !R::ANY_SHAPE {
        check_squares(&set, &data).map_err(in_config)?;
    }
    run.check(&set).map_err(in_config)?;
    if let Some(ranks) = ranks {
        agreement::check(ranks.as_ref(), request, &set)?;
    }
    let ranks: Ranks = ranks.map_or_else(Ranks::default, |ranks| Arc::clone(ranks).into());
    ranks.share(options.batches_of_step())?;
    // The others find what the first has made.
    let _lock = if ranks.is_first() {
        Some(run_folder::lock(out, config)?)
    } else {
        ranks.barrier().map_err(DistributedError::from)?;
        None
    };
    let mut context = StartContext {
        out,
        device: &device,
        world: ranks.world(),
        observe: &mut *observe,
    };
    let (task, model, batches) = run.start(set, &mut context).map_err(in_config)?;
    if ranks.is_first() {
        ranks.barrier().map_err(DistributedError::from)?;
    }
    observe(TrainEvent::Parameters(model.num_params()));
    let mut trainer = Trainer::on_ranks(task, model, options, out, ranks.clone())?;
    if trainer.progress().step > 0 {
        observe(TrainEvent::Resuming(trainer.progress().step));
    }
    let mut board = if ranks.is_first() {
        Some(EventWriter::create(out, trainer.progress().step)?)
    } else {
        None
    };
    let mut failed = None;
    let outcome = trainer.run(batches, stop, &mut |seen| {
        let Some(board) = board.as_mut() else { return };
        let written = match seen {
            Observed::Line(line) => {
                observe(TrainEvent::Logged(line));
                board.write(line.step, now(), &numbers(line))
            }
            Observed::Sheet(step, path) => {
                observe(TrainEvent::Sheet(path));
                let png = std::fs::read(path).unwrap_or_default();
                board.write_image(step, now(), "samples", &png)
            }
        };
        failed = failed.take().or(written.err());
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    Ok(TrainResult {
        outcome,
        step: trainer.progress().step,
    })
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// All numbers of a line by name.
fn numbers(line: &LogLine) -> Vec<(String, f64)> {
    let mut all = vec![
        ("loss".to_owned(), line.loss),
        ("learning_rate".to_owned(), line.learning_rate),
        ("gradient_norm".to_owned(), line.gradient_norm),
        ("examples_per_second".to_owned(), line.examples_per_second),
    ];
    all.extend(line.parts.0.iter().cloned());
    all
}

/// Refuses numbers with which Muon does not learn.
fn check_muon(options: &TrainOptions) -> Result<()> {
    let Some(MuonConfig { momentum, rate }) = options.muon else {
        return Ok(());
    };
    ensure!(
        (0.0..1.0).contains(&momentum),
        "train: muon: momentum is {momentum}; it must be at least 0 and below 1"
    );
    ensure!(
        rate > 0.0 && rate.is_finite(),
        "train: muon: rate is {rate}; it must be above 0: it multiplies the learning rate"
    );
    Ok(())
}

/// Refuses clips and images that are no squares of one size.
fn check_squares(set: &Dataset, folder: &Path) -> Result<()> {
    ensure!(
        set.frames() == 1,
        "data: `{}` holds clips, which `kind: fine_tune` takes; what is trained from random weights moves its clips itself",
        folder.display()
    );
    ensure!(
        set.is_square(),
        "data: `{}` has images of several shapes, which `kind: fine_tune` takes; build it with `size: N` for squares",
        folder.display()
    );
    Ok(())
}

/// Refuses images without transparency, which cannot be moved over a background.
pub(crate) fn check_sprites(set: &Dataset) -> Result<()> {
    ensure!(
        !set.manifest().opaque,
        "data: the images in `{}` have no transparency, so they cannot move over a background; videos of your own are for `kind: fine_tune`",
        set.folder().display()
    );
    Ok(())
}

/// The data set of a run.
pub(crate) fn load(folder: &Path) -> Result<Arc<Dataset>> {
    let set = Dataset::load(folder).map_err(|reason| TrainError::Data {
        folder: folder.to_path_buf(),
        reason,
    })?;
    ensure!(
        !set.is_empty(),
        "there are no images in `{}`",
        folder.display()
    );
    Ok(Arc::new(set))
}
