//! The painter: takes jobs from the store and runs them, those of one model and size together.

mod batch;
mod follow;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nextscale_pipelines::PipelineError;

use crate::app::App;
use crate::family;
use crate::job::Job;
use crate::refusal::without;
use crate::store::record::Record;
use crate::update::Update;

use batch::Batch;
pub(crate) use batch::sweep;
pub(crate) use follow::follow;

/// How often a shared store is asked for work that other servers took in.
const LOOK: Duration = Duration::from_millis(250);
/// How long to wait for a store that does not answer.
const PAUSE: Duration = Duration::from_secs(1);
/// How many times a job is begun: one that takes its server down does not take down all.
const ATTEMPTS: i64 = 5;

/// Runs the jobs of the store until the server ends.
pub(crate) async fn paint(app: Arc<App>) {
    while !app.is_closing() {
        match take(&app).await {
            Ok(jobs) if jobs.is_empty() => wait(&app).await,
            Ok(jobs) => run(&app, jobs).await,
            Err(error) => {
                tracing::warn!(%error, "the store of jobs");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn wait(app: &App) {
    let added = app.added.notified();
    if app.store.is_shared() {
        let _ = tokio::time::timeout(LOOK, added).await;
    } else {
        added.await;
    }
}

/// The job whose turn it is, with those that can be painted together with it.
async fn take(app: &Arc<App>) -> Result<Vec<Arc<Job>>, sqlx::Error> {
    let Some(first) = app.store.claim().await? else {
        return Ok(vec![]);
    };
    let mut records = vec![first];
    let (family, images) = (records[0].family.clone(), images(&records[0]));
    let room = (app.options.batch / images.max(1)).saturating_sub(1);
    // One that was begun before may have taken its server down: it is painted alone.
    if !family.is_empty() && room > 0 && records[0].attempts == 1 {
        records.extend(app.store.claim_more(&family, room).await?);
    }
    let mut jobs = vec![];
    for record in records {
        if let Some(job) = adopt(app, &record).await {
            jobs.push(job);
        }
    }
    Ok(jobs)
}

fn images(record: &Record) -> usize {
    record.node().map_or(1, |node| family::images(&node))
}

/// The job of a record; none if it has failed too often.
async fn adopt(app: &Arc<App>, record: &Record) -> Option<Arc<Job>> {
    let job = match app.jobs.find(&record.id) {
        Some(job) => job,
        None => match app.restored(record) {
            Ok(job) => job,
            Err(refusal) => {
                let message = refusal.message().to_owned();
                let updates = [Update::Failed { message }];
                let _ = app.store.finish(&record.id, &updates).await;
                return None;
            }
        },
    };
    if record.attempts > ATTEMPTS {
        let message = format!("the server ended {ATTEMPTS} times while it painted this");
        finish(app, &job, Update::Failed { message }).await;
        return None;
    }
    if record.attempts > 1 && !matches!(job.updates().last(), Some(Update::Queued)) {
        job.tell(Update::Queued);
    }
    Some(job)
}

/// Runs jobs together; if that fails, each alone, so that none fails for another's sake.
async fn run(app: &Arc<App>, jobs: Vec<Arc<Job>>) {
    let error = match attempt(app, &jobs).await {
        Ok(()) => return,
        Err(error) => error,
    };
    if let [job] = jobs.as_slice() {
        return fail(app, job, &error).await;
    }
    for job in jobs.iter().filter(|job| !job.is_over()) {
        if let Err(error) = attempt(app, std::slice::from_ref(job)).await {
            fail(app, job, &error).await;
        }
    }
}

async fn fail(app: &App, job: &Job, error: &PipelineError) {
    tracing::warn!(job = job.id, %error, "failed");
    let message = without(&error.to_string(), &app.options.folder);
    finish(app, job, Update::Failed { message }).await;
}

/// Runs jobs together.
///
/// # Errors
/// What keeps them from being finished, except that they were stopped.
async fn attempt(app: &Arc<App>, jobs: &[Arc<Job>]) -> Result<(), PipelineError> {
    let batch = Batch::new(app, jobs)?;
    app.counters.batches.fetch_add(1, Ordering::Relaxed);
    let cancel = batch.cancel();
    let run = batch.run(app);
    tokio::pin!(run);
    let limit = tokio::time::sleep(app.options.time);
    tokio::pin!(limit);
    let mut is_late = false;
    let result = loop {
        tokio::select! {
            result = &mut run => break result,
            () = &mut limit, if !is_late => {
                is_late = true;
                cancel.cancel();
            }
        }
    };
    match result {
        Ok(()) => {}
        Err(PipelineError::Cancelled) if is_late => {
            let minutes = app.options.time.as_secs_f64() / 60.0;
            let message =
                format!("it takes longer than {minutes:.1} minutes, the limit of this server");
            return Err(PipelineError::refused(message));
        }
        // What was running goes back into the queue for the next start.
        Err(PipelineError::Cancelled) if app.is_closing() => return Ok(()),
        Err(PipelineError::Cancelled) => {}
        Err(error) => return Err(error),
    }
    for job in jobs {
        let is_cancelled = job.cancel.is_cancelled();
        let end = match (is_cancelled, &result) {
            (false, Ok(())) => Update::Done,
            _ => Update::Cancelled,
        };
        finish(app, job, end).await;
    }
    Ok(())
}

/// Writes how a job ended, then tells it: who is told that it is done finds it in the gallery.
async fn finish(app: &App, job: &Job, end: Update) {
    let mut updates = job.updates();
    updates.push(end.clone());
    let is_ours = loop {
        match app.store.finish(&job.id, &updates).await {
            Ok(is_ours) => break is_ours,
            Err(error) => {
                tracing::warn!(%error, "the store of jobs");
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    if !is_ours {
        // Another server has taken it over, and tells how it ends.
        return;
    }
    let counters = &app.counters;
    match end {
        Update::Failed { .. } => counters.failed.fetch_add(1, Ordering::Relaxed),
        Update::Cancelled => counters.cancelled.fetch_add(1, Ordering::Relaxed),
        _ => 0,
    };
    job.tell(end);
}
