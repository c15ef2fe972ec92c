//! A client that waits for its job.

use std::path::PathBuf;
use std::sync::Arc;

use crate::app::App;
use crate::job::Job;
use crate::refusal::Refusal;
use crate::update::{Finished, finished};

/// Stops its job when it is dropped before the job is over: the client has gone.
pub(crate) struct Follower {
    pub app: Arc<App>,
    pub job: Arc<Job>,
}

impl Follower {
    /// The finished images of its job, each with its file.
    pub async fn images(&self) -> Result<Vec<(Finished, PathBuf)>, Refusal> {
        let mut images = vec![];
        for image in finished(&self.job.updates()) {
            let path = self.app.pictures.find(&self.job.id, &image.file).await?;
            images.push((image, path));
        }
        Ok(images)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if self.job.is_over() || self.app.is_closing() {
            return;
        }
        let (app, job) = (Arc::clone(&self.app), Arc::clone(&self.job));
        tokio::spawn(async move {
            if app.cancel(&job).await.is_err() {
                tracing::warn!(job = job.id, "a job without a client could not be stopped");
            }
        });
    }
}
