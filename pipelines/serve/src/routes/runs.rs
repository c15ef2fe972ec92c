//! Runs: start a pipeline, follow, stop, take its images, look through all.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt};
use nextscale_models::device::Devices;
use nextscale_pipelines::spec::parse_untrusted;
use nextscale_pipelines::yaml::Node;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::files::send;
use crate::app::App;
use crate::client::Client;
use crate::generate::Generate;
use crate::job::Job;
use crate::refusal::{ErrorAnswer, Refusal};
use crate::request::fill;
use crate::store::Search;
use crate::store::record::{Record, State as JobState};
use crate::update::{Finished, Update, finished};

/// The most runs of one list.
const MOST: i64 = 200;

/// A run and what has become of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Run {
    id: String,
    /// Runs are numbered in the order in which they came.
    number: i64,
    state: JobState,
    /// How many runs come before it; null if it does not wait.
    position: Option<i64>,
    prompt: String,
    model: String,
    /// Seconds since 1970.
    created: i64,
    /// The settings that make the same pipeline, if there are such.
    request: Option<Generate>,
    /// The pipeline.
    yaml: String,
    images: Vec<Finished>,
    /// Why it failed.
    message: Option<String>,
    /// All that has happened; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    updates: Option<Vec<Update>>,
}

/// Runs, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Runs {
    runs: Vec<Run>,
    /// The value of `before` for those that follow; null if there are none.
    next: Option<i64>,
}

/// Which runs are listed.
#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct ListQuery {
    /// Words of the prompt.
    search: Option<String>,
    /// Only runs with lower numbers.
    before: Option<i64>,
    /// At most so many.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// Only runs in this state.
    state: Option<String>,
}

/// Which updates are told.
#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct EventsQuery {
    /// Leave out so many of the first.
    after: Option<usize>,
}

/// Runs a pipeline in YAML or JSON
#[utoipa::path(post, path = "/api/runs", tag = "Nextscale", request_body(content = String, content_type = "application/yaml"), responses(
    (status = 202, body = Run), (status = "4XX", body = ErrorAnswer), (status = 503, body = ErrorAnswer)))]
pub(super) async fn start(
    State(app): State<Arc<App>>,
    Client(client): Client,
    body: Bytes,
) -> Result<(StatusCode, Json<Run>), Refusal> {
    let mut pipeline = parse(&body)?;
    check(&app, &mut pipeline)?;
    let job = app.submit(&client, pipeline).await?;
    Ok((StatusCode::ACCEPTED, Json(described(&app, &job.id).await?)))
}

/// A pipeline of a stranger.
pub(super) fn parse(body: &[u8]) -> Result<Node, Refusal> {
    let text = std::str::from_utf8(body).map_err(|_| Refusal::bad("the pipeline is not UTF-8"))?;
    Ok(parse_untrusted(text, "pipeline")?)
}

/// Refuses models that are not on the list, more images than a request may have and several devices, and fills in what the server was started with.
pub(super) fn check(app: &App, root: &mut Node) -> Result<(), Refusal> {
    let options = &app.options;
    fill(options, root)?;
    let device = root.get("device").map(|node| node.read::<Devices>());
    if device.is_some_and(|read| read.is_ok_and(|devices| devices.are_several())) {
        let message = "`device` is a list, and a run on this server has one device: name one";
        return Err(Refusal::bad(message));
    }
    let stages = root.get("stages").map(Node::entries).unwrap_or_default();
    let named = stages.iter().filter_map(|entry| entry.node.get("model"));
    for model in named.chain(root.get("model")).filter_map(Node::as_str) {
        app.model(Some(model))?;
    }
    for stage in stages {
        let list = |key| {
            let list = stage.node.get(key);
            list.map_or(1, |list| list.items().len().max(1))
        };
        let count = stage.node.get("count");
        let count = count.and_then(|count| count.read::<usize>().ok());
        let images = list("prompts").max(list("classes"));
        let images = images.saturating_mul(count.unwrap_or(1));
        let is_story = stage.node.get("story").is_some();
        if images > options.images && !is_story {
            let most = options.images;
            let message = format!("{images} images are asked for, of {most} at most");
            return Err(Refusal::bad(message));
        }
    }
    Ok(())
}

