//! What is being painted.

use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::job::Job;
use crate::refusal::{ErrorAnswer, Refusal};
use crate::store::record::State as JobState;
use crate::update::Update;

/// What is being painted, and the image after its last scale.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(in crate::routes) struct Progress {
    /// From 0 to 1.
    progress: f64,
    eta_relative: f64,
    state: ProgressState,
    /// A PNG in base64.
    current_image: Option<String>,
    textinfo: Option<String>,
}

/// The state of what is being painted.
#[derive(Debug, Default, Serialize, ToSchema)]
struct ProgressState {
    skipped: bool,
    interrupted: bool,
    job: String,
    job_count: usize,
    job_no: usize,
    /// The scale.
    sampling_step: usize,
    /// How many there are.
    sampling_steps: usize,
}

/// Whether the image is sent.
#[derive(Debug, Deserialize, IntoParams)]
pub(in crate::routes) struct ProgressQuery {
    skip_current_image: Option<bool>,
}

/// What is being painted
#[utoipa::path(get, path = "/sdapi/v1/progress", tag = "A1111", params(ProgressQuery),
    responses((status = 200, body = Progress), (status = "4XX", body = ErrorAnswer)))]
pub(in crate::routes) async fn progress(
    State(app): State<Arc<App>>,
    Query(query): Query<ProgressQuery>,
) -> Result<Json<Progress>, Refusal> {
    let Some(job) = running(&app).into_iter().next() else {
        return Ok(Json(Progress::default()));
    };
    let updates = job.updates();
    let (step, steps) = updates
        .iter()
        .rev()
        .find_map(|update| match update {
            Update::Scale { scale, scales, .. } => Some((*scale, *scales)),
            _ => None,
        })
        .unwrap_or((0, 0));
    let current = updates.iter().rev().find_map(|update| match update {
        Update::Preview { file, .. } => Some(file),
        _ => None,
    });
    let is_wanted = query.skip_current_image != Some(true);
    let current_image = match current.filter(|_| is_wanted) {
        Some(file) => encoded(&job.folder.join(file)).await,
        None => None,
    };
    Ok(Json(Progress {
        progress: step as f64 / steps.max(1) as f64,
        eta_relative: 0.0,
        state: ProgressState {
            interrupted: job.cancel.is_cancelled(),
            job: job.id.clone(),
            job_count: 1,
            sampling_step: step,
            sampling_steps: steps,
            ..ProgressState::default()
        },
        current_image,
        textinfo: None,
    }))
}

async fn encoded(path: &Path) -> Option<String> {
    let bytes = tokio::fs::read(path).await.ok()?;
    Some(STANDARD.encode(bytes))
}

/// Stops what is being painted, after the current scale
#[utoipa::path(post, path = "/sdapi/v1/interrupt", tag = "A1111", responses((status = 200), (status = 503, body = ErrorAnswer)))]
pub(in crate::routes) async fn interrupt(
    State(app): State<Arc<App>>,
) -> Result<Json<Option<()>>, Refusal> {
    for job in running(&app) {
        app.cancel(&job).await?;
    }
    Ok(Json(None))
}

/// What this server paints.
fn running(app: &App) -> Vec<Arc<Job>> {
    let mut jobs = app.jobs.unfinished();
    jobs.retain(|job| JobState::after(&job.updates()) == JobState::Running);
    jobs
}
