//! Threads that share the cores of this machine.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::thread;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Workers, each with its share of the cores, so that they do not wait for each other. They last, and with them the memory that
/// products and convolutions keep per thread.
pub(super) struct Workers {
    /// One for each worker; none where the caller works alone: if one is enough, or no thread could be started.
    pools: Vec<ThreadPool>,
}

impl Workers {
    /// `count` workers, at least one.
    pub(super) fn new(count: usize) -> Self {
        let cores = (rayon::current_num_threads() / count.max(1)).max(1);
        let pool = |_| ThreadPoolBuilder::new().num_threads(cores).build();
        let pools = (0..count).filter(|_| count > 1).map(pool);
        let pools: Result<Vec<_>, _> = pools.collect();
        Self {
            pools: pools.unwrap_or_default(),
        }
    }

    /// How many items are worked on at the same time.
    pub(super) fn count(&self) -> usize {
        self.pools.len().max(1)
    }

    /// As many workers as cores.
    pub(super) fn on_every_core() -> Self {
        Self::new(rayon::current_num_threads())
    }

    /// The results of `work` for all items, in their order. Each worker takes the next item when it is done with one.
    ///
    /// # Panics
    /// If `work` panics.
    pub(super) fn all<I: Send, R: Send>(
        &self,
        items: Vec<I>,
        work: impl Fn(I) -> R + Sync,
    ) -> Vec<R> {
        if self.pools.len() < 2 || items.len() < 2 {
            return items.into_iter().map(work).collect();
        }
        let items = Mutex::new(items.into_iter().enumerate());
        let next = || items.lock().expect("no worker panics with the lock").next();
        let take = || -> Vec<(usize, R)> {
            std::iter::from_fn(next)
                .map(|(place, item)| (place, work(item)))
                .collect()
        };
        let take = &take;
        let parts: Vec<thread::Result<_>> = thread::scope(|scope| {
            let start = |pool| scope.spawn(move || ThreadPool::install(pool, take));
            let threads: Vec<_> = self.pools.iter().map(start).collect();
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        let parts = parts.into_iter();
        let mut results: Vec<_> = parts
            .flat_map(|part| part.unwrap_or_else(|panic| resume_unwind(panic)))
            .collect();
        results.sort_by_key(|(place, _)| *place);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_and_workers_have_own_cores() {
        let workers = Workers::new(3);
        for count in [0, 1, 50] {
            let results = workers.all((0..count).collect(), |i: usize| {
                // The first take longest.
                thread::sleep(std::time::Duration::from_micros(50 - i as u64));
                (i, rayon::current_num_threads())
            });
            let places: Vec<usize> = results.iter().map(|(i, _)| *i).collect();
            assert_eq!(places, (0..count).collect::<Vec<_>>());
            let cores = (rayon::current_num_threads() / 3).max(1);
            let shared = count > 1;
            assert!(!shared || results.iter().all(|(_, own)| *own == cores));
        }
    }

    #[test]
    #[should_panic(expected = "the work failed")]
    fn a_panic_reaches_the_caller() {
        Workers::new(2).all(vec![1, 2, 3], |i| assert_ne!(i, 2, "the work failed"));
    }
}