/// All runs, the newest first
#[utoipa::path(get, path = "/api/runs", tag = "Nextscale", params(ListQuery),
    responses((status = 200, body = Runs), (status = "4XX", body = ErrorAnswer)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Runs>, Refusal> {
    let state = match query.state.as_deref() {
        None | Some("") => None,
        Some(name) => Some(JobState::of_name(name).ok_or_else(|| {
            Refusal::bad("`state` is queued, running, done, failed or cancelled")
        })?),
    };
    let limit = query.limit.unwrap_or(24).clamp(1, MOST);
    let search = Search {
        words: query.search.unwrap_or_default(),
        before: query.before,
        state,
        limit,
    };
    let records = app.store.list(&search).await?;
    let is_full = i64::try_from(records.len()).is_ok_and(|count| count == limit);
    let next = records.last().filter(|_| is_full).map(|last| last.number);
    let mut runs = vec![];
    for record in records {
        let updates = app.jobs.find(&record.id).map(|job| job.updates());
        let updates = updates.unwrap_or_else(|| record.updates.clone());
        runs.push(run(record, None, &updates));
    }
    Ok(Json(Runs { runs, next }))
}

/// What has become of a run
#[utoipa::path(get, path = "/api/runs/{id}", tag = "Nextscale", params(("id" = String, Path)),
    responses((status = 200, body = Run), (status = 404, body = ErrorAnswer)))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Run>, Refusal> {
    Ok(Json(described(&app, &id).await?))
}

/// Stops a run within one scale; removes one that is over
#[utoipa::path(delete, path = "/api/runs/{id}", tag = "Nextscale", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorAnswer)))]
pub(super) async fn stop(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let job = app.job(&id).await?;
    if job.is_over() {
        app.remove(&job).await?;
    } else {
        app.cancel(&job).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// What happens to a run, from its beginning to its end
#[utoipa::path(get, path = "/api/runs/{id}/events", tag = "Nextscale", params(("id" = String, Path), EventsQuery),
    responses((status = 200, content_type = "text/event-stream", body = Update), (status = "4XX", body = ErrorAnswer)))]
pub(super) async fn events(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let job = app.job(&id).await?;
    let last = headers.get("last-event-id");
    let last = last.and_then(|last| last.to_str().ok()?.parse().ok());
    let events = updates(job, query.after.or(last).unwrap_or(0)).map(|(number, update)| {
        let data = serde_json::to_string(&update).unwrap_or_default();
        let event = Event::default().event(update.name()).data(data);
        Ok(event.id(number.to_string()))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// The updates of a job after the first `seen`, to its last, numbered from 1.
pub(super) fn updates(job: Arc<Job>, seen: usize) -> impl Stream<Item = (usize, Update)> {
    stream::unfold((job, seen, false), |(job, seen, over)| async move {
        if over {
            return None;
        }
        let new = job.next(seen).await?;
        let (now, over) = (seen + new.len(), new.last().is_some_and(Update::is_last));
        Some((stream::iter((seen + 1..).zip(new)), (job, now, over)))
    })
    .flatten()
}

/// An image or video of a run
#[utoipa::path(get, path = "/api/runs/{id}/files/{name}", tag = "Nextscale", params(("id" = String, Path), ("name" = String, Path)),
    responses((status = 200, content_type = "image/png"), (status = 404, body = ErrorAnswer)))]
pub(super) async fn file(
    State(app): State<Arc<App>>,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let job = app.job(&id).await?;
    // A name that no update has told is not looked for.
    let told = job.updates().iter().any(|update| match update {
        Update::Preview { file, .. } | Update::Image { file, .. } => *file == name,
        _ => false,
    });
    if !told {
        return Err(Refusal::absent("such image in this run"));
    }
    send(&app.pictures.find(&job.id, &name).await?).await
}

/// What has become of a job, from what this server knows and what the store has.
pub(super) async fn described(app: &Arc<App>, id: &str) -> Result<Run, Refusal> {
    let record = app.store.find(id).await?;
    let record = record.ok_or_else(|| Refusal::absent("run of this name"))?;
    let updates = app.jobs.find(id).map(|job| job.updates());
    let updates = updates.unwrap_or_else(|| record.updates.clone());
    let position = app.store.position(id).await?;
    let described = run(record, position, &updates);
    Ok(Run {
        updates: Some(updates),
        ..described
    })
}

fn run(record: Record, position: Option<i64>, updates: &[Update]) -> Run {
    let request = record.node().ok().and_then(|root| Generate::read(&root));
    Run {
        state: JobState::after(updates),
        position,
        request,
        images: finished(updates),
        message: match updates.last() {
            Some(Update::Failed { message }) => Some(message.clone()),
            _ => None,
        },
        updates: None,
        id: record.id,
        number: record.number,
        prompt: record.prompt,
        model: record.model,
        created: record.created,
        yaml: record.pipeline,
    }
}
