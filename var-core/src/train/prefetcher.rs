//! Batches prepared ahead of the training loop.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// Makes batches on the CPU.
pub trait Batches: Send + 'static {
    /// The input of the task's loss.
    type Batch: Send + 'static;

    /// The batch of a step. It must depend on `step` alone and not on earlier calls, so that a resumed run repeats the one
    /// that was killed.
    fn batch(&mut self, step: u64) -> Self::Batch;
}

/// A thread that prepares a few batches in advance. It ends when the prefetcher is dropped.
pub struct Prefetcher<B> {
    batches: Receiver<B>,
}

impl<B: Send + 'static> Prefetcher<B> {
    /// Starts the thread, which makes the batches of these numbers, `ahead` batches in advance.
    pub fn start<S: Batches<Batch = B>>(
        mut source: S,
        mut numbers: impl Iterator<Item = u64> + Send + 'static,
        ahead: usize,
    ) -> Self {
        let (sender, batches) = sync_channel(ahead);
        thread::spawn(move || numbers.all(|number| sender.send(source.batch(number)).is_ok()));
        Self { batches }
    }

    /// The next batch; none if the thread has panicked.
    pub fn next(&self) -> Option<B> {
        self.batches.recv().ok()
    }
}
