//! A store that several servers share: signs of life, and what the others tell.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::update::Update;

/// How often.
const PERIOD: Duration = Duration::from_millis(300);

/// Writes what happens here and reads what happens elsewhere, until the server ends.
pub(crate) async fn follow(app: Arc<App>) {
    if !app.store.is_shared() {
        return;
    }
    while !app.is_closing() {
        if let Err(error) = exchange(&app).await {
            tracing::warn!(%error, "the store of jobs");
        }
        tokio::time::sleep(PERIOD).await;
    }
}

async fn exchange(app: &App) -> Result<(), sqlx::Error> {
    let stopped: HashSet<String> = app.store.stopped().await?.into_iter().collect();
    for job in app.jobs.unfinished() {
        if stopped.contains(&job.id) {
            job.cancel.cancel();
        }
        let updates = job.updates();
        if !matches!(updates.last(), Some(Update::Queued)) {
            // Of those that run here; the statement leaves out all others.
            app.store.write(&job.id, &updates).await?;
        }
        if let Some(record) = app.store.find(&job.id).await? {
            job.replace(record.updates);
        }
    }
    if app.store.take_over().await? > 0 {
        app.added.notify_one();
    }
    Ok(())
}
