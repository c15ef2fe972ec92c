//! Which process and which device generates a sample: asked once for each, when its source sends it.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nextscale_tokenizer::graphs;
use tokio::sync::mpsc::Sender;

use crate::artifact::{Message, Sample};
use crate::error::PipelineError;
use crate::share::Share;
use crate::stage::{Cancel, Context};

/// How often a source that waits for a device looks whether the run was stopped.
const LOOK: Duration = Duration::from_millis(50);

/// Gives the samples of this process to the devices that are free.
pub(crate) struct Dispatch {
    share: Share,
    /// Whether the devices take turns, since a stage takes more inputs before it sends the first on, and none is free until then.
    in_turn: bool,
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    devices: Vec<Load>,
    /// The device of each sample, by its index; empty if there is one device.
    owners: HashMap<usize, usize>,
    /// Whether it was said that some processes have nothing to do.
    has_told: bool,
}

/// What a device has got.
#[derive(Default, Clone)]
struct Load {
    /// Messages that wait for a stage or are in one.
    messages: usize,
    /// Samples since the start.
    samples: usize,
}

impl Dispatch {
    pub(crate) fn new(share: Share, devices: usize, in_turn: bool) -> Self {
        let state = State {
            devices: vec![Load::default(); devices],
            owners: HashMap::new(),
            has_told: false,
        };
        Self {
            share,
            in_turn,
            state: Mutex::new(state),
            freed: Condvar::new(),
        }
    }

