//! The trait that every stage implements, built-in or custom.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use burn::tensor::{Device, FloatDType};
use nextscale_models::parts::Parts;
use nextscale_models::{BlockStorage, Placement};
use nextscale_tokenizer::graphs;
use nextscale_var_core::sample_ranks::SampleRanks;

use crate::artifact::{Artifact, ArtifactType, ClipStep, Message, Sample, Step};
use crate::dispatch::Routes;
use crate::error::PipelineError;
use crate::settings::Settings;
use crate::yaml::Node;

/// The typed inputs and the output of a stage.
#[derive(Debug, Clone, Default)]
pub struct Ports {
    /// Inputs by name, in the order in which `run` gets them. A stage without inputs is a source.
    pub inputs: Vec<(&'static str, ArtifactType)>,
    /// The output, if there is one.
    pub output: Option<ArtifactType>,
}

impl Ports {
    /// An output and no input.
    pub fn source(output: impl Into<ArtifactType>) -> Self {
        let (inputs, output) = (vec![], Some(output.into()));
        Self { inputs, output }
    }

    /// One input and an output.
    pub fn one(
        name: &'static str,
        input: impl Into<ArtifactType>,
        output: impl Into<ArtifactType>,
    ) -> Self {
        let (inputs, output) = (vec![(name, input.into())], Some(output.into()));
        Self { inputs, output }
    }
}

/// One step of a pipeline.
///
/// A stage is made from its parameters while the pipeline is checked, once for each device of the run unless it is a source. It must not load weights
/// before `load`, which runs in the stage's own thread when its first message arrives. It is
/// dropped, and its memory freed, as soon as its last message is done.
pub trait Stage: Send {
    /// Its inputs and its output.
    fn ports(&self) -> Ports;

    /// Its parameters for the record in the metadata, where they are not those that it was made from.
    fn resolved(&self) -> Option<serde_json::Value> {
        None
    }

    /// Named values for the `parameters` line of a PNG, such as `CFG scale`.
    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![]
    }

    /// Whether it takes all its inputs before it sends the first on. On several devices the inputs are then shared out in advance;
    /// otherwise a device gets its next one when it is free.
    fn gathers(&self) -> bool {
        false
    }

    /// Estimates what it needs and refuses what cannot work, before any stage loads anything.
    ///
    /// # Errors
    /// Whatever keeps it from running, as far as that is known yet.
    fn prepare(&mut self, _context: &Context) -> Result<(), PipelineError> {
        Ok(())
    }

    /// Loads what it needs.
    ///
    /// # Errors
    /// Whatever keeps it from running.
    fn load(&mut self, _context: &Context) -> Result<(), PipelineError> {
        Ok(())
    }

    /// Processes one input; a source is called once, without artifacts, and sends all messages.
    ///
    /// # Errors
    /// Whatever keeps it from finishing; the pipeline then stops.
    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError>;

    /// Flushes what it buffered, after its last input.
    ///
    /// # Errors
    /// As `run`.
    fn finish(&mut self, _out: &mut Output) -> Result<(), PipelineError> {
        Ok(())
    }
}

/// Stops a run from outside.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the run to stop after the current scale.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the run was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Returns [`PipelineError::Cancelled`] if the run was asked to stop.
    ///
    /// # Errors
    /// Only that one.
    pub fn check(&self) -> Result<(), PipelineError> {
        if self.is_cancelled() {
            Err(PipelineError::Cancelled)
        } else {
            Ok(())
        }
    }
}

/// What happens in a run, for progress bars, timings and collecting results.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // a few per second
pub enum Event {
    /// A stage starts to load.
    Loading {
        /// Name of the stage.
        stage: String,
    },
    /// A stage has loaded.
    Loaded {
        /// Name of the stage.
        stage: String,
        /// How long it took.
        took: Duration,
    },
    /// A scale of a sample is predicted.
    Scale {
        /// Name of the stage.
        stage: String,
        /// The sample.
        sample: Arc<Sample>,
        /// Which scale.
        step: Step,
        /// Where it is in its clip, for videos.
        clip: Option<ClipStep>,
        /// What it leaves out to be faster, in a few words.
        note: Option<String>,
        /// How long it took.
        took: Duration,
    },
    /// A stage has processed an input.
    Done {
        /// Name of the stage.
        stage: String,
        /// The sample.
        sample: Arc<Sample>,
        /// How long it took.
        took: Duration,
    },
    /// The image after a scale, or the first frame after a pass, has been written.
    Preview {
        /// Name of the stage.
        stage: String,
        /// The sample.
        sample: Arc<Sample>,
        /// Which scale.
        step: Step,
        /// The file.
        path: PathBuf,
    },
    /// Something that the user should know, but that stops nothing.
    Warning {
        /// One sentence.
        message: String,
    },
    /// The output of a stage that feeds no other.
    Output {
        /// Name of the stage.
        stage: String,
        /// The output.
        message: Message,
    },
}

/// Receives the events of a run, from several threads.
pub type Observer = Arc<dyn Fn(Event) + Send + Sync>;

