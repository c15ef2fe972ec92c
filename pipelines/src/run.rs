//! Running a pipeline: one thread a stage, bounded queues between them.
//!
//! Each stage is a blocking task of the tokio runtime, since it computes all the time. While one
//! image is generated, the text of the next is already encoded, and the one before is decoded and
//! saved. A full queue makes the faster stage wait, so memory stays bounded for any number of
//! prompts.
//!
//! With several devices, each has a copy of every stage but the sources, which send a sample to the device that is free.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{Device, FloatDType};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;

use crate::artifact::Message;
use crate::dispatch::{Dispatch, Routes};
use crate::error::PipelineError;
use crate::graph::{GraphNode, Pipeline};
use crate::settings::{Settings, random_seed};
use crate::stage::{Cancel, Context, Event, Observer};
use crate::work::{Inputs, Task};

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
        let settings = &mut self.spec.settings;
        settings.share.check_seed(settings.seed)?;
        if settings.together.ranks().is_some() && settings.device.are_several() {
            let message =
                "processes that generate each image together have one device each: name one device";
            return Err(PipelineError::refused(message));
        }
        if settings.deterministic {
            nextscale_models::device::use_deterministic_kernels()?;
        }
        let devices = open(settings)?;
        let seed = *settings.seed.get_or_insert_with(random_seed);
        tracing::info!(seed, "run");
        let observer = match devices.len() {
            1 => observer,
            _ => telling_once(observer),
        };
        let contexts = self.contexts(&devices, &cancel, &observer)?;
        let mut stages = self.tasks(contexts);
        for task in &mut stages {
            task.prepare()?;
        }
        let mut tasks = JoinSet::new();
        for task in stages {
            tasks.spawn_blocking(move || task.run());
        }
        collect(tasks).await
    }

    /// What the stages on each device have in common.
    fn contexts(
        &self,
        devices: &[(Device, FloatDType)],
        cancel: &Cancel,
        observer: &Observer,
    ) -> Result<Vec<Context>, PipelineError> {
        let resolved = Arc::new(self.resolved()?);
        let parameters = self.stages.iter().flat_map(|s| s.stage.parameters());
        let parameters = Arc::new(parameters.collect::<Vec<_>>());
        let settings = Arc::new(self.spec.settings.clone());
        let joins = self.stages.iter().any(|node| node.sources.len() > 1);
        let context = |(device, dtype): &(Device, FloatDType)| Context {
            stage: String::new(),
            settings: settings.clone(),
            device: device.clone(),
            dtype: *dtype,
            copies: devices.iter().filter(|(other, _)| other == device).count(),
            parts: self.parts.clone(),
            joins,
            feeds_join: false,
            cancel: cancel.clone(),
            observer: observer.clone(),
            resolved: resolved.clone(),
            parameters: parameters.clone(),
        };
        Ok(devices.iter().map(context).collect())
    }

    /// Every stage with its queues, on every device; the sources once.
    fn tasks(self, contexts: Vec<Context>) -> Vec<Task> {
        let joins = contexts.iter().any(|context| context.joins);
        let gathers = self.stages.iter().any(|node| node.stage.gathers());
        let share = self.spec.settings.share;
        let dispatch = Arc::new(Dispatch::new(share, contexts.len(), joins || gathers));
        let mut ends: Vec<Ends> = contexts.iter().map(|_| wire(&self.stages)).collect();
        let feeds_join: Vec<bool> = (0..self.stages.len())
            .map(|index| feeds_join(&self.stages, index))
            .collect();
        let mut tasks = vec![];
        for (index, node) in self.stages.into_iter().enumerate() {
            let is_source = node.sources.is_empty();
            let stages = std::iter::once(node.stage).chain(node.copies);
            for (device, stage) in stages.enumerate() {
                let receivers = std::mem::take(&mut ends[device].0[index]);
                let routes = if is_source {
                    let all = ends.iter_mut().map(|(_, senders)| &mut senders[index]);
                    Routes::source(&dispatch, all.map(std::mem::take).collect())
                } else {
                    let own = std::mem::take(&mut ends[device].1[index]);
                    Routes::own(&dispatch, device, own)
                };
                let context = Context {
                    stage: node.name.clone(),
                    feeds_join: feeds_join[index],
                    ..contexts[device].clone()
                };
                let inputs = Inputs::new(receivers, &dispatch, device);
                tasks.push(Task::new(stage, context, inputs, routes));
            }
        }
        tasks
    }
}

/// The devices of a run, with the number type of the weights on each.
fn open(settings: &Settings) -> Result<Vec<(Device, FloatDType)>, PipelineError> {
    let local_rank = settings.share.local_rank();
    let open = |choice| {
        let device = nextscale_models::device::open_local(choice, local_rank)?;
        let dtype = nextscale_models::device::dtype(settings.dtype, &device)?;
        Ok((device, dtype))
    };
    settings.device.iter().map(open).collect()
}

/// Passes each warning on once: the copies of a stage have the same ones.
fn telling_once(observer: Observer) -> Observer {
    let told = Mutex::new(HashSet::new());
    Arc::new(move |event| {
        if let Event::Warning { message } = &event {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if !told.insert(message.clone()) {
                return;
            }
        }
        observer(event);
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

/// Whether what a stage sends reaches, through others or not, a stage with several inputs.
fn feeds_join(stages: &[GraphNode], index: usize) -> bool {
    let next = stages.iter().enumerate();
    let mut next = next.filter(|(_, node)| node.sources.contains(&index));
    next.any(|(next, node)| node.sources.len() > 1 || feeds_join(stages, next))
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
