//! The jobs of which a server has something to tell: those that are not over, and the latest of the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::job::Job;

/// Jobs that are kept in memory.
const REMEMBERED: usize = 1000;

/// Jobs by name.
#[derive(Debug, Default)]
pub(crate) struct KnownJobs(Mutex<Jobs>);

#[derive(Debug, Default)]
struct Jobs {
    by_id: HashMap<String, Arc<Job>>,
    /// The oldest first.
    order: Vec<String>,
}

impl KnownJobs {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job by its name.
    pub fn find(&self, id: &str) -> Option<Arc<Job>> {
        self.lock().by_id.get(id).cloned()
    }

    /// Adds a job; where there are too many, the oldest that is over goes.
    pub fn add(&self, job: &Arc<Job>) {
        let mut jobs = self.lock();
        jobs.order.push(job.id.clone());
        jobs.by_id.insert(job.id.clone(), Arc::clone(job));
        if jobs.order.len() > REMEMBERED {
            let is_over = |id: &&String| jobs.by_id.get(*id).is_none_or(|job| job.is_over());
            let oldest = jobs.order.iter().find(is_over).cloned();
            if let Some(oldest) = oldest {
                jobs.forget(&oldest);
            }
        }
    }

    /// Forgets a job.
    pub fn forget(&self, id: &str) {
        self.lock().forget(id);
    }

    /// Jobs that are not over.
    pub fn unfinished(&self) -> Vec<Arc<Job>> {
        let jobs = self.lock();
        let unfinished = jobs.by_id.values().filter(|job| !job.is_over());
        unfinished.cloned().collect()
    }
}

impl Jobs {
    fn forget(&mut self, id: &str) {
        self.order.retain(|known| known != id);
        self.by_id.remove(id);
    }
}