/// What a stage may know about its run.
#[derive(Clone)]
pub struct Context {
    /// Its name in the pipeline.
    pub stage: String,
    /// The settings of the pipeline.
    pub settings: Arc<Settings>,
    /// Where tensors live.
    pub device: Device,
    /// Number type of the weights.
    pub dtype: FloatDType,
    /// How many copies of the pipeline run on this device at the same time: 1, unless the run names the device several times.
    pub copies: usize,
    /// Where parts of models come from.
    pub parts: Parts,
    /// Whether a stage of the pipeline has several inputs: a stage that buffered its messages would then block the others.
    pub joins: bool,
    /// Whether what the stage sends reaches one with several inputs: all of the processes that generate samples together need it then.
    pub feeds_join: bool,
    /// Asks to stop.
    pub cancel: Cancel,
    /// Receives events.
    pub observer: Observer,
    /// The pipeline with every default filled in.
    pub resolved: Arc<Node>,
    /// The parameters of all stages, for the `parameters` line of a PNG.
    pub parameters: Arc<Vec<(&'static str, String)>>,
}

impl Context {
    /// An error of this stage.
    pub fn failed(&self, message: impl ToString) -> PipelineError {
        let (stage, message) = (self.stage.clone(), message.to_string());
        PipelineError::Stage { stage, message }
    }

    /// Whether this process sends what several generate together: the first one does, which writes it, and all do where a later stage
    /// needs it to generate more.
    pub fn sends(&self) -> bool {
        self.settings.together.is_first() || self.feeds_join
    }

    /// How the processes that generate samples together share one, whose batch is `guided` or not. All of them call it.
    pub(crate) fn sample_ranks(&self, guided: bool) -> Result<SampleRanks, PipelineError> {
        let Some(ranks) = self.settings.together.ranks() else {
            return Ok(SampleRanks::default());
        };
        SampleRanks::new(Arc::clone(ranks), guided).map_err(|error| self.failed(error))
    }

    /// Where a transformer lies whose blocks are stored like this.
    pub fn placement(&self, blocks: BlockStorage) -> Placement {
        Placement {
            device: self.device.clone(),
            dtype: self.dtype,
            blocks,
        }
    }

    /// Reports a warning.
    pub fn warn(&self, message: String) {
        (self.observer)(Event::Warning { message });
    }

    /// The pipeline that generates one sample of the run again.
    pub fn record(&self, sample: &Sample) -> Node {
        let mut record = (*self.resolved).clone();
        for (path, value) in &sample.pins {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            // A pin that does not fit is left out: the record is then less exact, never wrong.
            let _ = record.set(&path, value.clone());
        }
        record
    }
}

/// One call of a stage.
pub struct Input {
    /// The sample; an empty one for a source.
    pub sample: Arc<Sample>,
    /// Set if the artifacts are a preview.
    pub preview: Option<Step>,
    /// One artifact for each input of the ports, in their order.
    pub artifacts: Vec<Artifact>,
    /// The run.
    pub context: Context,
}

/// Where a stage sends its artifacts. Sending waits while the next stage's queue is full. A source sends all samples of the run; those of
/// other processes go nowhere.
pub struct Output {
    pub(crate) routes: Routes,
    pub(crate) context: Context,
}

impl Output {
    /// Tells of the file of a preview.
    pub(crate) fn preview(&self, input: &Input, step: Step, path: PathBuf) {
        (self.context.observer)(Event::Preview {
            stage: self.context.stage.clone(),
            sample: input.sample.clone(),
            step,
            path,
        });
    }

    /// Sends an artifact that belongs to the sample of the input.
    ///
    /// # Errors
    /// [`PipelineError::Cancelled`] if the run stops.
    pub fn send(&mut self, input: &Input, artifact: Artifact) -> Result<(), PipelineError> {
        let (sample, preview) = (input.sample.clone(), input.preview);
        self.message(Message {
            sample,
            preview,
            artifact,
        })
    }

    /// Sends the artifact of a new sample.
    ///
    /// # Errors
    /// [`PipelineError::Cancelled`] if the run stops.
    pub fn sample(&mut self, sample: Sample, artifact: Artifact) -> Result<(), PipelineError> {
        self.message(Message {
            sample: Arc::new(sample),
            preview: None,
            artifact,
        })
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`PipelineError::Cancelled`] if the run stops.
    pub fn message(&mut self, message: Message) -> Result<(), PipelineError> {
        self.context.cancel.check()?;
        let Some(senders) = self.routes.of(&message.sample, &self.context)? else {
            return Ok(()); // another process generates it
        };
        if senders.is_empty() {
            let stage = self.context.stage.clone();
            (self.context.observer)(Event::Output { stage, message });
            return Ok(());
        }
        for sender in senders {
            let message = message.clone();
            let sent = graphs::waiting(|| sender.blocking_send(message).is_ok());
            if !sent {
                return Err(PipelineError::Cancelled);
            }
        }
        Ok(())
    }
}
