//! A job: a pipeline, and what has become of it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nextscale_pipelines::stage::Cancel;
use nextscale_pipelines::yaml::Node;
use serde::Serialize;
use tokio::sync::watch;

/// What happens to a job, in the order in which it happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Update {
    /// It waits.
    Queued,
    /// It runs, and parts of a model are loaded.
    Loading,
    /// A scale of an image is there.
    Scale {
        /// Which image, from 0.
        index: usize,
        /// Which scale, from 1.
        scale: usize,
        /// How many there are.
        scales: usize,
    },
    /// The image after a scale is there.
    Preview {
        /// Which image, from 0.
        index: usize,
        /// Which scale, from 1.
        scale: usize,
        /// Its file in the folder of the job.
        file: String,
    },
    /// Something to know that stops nothing.
    Notice {
        /// One sentence.
        message: String,
    },
    /// An image is finished.
    Image {
        /// Which image, from 0.
        index: usize,
        /// Its seed.
        seed: u64,
        /// Its file in the folder of the job.
        file: String,
    },
    /// All is done.
    Done,
    /// It was stopped by a client.
    Cancelled,
    /// It failed.
    Failed {
        /// One sentence.
        message: String,
    },
}

impl Update {
    /// Whether nothing comes after it.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Done | Self::Cancelled | Self::Failed { .. })
    }
}

/// A pipeline that waits, runs or has run.
#[derive(Debug)]
pub(crate) struct Job {
    pub id: String,
    /// Who asked for it: jobs of different clients take turns.
    pub client: String,
    /// What is run.
    pub pipeline: Node,
    /// Where its images are written.
    pub folder: PathBuf,
    pub cancel: Cancel,
    updates: Mutex<Vec<Update>>,
    /// The number of updates.
    changed: watch::Sender<usize>,
}

impl Job {
    pub fn new(client: String, pipeline: Node, gallery: &Path) -> Self {
        let id = format!("{:016x}", rand::random::<u64>());
        Self {
            folder: gallery.join(&id),
            id,
            client,
            pipeline,
            cancel: Cancel::default(),
            updates: Mutex::new(vec![Update::Queued]),
            changed: watch::Sender::new(1),
        }
    }

    /// Adds what has happened; nothing is added after the end.
    pub fn tell(&self, update: Update) {
        let mut updates = self.updates.lock().unwrap_or_else(PoisonError::into_inner);
        if updates.last().is_some_and(Update::is_last) {
            return;
        }
        updates.push(update);
        self.changed.send_replace(updates.len());
    }

    /// All that has happened.
    pub fn updates(&self) -> Vec<Update> {
        let updates = self.updates.lock().unwrap_or_else(PoisonError::into_inner);
        updates.clone()
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.updates().last().is_some_and(Update::is_last)
    }

    /// What has happened after the first `seen` updates; waits if that is nothing. None if nothing will.
    pub async fn next(&self, seen: usize) -> Option<Vec<Update>> {
        let mut changed = self.changed.subscribe();
        changed.wait_for(|count| *count > seen).await.ok()?;
        let updates = self.updates();
        Some(updates[seen..].to_vec())
    }

    /// Waits until it is over and returns how it ended.
    pub async fn end(&self) -> Update {
        let mut seen = 0;
        while let Some(updates) = self.next(seen).await {
            seen += updates.len();
            if let Some(last) = updates.into_iter().find(Update::is_last) {
                return last;
            }
        }
        Update::Cancelled
    }

    /// Its finished images: index, seed and file.
    pub fn images(&self) -> Vec<(usize, u64, PathBuf)> {
        let mut images: Vec<_> = self
            .updates()
            .into_iter()
            .filter_map(|update| match update {
                Update::Image { index, seed, file } => Some((index, seed, self.folder.join(file))),
                _ => None,
            })
            .collect();
        images.sort_unstable_by_key(|image| image.0);
        images
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn updates_are_followed_to_the_end() {
        let node = Node::parse("a: 1", "test").unwrap();
        let job = Job::new("me".into(), node, Path::new("/nowhere"));
        assert_eq!(job.next(0).await.unwrap(), [Update::Queued]);
        job.tell(Update::Loading);
        job.tell(Update::Done);
        job.tell(Update::Cancelled);
        assert_eq!(job.next(1).await.unwrap(), [Update::Loading, Update::Done]);
        assert_eq!(job.end().await, Update::Done);
        assert!(job.is_over());
    }
}
