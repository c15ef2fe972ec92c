//! The `train` subcommand: a tokenizer, then a transformer on its codes, then a model bundle.
//!
//! A run is a folder: `config.yaml` as it was given, `log.jsonl`, and the last checkpoints. The same
//! command on the same folder resumes. See [`nextscale_var_core::train`] for the engine.

pub mod batches;
pub mod config;
mod console;
mod export;
mod run_folder;
pub mod shuffle;
pub mod tokenizer;
pub mod transformer;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use nextscale_var_core::train::{Batches, Budget, Outcome, Task, TrainOptions, Trainer};

use self::config::CONFIG;
use self::tokenizer::{TokenizerKind, bsq, causal, vq};
use self::transformer::{TransformerKind, infinity, infinity_star, var};
use nextscale_data::Dataset;
use nextscale_models::device;
use nextscale_models::device::DeviceChoice;

/// Arguments of `nextscale train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Train an auto-encoder whose codes are bits (`kind: bsq`), rows of a codebook (`kind: vq`) or bits of clips
    /// (`kind: causal`)
    Tokenizer(RunArgs),
    /// Train a transformer on the codes of a trained tokenizer: with a text encoder (`kind: infinity`; of clips
    /// `kind: star`) or with classes (`kind: var`)
    Transformer(RunArgs),
    /// Write the averaged weights of a transformer's run as a model folder
    Export(ExportArgs),
}

/// Arguments of a training run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Configuration (YAML)
    config: PathBuf,
    /// Folder of the run; a run that is already there is resumed [default: runs/ and the configuration's name]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Train this long instead of what the configuration says
    #[arg(long, value_name = "MINUTES", conflicts_with = "max_steps")]
    max_minutes: Option<f64>,
    /// Train this many steps instead of what the configuration says
    #[arg(long, value_name = "STEPS")]
    max_steps: Option<u64>,
    /// Where to compute
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Write a model folder when the run is finished (transformer only)
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
}

/// Arguments of `nextscale train export`.
#[derive(Debug, Args)]
struct ExportArgs {
    /// Folder of a transformer's run
    run: PathBuf,
    /// Folder of the model
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Take the decoder of this tokenizer's run, which was trained with `encoder_of`
    #[arg(long, value_name = "RUN")]
    decoder_of: Option<PathBuf>,
}

/// Runs `nextscale train`.
///
/// # Errors
/// When the configuration, the data or a checkpoint can't be used, or the loss is no longer a
/// number.
pub fn run(args: TrainArgs) -> anyhow::Result<()> {
    match args.what {
        What::Tokenizer(args) => train_tokenizer(&args),
        What::Transformer(args) => train_transformer(&args),
        What::Export(args) => export::export(&args.run, &args.out, args.decoder_of.as_deref()),
    }
}

fn train_tokenizer(args: &RunArgs) -> anyhow::Result<()> {
    ensure!(
        args.export.is_none(),
        "--export is for transformers: a tokenizer alone is no model"
    );
    match config::kind(&args.config)? {
        TokenizerKind::Bsq => train_bsq(args),
        TokenizerKind::Vq => train_vq(args),
        TokenizerKind::Causal => train_causal(args),
    }
}

fn train_bsq(args: &RunArgs) -> anyhow::Result<()> {
    let mut run: bsq::TokenizerRun = config::read(&args.config)?;
    args.apply(&mut run.train);
    let device = device::open(args.device)?.autodiff();
    let set = load(&run.data)?;
    run.check(&set)
        .with_context(|| args.config.display().to_string())?;
    let _lock = args.prepare()?;
    device.seed(run.seed);
    let model = run.start(&device)?;
    let (options, batches) = (run.train, run.batches(Arc::clone(&set)));
    let task = bsq::TokenizerTask::new(run, &set, device)?;
    drive(args, task, model, options, batches)
}

fn train_vq(args: &RunArgs) -> anyhow::Result<()> {
    let mut run: vq::VqRun = config::read(&args.config)?;
    args.apply(&mut run.train);
    let device = device::open(args.device)?.autodiff();
    let set = load(&run.data)?;
    run.check(&set)
        .with_context(|| args.config.display().to_string())?;
    let _lock = args.prepare()?;
    device.seed(run.seed);
    let model = run.model.init(&device);
    let (options, batches) = (run.train, run.batches(Arc::clone(&set)));
    let task = vq::VqTask::new(run, &set, device)?;
    drive(args, task, model, options, batches)
}

fn train_causal(args: &RunArgs) -> anyhow::Result<()> {
    let mut run: causal::CausalRun = config::read(&args.config)?;
    args.apply(&mut run.train);
    let device = device::open(args.device)?.autodiff();
    let set = load(&run.data)?;
    run.check(&set)
        .with_context(|| args.config.display().to_string())?;
    let _lock = args.prepare()?;
    device.seed(run.seed);
    let model = run.start(&device)?;
    let (options, batches) = (run.train, run.batches(Arc::clone(&set)));
    let task = causal::CausalTask::new(run, &set, device)?;
    drive(args, task, model, options, batches)
}

fn train_transformer(args: &RunArgs) -> anyhow::Result<()> {
    match config::kind(&args.config)? {
        TransformerKind::Infinity => train_infinity(args),
        TransformerKind::Var => train_var(args),
        TransformerKind::Star => train_star(args),
    }
}

