//! A job: a pipeline, and what has become of it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nextscale_pipelines::stage::Cancel;
use nextscale_pipelines::yaml::Node;
use tokio::sync::watch;

use crate::update::Update;

/// A pipeline that waits, runs or has run.
#[derive(Debug)]
pub(crate) struct Job {
    pub id: String,
    /// What is run.
    pub pipeline: Node,
    /// Where its images are.
    pub folder: PathBuf,
    pub cancel: Cancel,
    updates: Mutex<Vec<Update>>,
    changed: watch::Sender<Progress>,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// The number of updates.
    count: usize,
    /// Whether this server tells no more of it.
    is_closed: bool,
}

impl Job {
    /// A job with what has happened to it so far.
    pub fn new(id: String, pipeline: Node, gallery: &Path, updates: Vec<Update>) -> Self {
        let count = updates.len();
        Self {
            folder: gallery.join(&id),
            id,
            pipeline,
            cancel: Cancel::default(),
            updates: Mutex::new(updates),
            changed: watch::Sender::new(Progress {
                count,
                is_closed: false,
            }),
        }
    }

    /// Adds what has happened; nothing is added after the end.
    pub fn tell(&self, update: Update) {
        let mut updates = self.updates.lock().unwrap_or_else(PoisonError::into_inner);
        if updates.last().is_some_and(Update::is_last) {
            return;
        }
        updates.push(update);
        let count = updates.len();
        self.changed.send_modify(|progress| progress.count = count);
    }

    /// Takes over what another server tells, if that is more.
    pub fn replace(&self, newer: Vec<Update>) {
        let mut updates = self.updates.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |updates: &[Update]| updates.last().is_some_and(Update::is_last);
        if !is_over(&updates) && (newer.len() > updates.len() || is_over(&newer)) {
            *updates = newer;
            let count = updates.len();
            self.changed.send_modify(|progress| progress.count = count);
        }
    }

    /// Ends the waiting of those who follow it: this server tells no more.
    pub fn close(&self) {
        self.changed
            .send_modify(|progress| progress.is_closed = true);
    }

    /// All that has happened.
    pub fn updates(&self) -> Vec<Update> {
        let updates = self.updates.lock().unwrap_or_else(PoisonError::into_inner);
        updates.clone()
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        let updates = self.updates.lock().unwrap_or_else(PoisonError::into_inner);
        updates.last().is_some_and(Update::is_last)
    }

    /// What has happened after the first `seen` updates; waits if that is nothing. None if nothing will.
    pub async fn next(&self, seen: usize) -> Option<Vec<Update>> {
        let mut changed = self.changed.subscribe();
        let is_news = |progress: &Progress| progress.count > seen || progress.is_closed;
        changed.wait_for(is_news).await.ok()?;
        let updates = self.updates();
        (updates.len() > seen).then(|| updates[seen..].to_vec())
    }

    /// Waits until it is over and returns how it ended; none if this server tells no more.
    pub async fn end(&self) -> Option<Update> {
        let mut seen = 0;
        loop {
            let updates = self.next(seen).await?;
            seen += updates.len();
            if let Some(last) = updates.into_iter().find(Update::is_last) {
                return Some(last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn updates_are_followed_to_the_end() {
        let node = Node::parse("a: 1", "test").unwrap();
        let folder = Path::new("/nowhere");
        let job = Job::new("x".into(), node, folder, vec![Update::Queued]);
        assert_eq!(job.next(0).await.unwrap(), [Update::Queued]);
        job.tell(Update::Loading);
        job.tell(Update::Done);
        job.tell(Update::Cancelled);
        assert_eq!(job.next(1).await.unwrap(), [Update::Loading, Update::Done]);
        assert_eq!(job.end().await, Some(Update::Done));
        assert!(job.is_over());
        job.close();
        assert_eq!(job.next(3).await, None);
    }
}
