//! Jobs that wait: a bounded number, and clients take turns.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::job::Job;

/// Jobs by client; the client at the front is next.
#[derive(Debug)]
pub(crate) struct Queue {
    most: usize,
    waiting: Mutex<VecDeque<(String, VecDeque<Arc<Job>>)>>,
    added: Notify,
}

/// More jobs wait than may.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Queue {
    pub fn new(most: usize) -> Self {
        Self {
            most,
            waiting: Mutex::default(),
            added: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(String, VecDeque<Arc<Job>>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job at the end of those of its client.
    pub fn push(&self, job: Arc<Job>) -> Result<(), Full> {
        let mut waiting = self.lock();
        if waiting.iter().map(|(_, jobs)| jobs.len()).sum::<usize>() >= self.most {
            return Err(Full);
        }
        match waiting.iter_mut().find(|(client, _)| *client == job.client) {
            Some((_, jobs)) => jobs.push_back(job),
            None => waiting.push_back((job.client.clone(), VecDeque::from([job]))),
        }
        drop(waiting);
        self.added.notify_one();
        Ok(())
    }

    /// The next job; waits for one.
    pub async fn pop(&self) -> Arc<Job> {
        loop {
            if let Some(job) = self.take() {
                return job;
            }
            self.added.notified().await;
        }
    }

    /// The first job of the client whose turn it is, who then is the last.
    fn take(&self) -> Option<Arc<Job>> {
        let mut waiting = self.lock();
        let (client, mut jobs) = waiting.pop_front()?;
        let job = jobs.pop_front();
        if !jobs.is_empty() {
            waiting.push_back((client, jobs));
        }
        job
    }

    /// Takes a job out; whether it was there.
    pub fn remove(&self, id: &str) -> bool {
        let mut waiting = self.lock();
        let before: usize = waiting.iter().map(|(_, jobs)| jobs.len()).sum();
        for (_, jobs) in waiting.iter_mut() {
            jobs.retain(|job| job.id != id);
        }
        waiting.retain(|(_, jobs)| !jobs.is_empty());
        before != waiting.iter().map(|(_, jobs)| jobs.len()).sum::<usize>()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.lock().iter().map(|(_, jobs)| jobs.len()).sum()
    }

    /// How many come before a job; none if it does not wait.
    pub fn position(&self, id: &str) -> Option<usize> {
        let waiting = self.lock();
        let longest = waiting.iter().map(|(_, jobs)| jobs.len()).max()?;
        let turns =
            (0..longest).flat_map(|turn| waiting.iter().map(move |(_, jobs)| jobs.get(turn)));
        turns.flatten().position(|job| job.id == id)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use nextscale_pipelines::yaml::Node;

    use super::*;

    fn job(client: &str) -> Arc<Job> {
        let node = Node::parse("a: 1", "test").unwrap();
        Arc::new(Job::new(client.into(), node, Path::new("/nowhere")))
    }

    #[tokio::test]
    async fn clients_take_turns() {
        let queue = Queue::new(10);
        let jobs: Vec<_> = ["a", "a", "a", "b", "b", "c"].map(job).into();
        for job in &jobs {
            queue.push(Arc::clone(job)).unwrap();
        }
        let expected = [0, 3, 5, 1, 4, 2];
        for (position, &index) in expected.iter().enumerate() {
            assert_eq!(queue.position(&jobs[index].id), Some(position));
        }
        for index in expected {
            assert_eq!(queue.pop().await.id, jobs[index].id);
        }
        assert_eq!((queue.len(), queue.position("x")), (0, None));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_job_can_leave() {
        let queue = Queue::new(2);
        let (first, second) = (job("a"), job("a"));
        queue.push(Arc::clone(&first)).unwrap();
        queue.push(Arc::clone(&second)).unwrap();
        assert_eq!(queue.push(job("b")), Err(Full));
        assert!(queue.remove(&first.id) && !queue.remove(&first.id));
        assert_eq!(queue.pop().await.id, second.id);
    }
}
