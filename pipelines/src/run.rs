//! Running a pipeline: one thread a stage, bounded queues between them.
//!
//! Each stage is a blocking task of the tokio runtime, since it computes all the time. While one
//! image is generated, the text of the next is already encoded, and the one before is decoded and
//! saved. A full queue makes the faster stage wait, so memory stays bounded for any number of
//! prompts.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use nextscale_tokenizer::graphs;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;

use crate::artifact::{Message, Sample};
use crate::error::{PipelineError, panic_message};
use crate::graph::{GraphNode, Pipeline};
use crate::settings::random_seed;
use crate::stage::{Cancel, Context, Event, Input, Observer, Output, Stage};

/// Messages that can wait between two stages.
const QUEUE: usize = 2;

impl Pipeline {
    /// Runs to the end, on a runtime of its own.
    ///
    /// # Errors
    /// The first error of a stage, or [`PipelineError::Cancelled`].
    pub fn run_blocking(self, cancel: Cancel, observer: Observer) -> Result<(), PipelineError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build();
        let runtime = runtime
            .map_err(|e| PipelineError::refused(format!("cannot start the runtime: {e}")))?;
        runtime.block_on(self.run(cancel, observer))
    }

    /// Runs to the end. `cancel` stops it after the current scale; `observer` receives the events, with
    /// the outputs of stages that feed no other.
    ///
    /// # Errors
    /// The first error of a stage, or [`PipelineError::Cancelled`].
    pub async fn run(mut self, cancel: Cancel, observer: Observer) -> Result<(), PipelineError> {
        if self.spec.settings.deterministic {
            nextscale_models::device::use_deterministic_kernels()?;
        }
        let device = nextscale_models::device::open(self.spec.settings.device)?;
        let dtype = nextscale_models::device::dtype(self.spec.settings.dtype, &device)?;
        let seed = *self.spec.settings.seed.get_or_insert_with(random_seed);
        tracing::info!(seed, "run");
        let resolved = Arc::new(self.resolved()?);
        let parameters = Arc::new(
            self.stages
                .iter()
                .flat_map(|s| s.stage.parameters())
                .collect::<Vec<_>>(),
        );
        let settings = Arc::new(self.spec.settings.clone());
        let (mut inputs, mut outputs) = wire(&self.stages);
        let joins = self.stages.iter().any(|node| node.sources.len() > 1);
        let context = |node: &GraphNode| Context {
            stage: node.name.clone(),
            settings: settings.clone(),
            device: device.clone(),
            dtype,
            parts: self.parts.clone(),
            joins,
            cancel: cancel.clone(),
            observer: observer.clone(),
            resolved: resolved.clone(),
            parameters: parameters.clone(),
        };
        let contexts: Vec<Context> = self.stages.iter().map(context).collect();
        for (node, context) in self.stages.iter_mut().zip(&contexts) {
            node.stage.prepare(context)?;
        }
        let mut tasks = JoinSet::new();
        for (index, (node, context)) in self.stages.into_iter().zip(contexts).enumerate() {
            let receivers = std::mem::take(&mut inputs[index]);
            let senders = std::mem::take(&mut outputs[index]);
            let mut stage = node.stage;
            tasks.spawn_blocking(move || {
                let result = guarded(&mut *stage, receivers, senders, &context);
                if result.is_err() {
                    context.cancel.cancel();
                }
                result
            });
        }
        collect(tasks).await
    }
}

/// Runs a stage to its end; a panic becomes an error.
fn guarded(
    stage: &mut dyn Stage,
    receivers: Vec<Receiver<Message>>,
    senders: Vec<Sender<Message>>,
    context: &Context,
) -> Result<(), PipelineError> {
    let mut out = Output {
        senders,
        context: context.clone(),
    };
    let run = AssertUnwindSafe(|| work(stage, receivers, context, &mut out));
    catch_unwind(run).unwrap_or_else(|panic| {
        Err(PipelineError::Panic {
            stage: context.stage.clone(),
            message: panic_message(&*panic),
        })
    })
}

