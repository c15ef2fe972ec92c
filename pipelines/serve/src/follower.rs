//! A client that waits for its job.

use std::sync::Arc;

use crate::app::App;
use crate::job::Job;

/// Stops its job when it is dropped before the job is over: the client has gone.
pub(crate) struct Follower {
    pub app: Arc<App>,
    pub job: Arc<Job>,
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