fn train_infinity(args: &RunArgs) -> anyhow::Result<()> {
    let mut run: infinity::TransformerRun = config::read(&args.config)?;
    args.apply(&mut run.train);
    let device = device::open(args.device)?;
    let set = load(&run.data)?;
    let _lock = args.prepare()?;
    let (vae, cells, _) = run_folder::adopt(&args.out(), &run.tokenizer, &device)?;
    run.check(&cells)
        .with_context(|| args.config.display().to_string())?;
    let continues = run.continues.as_deref();
    let (seed, text) = (run.seed, run.text);
    let learn = || infinity::learn_vocabulary(&set, seed, text.vocabulary);
    let vocab = run_folder::vocabulary(&args.out(), continues, text.max_len, learn)?;
    let task = infinity::TransformerTask::new(&run, vae.clone(), &vocab, &set, &device)?;
    device.seed(run.seed);
    let model = run.start(vae.bits, vocab.size(), &device.autodiff())?;
    let options = run.train;
    let batches = infinity::CaptionedBatches::new(set, vocab, run);
    drive(args, task, model, options, batches)
}

fn train_var(args: &RunArgs) -> anyhow::Result<()> {
    let mut run: var::ClassRun = config::read(&args.config)?;
    args.apply(&mut run.train);
    let device = device::open(args.device)?;
    let set = load(&run.data)?;
    let _lock = args.prepare()?;
    let (vae, schedule, sizes) = run_folder::adopt_vq(&args.out(), &run.tokenizer, &device)?;
    run.check(&set, &sizes, &schedule)
        .with_context(|| args.config.display().to_string())?;
    run_folder::keep_classes(&args.out(), &set)?;
    let shapes = run.model_config(&sizes, &schedule, set.classes().len());
    let task = var::ClassTask::new(run.clone(), vae, &shapes, &set, &device);
    device.seed(run.seed);
    let model = shapes.init(&device.autodiff());
    let options = run.train;
    let batches = var::ClassBatches::new(set, run);
    drive(args, task, model, options, batches)
}

fn train_star(args: &RunArgs) -> anyhow::Result<()> {
    let mut run: infinity_star::StarRun = config::read(&args.config)?;
    args.apply(&mut run.train);
    let device = device::open(args.device)?;
    let set = load(&run.data)?;
    let _lock = args.prepare()?;
    let (vae, tokenizer) = run_folder::adopt_causal(&args.out(), &run.tokenizer, &device)?;
    run.check(&tokenizer)
        .with_context(|| args.config.display().to_string())?;
    let continues = run.continues.as_deref();
    let (seed, text) = (run.seed, run.text);
    let learn = || infinity_star::learn_vocabulary(&set, seed, text.vocabulary);
    let vocab = run_folder::vocabulary(&args.out(), continues, text.max_len, learn)?;
    let task = infinity_star::StarTask::new(&run, &tokenizer, vae, &vocab, &set, &device)?;
    device.seed(run.seed);
    let model = run.start(tokenizer.bits(), vocab.size(), &device.autodiff())?;
    let options = run.train;
    let batches = infinity_star::MovingBatches::new(set, vocab, run);
    drive(args, task, model, options, batches)
}

impl RunArgs {
    /// The folder of the run.
    fn out(&self) -> PathBuf {
        let named = || Path::new("runs").join(self.config.file_stem().unwrap_or_default());
        self.out.clone().unwrap_or_else(named)
    }

    /// Puts the options of the command line over those of the file.
    fn apply(&self, options: &mut TrainOptions) {
        if let Some(minutes) = self.max_minutes {
            options.budget = Budget::Minutes(minutes);
        }
        if let Some(steps) = self.max_steps {
            options.budget = Budget::Steps(steps);
        }
    }

    /// Makes the folder of the run, copies the configuration into it, and keeps other programs away
    /// from it for as long as the returned file is open.
    fn prepare(&self) -> anyhow::Result<File> {
        let out = &self.out();
        fs::create_dir_all(out).with_context(|| format!("cannot make `{}`", out.display()))?;
        let path = out.join("lock");
        let lock =
            File::create(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
        if let Err(TryLockError::WouldBlock) = lock.try_lock() {
            bail!("another program is training in `{}`", out.display());
        }
        let copy = out.join(CONFIG);
        let text = fs::read(&self.config)
            .with_context(|| format!("cannot read `{}`", self.config.display()))?;
        fs::write(&copy, text).with_context(|| format!("cannot write `{}`", copy.display()))?;
        Ok(lock)
    }
}

/// Trains with a progress display until the budget is spent or a signal comes.
fn drive<T: Task, S: Batches<Batch = T::Batch>>(
    args: &RunArgs,
    task: T,
    model: T::Model,
    options: TrainOptions,
    batches: S,
) -> anyhow::Result<()> {
    use burn::module::Module as _;
    eprintln!("{} parameters", model.num_params());
    keep_memory();
    let mut trainer = Trainer::resume_or_start(task, model, options, &args.out())?;
    let stop = console::stop_on_signal()?;
    if trainer.progress().step > 0 {
        eprintln!("resuming at step {}", trainer.progress().step);
    }
    let mut console = console::Console::new();
    let outcome = trainer.run(batches, &stop, &mut |line| console.show(line));
    console.finish();
    let step = trainer.progress().step;
    match outcome? {
        Outcome::Finished => {
            eprintln!("finished at step {step}: `{}`", args.out().display());
            if let Some(folder) = &args.export {
                export::export(&args.out(), folder, None)?;
            }
        }
        Outcome::Stopped => eprintln!("stopped at step {step}; the same command resumes"),
    }
    Ok(())
}

fn load(folder: &Path) -> anyhow::Result<Arc<Dataset>> {
    let set = Dataset::load(folder).with_context(|| {
        format!(
            "cannot read the pictures in `{}`; `nextscale data build` makes them",
            folder.display()
        )
    })?;
    if set.is_empty() {
        bail!("there are no pictures in `{}`", folder.display());
    }
    Ok(Arc::new(set))
}

/// Lets the allocator keep what is freed: every step takes the same large blocks again, and giving
/// them back to the system in between costs a fifth of the time.
fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt(3) sets numbers of the allocator and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}
