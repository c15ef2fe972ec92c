//! Batches made ahead of the training loop.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// Makes batches on the host.
pub trait Batches: Send + 'static {
    /// What the task's loss takes.
    type Batch: Send + 'static;

    /// The batch of a step. It must depend on `step` and on nothing that earlier calls left
    /// behind: that is what makes a resumed run repeat the one that was killed.
    fn batch(&mut self, step: u64) -> Self::Batch;
}

/// A thread that stays a few batches ahead. It ends when the feed is dropped.
pub struct Feed<B> {
    batches: Receiver<B>,
}

impl<B: Send + 'static> Feed<B> {
    /// Starts the thread at the batch of step `first`, `ahead` batches in advance.
    pub fn start<S: Batches<Batch = B>>(mut source: S, first: u64, ahead: usize) -> Self {
        let (sender, batches) = sync_channel(ahead);
        thread::spawn(move || {
            let mut step = first;
            while sender.send(source.batch(step)).is_ok() {
                step += 1;
            }
        });
        Self { batches }
    }

    /// The next batch, or nothing when the thread has panicked.
    pub fn next(&self) -> Option<B> {
        self.batches.recv().ok()
    }
}
