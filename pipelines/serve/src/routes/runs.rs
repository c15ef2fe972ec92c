//! Pipelines: start, follow, stop, and take their images.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use nextscale_pipelines::spec::parse_untrusted;
use nextscale_pipelines::yaml::Node;
use serde_json::{Value, json};

use crate::app::App;
use crate::client::Client;
use crate::job::{Job, Update};
use crate::refusal::Refusal;
use crate::request::{check_model, fill};

/// Puts a pipeline, YAML or JSON, into the queue.
pub(crate) async fn start(
    State(app): State<Arc<App>>,
    Client(client): Client,
    body: Bytes,
) -> Result<Response, Refusal> {
    let text = std::str::from_utf8(&body).map_err(|_| Refusal::bad("the pipeline is not UTF-8"))?;
    let mut pipeline = parse_untrusted(text, "pipeline")?;
    check(&app, &mut pipeline)?;
    let job = app.submit(&client, pipeline)?;
    Ok((StatusCode::ACCEPTED, Json(described(&app, &job))).into_response())
}

/// Refuses models that are not on the list and more images than a request may have, and fills in what the server was started with.
fn check(app: &App, root: &mut Node) -> Result<(), Refusal> {
    let options = &app.options;
    fill(options, root)?;
    let stages = root.get("stages").map(Node::entries).unwrap_or_default();
    let named = stages.iter().filter_map(|entry| entry.node.get("model"));
    for model in named.chain(root.get("model")).filter_map(Node::as_str) {
        check_model(options, model)?;
    }
    for stage in stages {
        let list = |key| {
            stage
                .node
                .get(key)
                .map_or(1, |list| list.items().len().max(1))
        };
        let count = stage
            .node
            .get("count")
            .and_then(|count| count.read::<usize>().ok());
        let images = list("prompts")
            .max(list("classes"))
            .saturating_mul(count.unwrap_or(1));
        if images > options.images {
            let most = options.images;
            return Err(Refusal::bad(format!(
                "{images} images are asked for, of {most} at most"
            )));
        }
    }
    Ok(())
}

/// What has become of a run.
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    Ok(Json(described(&app, &*app.job(&id)?)))
}

/// Stops a run within one scale.
pub(crate) async fn stop(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    app.cancel(&*app.job(&id)?);
    Ok(StatusCode::NO_CONTENT)
}

/// What happens to a run, from its beginning to its end.
pub(crate) async fn events(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let job = app.job(&id)?;
    let events = updates(job).map(|update| {
        let data = serde_json::to_value(&update).unwrap_or_default();
        let name = data["event"].as_str().unwrap_or_default().to_owned();
        Ok(Event::default().event(name).data(data.to_string()))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// All updates of a job, to its last.
pub(crate) fn updates(job: Arc<Job>) -> impl Stream<Item = Update> {
    stream::unfold((job, 0, false), |(job, seen, over)| async move {
        if over {
            return None;
        }
        let new = job.next(seen).await?;
        let (seen, over) = (seen + new.len(), new.last().is_some_and(Update::is_last));
        Some((stream::iter(new), (job, seen, over)))
    })
    .flatten()
}

/// An image of a run.
pub(crate) async fn file(
    State(app): State<Arc<App>>,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let job = app.job(&id)?;
    // A name that no update has told is not looked for.
    let told = job.updates().iter().any(|update| match update {
        Update::Preview { file, .. } | Update::Image { file, .. } => *file == name,
        _ => false,
    });
    if !told {
        return Err(Refusal::absent("such image in this run"));
    }
    let bytes = tokio::fs::read(job.folder.join(&name)).await;
    let bytes = bytes.map_err(|_| Refusal::absent("such image any more"))?;
    Ok(([(header::CONTENT_TYPE, "image/png")], bytes).into_response())
}

fn described(app: &App, job: &Job) -> Value {
    let updates = job.updates();
    let state = match updates.last() {
        Some(Update::Done) => "done",
        Some(Update::Cancelled) => "cancelled",
        Some(Update::Failed { .. }) => "failed",
        _ if updates.len() > 1 => "running",
        _ => "queued",
    };
    json!({
        "id": job.id,
        "state": state,
        "position": app.queue.position(&job.id),
        "updates": updates,
    })
}