/// Waits for all stages; the first real error counts, then a stop on request.
async fn collect(mut tasks: JoinSet<Result<(), PipelineError>>) -> Result<(), PipelineError> {
    let mut first = None;
    while let Some(joined) = tasks.join_next().await {
        let result = joined
            .unwrap_or_else(|e| Err(PipelineError::refused(format!("a stage did not end: {e}"))));
        match (&first, result) {
            (_, Ok(())) => {}
            (None | Some(PipelineError::Cancelled), Err(error)) => first = Some(error),
            (Some(_), Err(_)) => {}
        }
    }
    first.map_or(Ok(()), Err)
}

type Ends = (Vec<Vec<Receiver<Message>>>, Vec<Vec<Sender<Message>>>);

/// A queue for every wire: receivers by stage in the order of its inputs, senders by stage.
fn wire(stages: &[GraphNode]) -> Ends {
    let mut receivers: Vec<Vec<_>> = stages.iter().map(|_| vec![]).collect();
    let mut senders: Vec<Vec<_>> = stages.iter().map(|_| vec![]).collect();
    for (index, node) in stages.iter().enumerate() {
        for &source in &node.sources {
            let (sender, receiver) = channel(QUEUE);
            receivers[index].push(receiver);
            senders[source].push(sender);
        }
    }
    (receivers, senders)
}

fn work(
    stage: &mut dyn Stage,
    mut receivers: Vec<Receiver<Message>>,
    context: &Context,
    out: &mut Output,
) -> Result<(), PipelineError> {
    if receivers.is_empty() {
        let _card = graphs::shared();
        load(stage, context)?;
        let input = Input {
            sample: Arc::new(Sample::default()),
            preview: None,
            artifacts: vec![],
            context: context.clone(),
        };
        return stage.run(&input, out);
    }
    let mut loaded = false;
    while let Some(messages) = next(&mut receivers, context)? {
        context.cancel.check()?;
        let _card = graphs::shared();
        if !std::mem::replace(&mut loaded, true) {
            load(stage, context)?;
        }
        let start = Instant::now();
        let sample = messages[0].sample.clone();
        let input = Input {
            sample: sample.clone(),
            preview: messages[0].preview,
            artifacts: messages.into_iter().map(|i| i.artifact).collect(),
            context: context.clone(),
        };
        stage.run(&input, out)?;
        let (stage, took) = (context.stage.clone(), start.elapsed());
        (context.observer)(Event::Done {
            stage,
            sample,
            took,
        });
    }
    context.cancel.check()?;
    let _card = graphs::shared();
    stage.finish(out)
}

fn load(stage: &mut dyn Stage, context: &Context) -> Result<(), PipelineError> {
    let (name, start) = (context.stage.clone(), Instant::now());
    (context.observer)(Event::Loading {
        stage: name.clone(),
    });
    stage.load(context)?;
    let took = start.elapsed();
    (context.observer)(Event::Loaded { stage: name, took });
    Ok(())
}

/// One message from each input; none when all of them have ended. A stage with several inputs gets no previews, since its
/// inputs have them at different times.
fn next(
    receivers: &mut [Receiver<Message>],
    context: &Context,
) -> Result<Option<Vec<Message>>, PipelineError> {
    let several = receivers.len() > 1;
    let mut receive = |receiver: &mut Receiver<Message>| loop {
        match receiver.blocking_recv() {
            Some(message) if several && message.preview.is_some() => {}
            message => return message,
        }
    };
    let messages: Vec<_> = receivers.iter_mut().map(&mut receive).collect();
    let ended = messages.iter().filter(|i| i.is_none()).count();
    if ended == messages.len() {
        return Ok(None);
    }
    if ended > 0 {
        // A run that stops ends its inputs one after another.
        context.cancel.check()?;
        return Err(context.failed("its inputs do not have the same number of items"));
    }
    Ok(messages.into_iter().collect())
}
