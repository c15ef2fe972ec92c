//! The work of one stage: its messages, one after the other, until its inputs end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use nextscale_tokenizer::graphs;
use tokio::sync::mpsc::Receiver;

use crate::artifact::{Message, Sample};
use crate::dispatch::{Dispatch, Routes};
use crate::error::{PipelineError, panic_message};
use crate::stage::{Context, Event, Input, Output, Stage};

/// A stage on a device, with its queues.
pub(crate) struct Task {
    stage: Box<dyn Stage>,
    context: Context,
    inputs: Inputs,
    out: Output,
}

/// What a stage on a device gets.
pub(crate) struct Inputs {
    receivers: Vec<Receiver<Message>>,
    dispatch: Arc<Dispatch>,
    device: usize,
}

impl Task {
    pub(crate) fn new(
        stage: Box<dyn Stage>,
        context: Context,
        inputs: Inputs,
        routes: Routes,
    ) -> Self {
        let out = Output {
            routes,
            context: context.clone(),
        };
        Self {
            stage,
            context,
            inputs,
            out,
        }
    }

    /// Lets the stage refuse what cannot work.
    pub(crate) fn prepare(&mut self) -> Result<(), PipelineError> {
        self.stage.prepare(&self.context)
    }

    /// Runs the stage to its end; a panic becomes an error, and an error stops the run.
    pub(crate) fn run(self) -> Result<(), PipelineError> {
        let Self {
            mut stage,
            context,
            mut inputs,
            mut out,
        } = self;
        let run = AssertUnwindSafe(|| work(&mut *stage, &mut inputs, &context, &mut out));
        let result = catch_unwind(run).unwrap_or_else(|panic| {
            Err(PipelineError::Panic {
                stage: context.stage.clone(),
                message: panic_message(&*panic),
            })
        });
        if result.is_err() {
            context.cancel.cancel();
        }
        result
    }
}

fn work(
    stage: &mut dyn Stage,
    inputs: &mut Inputs,
    context: &Context,
    out: &mut Output,
) -> Result<(), PipelineError> {
    if inputs.receivers.is_empty() {
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
    if !context.settings.together.is_first() && stage.ports().output.is_none() {
        // The first process writes what all have generated.
        while let Some(messages) = inputs.next(context)? {
            inputs.done(messages.len());
        }
        return context.cancel.check();
    }
    let mut loaded = false;
    while let Some(messages) = inputs.next(context)? {
        context.cancel.check()?;
        let _card = graphs::shared();
        if !std::mem::replace(&mut loaded, true) {
            load(stage, context)?;
        }
        let start = Instant::now();
        let count = messages.len();
        let sample = messages[0].sample.clone();
        let input = Input {
            sample: sample.clone(),
            preview: messages[0].preview,
            artifacts: messages.into_iter().map(|i| i.artifact).collect(),
            context: context.clone(),
        };
        stage.run(&input, out)?;
        inputs.done(count);
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

impl Inputs {
    pub(crate) fn new(
        receivers: Vec<Receiver<Message>>,
        dispatch: &Arc<Dispatch>,
        device: usize,
    ) -> Self {
        let dispatch = Arc::clone(dispatch);
        Self {
            receivers,
            dispatch,
            device,
        }
    }

    /// One message from each input; none when all of them have ended. A stage with several inputs gets no previews, since its
    /// inputs have them at different times.
    fn next(&mut self, context: &Context) -> Result<Option<Vec<Message>>, PipelineError> {
        let several = self.receivers.len() > 1;
        let (dispatch, device) = (&self.dispatch, self.device);
        let receive = |receiver: &mut Receiver<Message>| loop {
            match receiver.blocking_recv() {
                Some(message) if several && message.preview.is_some() => dispatch.done(device, 1),
                message => return message,
            }
        };
        let messages: Vec<_> = self.receivers.iter_mut().map(receive).collect();
        let ended = messages.iter().filter(|i| i.is_none()).count();
        if ended == messages.len() {
            return Ok(None);
        }
        if ended > 0 {
            // A run that stops ends its inputs one after another.
            context.cancel.check()?;
            let message = "its inputs do not have the same number of items";
            return Err(context.failed(message));
        }
        Ok(messages.into_iter().collect())
    }

    /// The stage is done with so many messages.
    fn done(&self, count: usize) {
        self.dispatch.done(self.device, count);
    }
}
