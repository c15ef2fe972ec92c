//! Images as the answer: all at the end, or as a stream in which they grow.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::StreamExt;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::format::OutputFormat;
use crate::app::App;
use crate::clock::now;
use crate::follower::Follower;
use crate::generate::Generate;
use crate::job::Job;
use crate::refusal::Refusal;
use crate::routes::runs::updates;
use crate::update::Update;

/// Partial images of a stream, as many as OpenAI's.
const PARTIAL_IMAGES: usize = 3;

/// How images are returned.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Form {
    pub format: OutputFormat,
    pub stream: bool,
    pub partial_images: Option<usize>,
    /// What the names of the events begin with.
    pub of: Of,
}

/// What the images are the result of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Of {
    #[default]
    Generation,
    Edit,
}

impl Of {
    fn partial(self) -> &'static str {
        match self {
            Self::Generation => "image_generation.partial_image",
            Self::Edit => "image_edit.partial_image",
        }
    }

    fn completed(self) -> &'static str {
        match self {
            Self::Generation => "image_generation.completed",
            Self::Edit => "image_edit.completed",
        }
    }
}

/// Finished images.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::routes) struct ImagesAnswer {
    /// Seconds since 1970.
    created: u64,
    output_format: OutputFormat,
    data: Vec<ImageData>,
}

/// One of them.
#[derive(Debug, Serialize, ToSchema)]
struct ImageData {
    b64_json: String,
    /// An extension: the seed that gives it again.
    seed: u64,
}

/// Refuses what cannot be returned.
pub(super) fn check_response_format(wanted: Option<&str>) -> Result<(), Refusal> {
    match wanted {
        None | Some("b64_json") => Ok(()),
        Some(other) => Err(Refusal::bad(format!(
            "images are returned as `b64_json`, not as `{other}`"
        ))),
    }
}

/// Generates, and answers with the images.
pub(super) async fn answer(
    app: Arc<App>,
    client: &str,
    request: &Generate,
    form: Form,
) -> Result<Response, Refusal> {
    let job = app.generate(client, request).await?;
    let follower = Follower { app, job };
    if form.stream {
        return Ok(streamed(follower, form).into_response());
    }
    match follower.job.end().await {
        Some(Update::Done) => {}
        Some(Update::Failed { message }) => return Err(Refusal::bad(message)),
        Some(_) => return Err(Refusal::bad("the job was stopped")),
        None => return Err(Refusal::closing()),
    }
    let images = follower.images().await?;
    let encoding = tokio::task::spawn_blocking(move || {
        let data = images.into_iter().map(|(image, path)| {
            Ok(ImageData {
                b64_json: form.format.encode(&path)?,
                seed: image.seed,
            })
        });
        data.collect::<Result<Vec<_>, Refusal>>()
    });
    let data = encoding
        .await
        .map_err(|_| Refusal::failed("the images could not be encoded"))??;
    let answer = ImagesAnswer {
        created: now(),
        output_format: form.format,
        data,
    };
    Ok(Json(answer).into_response())
}

/// Events of the images: the last previews of each, then the image. The job is stopped when the client goes.
fn streamed(follower: Follower, form: Form) -> impl IntoResponse {
    let job = Arc::clone(&follower.job);
    let events = updates(Arc::clone(&job), 0).filter_map(move |(_, update)| {
        let _stays = &follower;
        let event = event(&job, &update, form);
        std::future::ready(event.map(|(name, data)| {
            Ok::<_, Infallible>(Event::default().event(name).data(data.to_string()))
        }))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

fn event(job: &Job, update: &Update, form: Form) -> Option<(&'static str, Value)> {
    let partial = form.partial_images.unwrap_or(PARTIAL_IMAGES);
    let image = |name: &'static str, file: &str, more: Value| {
        let encoded = form.format.encode(&job.folder.join(file)).ok()?;
        let mut data = json!({ "type": name, "b64_json": encoded, "created_at": now(), "output_format": form.format });
        if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
            data.extend(more);
        }
        Some((name, data))
    };
    match update {
        Update::Preview { index, scale, file } => {
            let scales = job.updates().iter().find_map(|update| match update {
                Update::Scale { scales, .. } => Some(*scales),
                _ => None,
            })?;
            // The last scale is the image itself.
            let from_end = scales.saturating_sub(*scale);
            (from_end <= partial).then_some(())?;
            let number = partial - from_end;
            let more = json!({ "partial_image_index": number, "image_index": index, "scale": scale, "scales": scales });
            image(form.of.partial(), file, more)
        }
        Update::Image { index, seed, file } => {
            let more = json!({ "image_index": index, "seed": seed });
            image(form.of.completed(), file, more)
        }
        Update::Failed { message } => {
            let error = json!({ "message": message, "type": "invalid_request_error" });
            Some(("error", json!({ "type": "error", "error": error })))
        }
        _ => None,
    }
}