    /// The device of a sample of this process; waits until one is free.
    fn device_of(&self, sample: &Sample, cancel: &Cancel) -> Result<usize, PipelineError> {
        let mut state = self.lock();
        if state.devices.len() == 1 {
            return Ok(0);
        }
        loop {
            cancel.check()?;
            // Another source of the run, or the turn of a story before this one, has asked already.
            if let Some(&owner) = state.owners.get(&sample.index) {
                return Ok(owner);
            }
            if let Some(device) = self.free(&state, sample) {
                state.owners.insert(sample.index, device);
                state.devices[device].samples += 1;
                return Ok(device);
            }
            let waited = self.freed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A device that is to take the next sample. One that works gets another in advance, but not one of the last, which would wait there
    /// while other devices have nothing to do.
    fn free(&self, state: &State, sample: &Sample) -> Option<usize> {
        let devices = state.devices.len();
        if self.in_turn {
            return Some(sample.index / self.share.of() % devices);
        }
        let all = self.share.count(sample.total);
        let left = all.saturating_sub(state.owners.len());
        let most = usize::from(left > devices);
        let loads = state.devices.iter().enumerate();
        let free = loads.filter(|(_, load)| load.messages <= most);
        let first = free.min_by_key(|(_, load)| (load.messages, load.samples));
        first.map(|(device, _)| device)
    }

    /// A device gets messages.
    fn sent(&self, device: usize, messages: usize) {
        self.lock().devices[device].messages += messages;
    }

    /// A stage on a device is done with messages.
    pub(crate) fn done(&self, device: usize, messages: usize) {
        let mut state = self.lock();
        let load = &mut state.devices[device];
        load.messages = load.messages.saturating_sub(messages);
        drop(state);
        self.freed.notify_all();
    }

    /// Says once, for all processes, if there are more of them than samples.
    fn tell_idle(&self, sample: &Sample, context: &Context) {
        let (of, total) = (self.share.of(), sample.total);
        let some_idle = self.share.is_first() && (1..of).contains(&total);
        if some_idle && !std::mem::replace(&mut self.lock().has_told, true) {
            let idle = of - total;
            context.warn(format!("{idle} of {of} processes have nothing to generate"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the messages of a stage go.
pub(crate) struct Routes {
    dispatch: Arc<Dispatch>,
    to: Receivers,
}

enum Receivers {
    /// Of a source: the stages that it feeds, on each device.
    Any(Vec<Vec<Sender<Message>>>),
    /// Of another stage: those on its own device.
    Own(usize, Vec<Sender<Message>>),
}

impl Routes {
    /// Those of a source, by device.
    pub(crate) fn source(dispatch: &Arc<Dispatch>, senders: Vec<Vec<Sender<Message>>>) -> Self {
        Self {
            dispatch: Arc::clone(dispatch),
            to: Receivers::Any(senders),
        }
    }

    /// Those of a stage on a device that has inputs.
    pub(crate) fn own(
        dispatch: &Arc<Dispatch>,
        device: usize,
        senders: Vec<Sender<Message>>,
    ) -> Self {
        Self {
            dispatch: Arc::clone(dispatch),
            to: Receivers::Own(device, senders),
        }
    }

    /// Where a message of a sample is to be sent, which counts as sent; none if another process generates the sample.
    pub(crate) fn of(
        &self,
        sample: &Sample,
        context: &Context,
    ) -> Result<Option<&[Sender<Message>]>, PipelineError> {
        let (device, senders) = match &self.to {
            Receivers::Own(device, senders) => (*device, senders),
            Receivers::Any(senders) => {
                self.dispatch.tell_idle(sample, context);
                if !self.dispatch.share.has(sample.index) {
                    return Ok(None);
                }
                let waiting = || self.dispatch.device_of(sample, &context.cancel);
                let device = graphs::waiting(waiting)?;
                (device, &senders[device])
            }
        };
        self.dispatch.sent(device, senders.len());
        Ok(Some(senders))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(index: usize, total: usize) -> Sample {
        Sample {
            index,
            total,
            ..Sample::default()
        }
    }

    fn give(dispatch: &Dispatch, index: usize, total: usize) -> Option<usize> {
        let sample = sample(index, total);
        let device = dispatch.free(&dispatch.lock(), &sample)?;
        assert_eq!(
            dispatch.device_of(&sample, &Cancel::default()).unwrap(),
            device
        );
        dispatch.sent(device, 1);
        Some(device)
    }

    #[test]
    fn a_free_device_takes_the_next_sample() {
        let dispatch = Dispatch::new(Share::default(), 2, false);
        let mut next = 0..;
        let mut give = || give(&dispatch, next.next().unwrap(), 6);
        assert_eq!([give(), give()], [Some(0), Some(1)]);
        assert_eq!([give(), give()], [Some(0), Some(1)], "one in advance");
        dispatch.done(1, 2);
        assert_eq!(give(), Some(1));
        dispatch.done(0, 1);
        // The last one is not put behind another one.
        assert!(dispatch.free(&dispatch.lock(), &sample(5, 6)).is_none());
        dispatch.done(0, 1);
        assert_eq!(give(), Some(0));
        // Another source of the same samples asks after them.
        let again = dispatch.device_of(&sample(4, 6), &Cancel::default());
        assert_eq!(again.unwrap(), 1);
    }

    #[test]
    fn two_samples_are_for_two_devices() {
        let dispatch = Dispatch::new(Share::default(), 2, false);
        let both = [0, 1].map(|index| give(&dispatch, index, 2));
        assert_eq!(both, [Some(0), Some(1)]);
    }

    #[test]
    fn devices_take_turns_at_the_samples_of_a_process() {
        let share = Share::new(1, 3).unwrap();
        let dispatch = Dispatch::new(share, 2, true);
        let own = [1, 4, 7, 10].map(|index| give(&dispatch, index, 12));
        assert_eq!(own, [Some(0), Some(1), Some(0), Some(1)]);
    }

    #[test]
    fn a_source_that_waits_can_be_stopped() {
        let dispatch = Dispatch::new(Share::default(), 2, false);
        assert_eq!([0, 1].map(|i| give(&dispatch, i, 3)), [Some(0), Some(1)]);
        let cancel = Cancel::default();
        cancel.cancel();
        assert!(dispatch.device_of(&sample(2, 3), &cancel).is_err());
    }
}
