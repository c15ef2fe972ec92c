//! Ranks that count what they receive.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Tensor;
use nextscale_var_core::collective::{Collective, CollectiveError};

/// A rank that counts the numbers that it gets from others.
#[derive(Debug)]
pub struct Counting {
    ranks: Arc<dyn Collective>,
    received: Arc<AtomicUsize>,
}

impl Counting {
    /// Of `ranks`, with a count that also grows with what the groups receive into which they are split.
    pub fn over(ranks: Arc<dyn Collective>, received: Arc<AtomicUsize>) -> Arc<dyn Collective> {
        Arc::new(Self { ranks, received })
    }

    fn count(&self, numbers: usize) {
        self.received.fetch_add(numbers, Ordering::Relaxed);
    }

    fn others(&self) -> usize {
        self.world() - 1
    }
}

impl Collective for Counting {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }

    fn world(&self) -> usize {
        self.ranks.world()
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.ranks.barrier()
    }

    fn exchange(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        self.ranks.exchange(own)
    }

    fn broadcast(&self, x: Tensor<1>, from: usize) -> Result<Tensor<1>, CollectiveError> {
        if self.rank() != from {
            self.count(x.dims()[0]);
        }
        self.ranks.broadcast(x, from)
    }

    fn all_reduce(&self, x: Tensor<1>) -> Result<Tensor<1>, CollectiveError> {
        self.count(x.dims()[0] * self.others());
        self.ranks.all_reduce(x)
    }

    fn all_gather(&self, x: Tensor<1>) -> Result<Tensor<1>, CollectiveError> {
        self.count(x.dims()[0] * self.others());
        self.ranks.all_gather(x)
    }

    fn all_to_all(&self, x: Tensor<1>) -> Result<Tensor<1>, CollectiveError> {
        self.count(x.dims()[0] / self.world() * self.others());
        self.ranks.all_to_all(x)
    }

    fn split(&self, group: usize) -> Result<Arc<dyn Collective>, CollectiveError> {
        let ranks = self.ranks.split(group)?;
        Ok(Self::over(ranks, Arc::clone(&self.received)))
    }

    fn abort(&self, code: i32) -> ! {
        self.ranks.abort(code)
    }
}
