//! What all requests share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nextscale_models::parts::Parts;
use nextscale_pipelines::yaml::Node;
use nextscale_pipelines::{Pipeline, PipelineSpec};

use crate::job::{Job, Update};
use crate::options::Options;
use crate::queue::Queue;
use crate::refusal::Refusal;

/// Finished jobs that are remembered.
const REMEMBERED: usize = 1000;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct App {
    pub options: Options,
    pub queue: Queue,
    /// Loaded models.
    pub parts: Parts,
    pub counters: Counters,
    pub started: Instant,
    jobs: Mutex<Jobs>,
}

#[derive(Debug, Default)]
struct Jobs {
    by_id: HashMap<String, Arc<Job>>,
    /// The oldest first.
    order: Vec<String>,
}

/// What has been done.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub images: AtomicU64,
    pub failed: AtomicU64,
    pub cancelled: AtomicU64,
    pub refused: AtomicU64,
    pub scales: AtomicU64,
    /// Milliseconds of all scales.
    pub scale_milliseconds: AtomicU64,
}

impl App {
    pub fn new(options: Options) -> Self {
        Self {
            queue: Queue::new(options.waiting),
            parts: Parts::keeping(options.weights),
            options,
            counters: Counters::default(),
            started: Instant::now(),
            jobs: Mutex::default(),
        }
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks a pipeline and puts it into the queue.
    pub fn submit(&self, client: &str, pipeline: Node) -> Result<Arc<Job>, Refusal> {
        // Mistakes are told now, with their places, and not when its turn comes.
        let spec = PipelineSpec::from_node(pipeline.clone())?;
        Pipeline::new(spec)?;
        let job = Arc::new(Job::new(client.to_owned(), pipeline, &self.options.folder));
        if self.queue.push(Arc::clone(&job)).is_err() {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Refusal::busy(self.options.waiting));
        }
        let mut jobs = self.jobs();
        jobs.order.push(job.id.clone());
        jobs.by_id.insert(job.id.clone(), Arc::clone(&job));
        if jobs.order.len() > REMEMBERED {
            let over = jobs
                .by_id
                .get(&jobs.order[0])
                .is_none_or(|job| job.is_over());
            if over {
                let oldest = jobs.order.remove(0);
                jobs.by_id.remove(&oldest);
            }
        }
        Ok(job)
    }

    /// A job by its name.
    pub fn job(&self, id: &str) -> Result<Arc<Job>, Refusal> {
        let job = self.jobs().by_id.get(id).cloned();
        job.ok_or_else(|| Refusal::absent("job of this name"))
    }

    /// Stops a job: at once if it waits, after the current scale if it runs.
    pub fn cancel(&self, job: &Job) {
        job.cancel.cancel();
        if self.queue.remove(&job.id) {
            job.tell(Update::Cancelled);
            self.counters.cancelled.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Stops all jobs: those that follow them are told.
    pub fn close(&self) {
        let all: Vec<Arc<Job>> = self.jobs().by_id.values().cloned().collect();
        for job in all.iter().filter(|job| !job.is_over()) {
            self.cancel(job);
        }
    }
}

/// Stops its job when it is dropped before the job is over: the client has gone.
pub(crate) struct Follower {
    pub app: Arc<App>,
    pub job: Arc<Job>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        if !self.job.is_over() {
            self.app.cancel(&self.job);
        }
    }
}
