//! The images of the OpenAI API.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::StreamExt;
use image::ImageFormat;
use nextscale_pipelines::PipelineSpec;
use nextscale_pipelines::spec::Preset;
use nextscale_pipelines::yaml::Node;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::runs::updates;
use crate::app::{App, Follower};
use crate::client::Client;
use crate::job::{Job, Update};
use crate::refusal::Refusal;
use crate::request::{check_model, fill, set};

/// The longest prompt, in bytes.
const PROMPT: usize = 32_000;
/// Partial images of a stream, as many as OpenAI's.
const PARTIAL_IMAGES: usize = 3;

/// What `POST /v1/images/generations` takes. What this program has no use for is accepted and has no effect.
#[derive(Debug, Deserialize)]
pub(crate) struct Generations {
    prompt: String,
    model: Option<String>,
    n: Option<usize>,
    size: Option<String>,
    response_format: Option<String>,
    output_format: Option<OutputFormat>,
    #[serde(default)]
    stream: bool,
    partial_images: Option<usize>,
    /// An extension: one seed gives the same image.
    seed: Option<u64>,
    /// An extension.
    negative_prompt: Option<String>,
}

/// The format of a returned image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum OutputFormat {
    #[default]
    Png,
    Jpeg,
    Webp,
}

/// The models that may be asked for.
pub(crate) async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    let model = |name: &String| json!({ "id": name, "object": "model", "created": 0, "owned_by": "nextscale" });
    let models: Vec<Value> = app.options.models.iter().map(model).collect();
    Json(json!({ "object": "list", "data": models }))
}

/// Images of a prompt.
pub(crate) async fn generations(
    State(app): State<Arc<App>>,
    Client(client): Client,
    request: Result<Json<Generations>, JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(request) = request.map_err(|e| Refusal::new(e.status(), e.body_text()))?;
    if request.response_format.as_deref() == Some("url") {
        return Err(Refusal::bad(
            "images are returned as `b64_json`, not as `url`",
        ));
    }
    let job = app.submit(&client, pipeline(&app, &request)?)?;
    let format = request.output_format.unwrap_or_default();
    let follower = Follower { app, job };
    if request.stream {
        let partial = request.partial_images.unwrap_or(PARTIAL_IMAGES);
        return Ok(streamed(follower, format, partial).into_response());
    }
    match follower.job.end().await {
        Update::Done => {}
        Update::Failed { message } => return Err(Refusal::bad(message)),
        _ => return Err(Refusal::bad("the job was stopped")),
    }
    let images = follower.job.images();
    let data = images
        .iter()
        .map(|(_, seed, path)| Ok(json!({ "b64_json": encoded(path, format)?, "seed": seed })));
    let data: Vec<Value> = data.collect::<Result<_, Refusal>>()?;
    Ok(Json(json!({ "created": now(), "output_format": format, "data": data })).into_response())
}

/// The pipeline of a request.
fn pipeline(app: &App, request: &Generations) -> Result<Node, Refusal> {
    let options = &app.options;
    let prompt = request.prompt.trim();
    if prompt.is_empty() {
        return Err(Refusal::bad("`prompt` is empty: say what to paint"));
    }
    let text = [Some(prompt), request.negative_prompt.as_deref()];
    for text in text.into_iter().flatten() {
        if text.len() > PROMPT {
            return Err(Refusal::bad(format!("a prompt has at most {PROMPT} bytes")));
        }
        if text.contains('\0') {
            return Err(Refusal::bad("a prompt has no NUL characters"));
        }
    }
    let n = request.n.unwrap_or(1);
    if n == 0 || n > options.images {
        return Err(Refusal::bad(format!("`n` is from 1 to {}", options.images)));
    }
    let mut root = PipelineSpec::preset(Preset::Prompts)?;
    let model = model(app, request.model.as_deref())?;
    set(&mut root, &["model"], &model)?;
    fill(options, &mut root)?;
    if let Some(seed) = request.seed {
        set(&mut root, &["seed"], &seed)?;
    }
    set(&mut root, &["stages", "prompts", "prompts"], &[prompt])?;
    if n > 1 {
        set(&mut root, &["stages", "prompts", "count"], &n)?;
        set(&mut root, &["stages", "latent", "batch"], &n)?;
    }
    if let Some(negative) = request
        .negative_prompt
        .as_deref()
        .filter(|text| !text.trim().is_empty())
    {
        set(&mut root, &["stages", "prompts", "negative"], &negative)?;
    }
    if let Some((width, height)) = size(request.size.as_deref())? {
        set(&mut root, &["stages", "latent", "width"], &width)?;
        set(&mut root, &["stages", "latent", "height"], &height)?;
    }
    Ok(root)
}

/// A model of the list; the first stands for none, and for OpenAI's own.
fn model(app: &App, asked: Option<&str>) -> Result<String, Refusal> {
    let models = &app.options.models;
    let first = || {
        models
            .first()
            .cloned()
            .ok_or_else(|| Refusal::absent("model"))
    };
    match asked {
        None => first(),
        Some(name) => match check_model(&app.options, name) {
            Ok(()) => Ok(name.to_owned()),
            Err(_) if name.starts_with("gpt-image") || name.starts_with("dall-e") => first(),
            Err(refusal) => Err(refusal),
        },
    }
}

/// Width and height; none for `auto`.
fn size(asked: Option<&str>) -> Result<Option<(usize, usize)>, Refusal> {
    let Some(text) = asked.filter(|text| *text != "auto") else {
        return Ok(None);
    };
    let sides = text.split_once('x');
    let sides = sides.and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    match sides {
        Some(sides) => Ok(Some(sides)),
        None => Err(Refusal::bad(format!(
            "`size` is WIDTHxHEIGHT or auto, not `{text}`"
        ))),
    }
}

/// A file of a job in base64, in another format if that is wanted.
fn encoded(path: &Path, format: OutputFormat) -> Result<String, Refusal> {
    let gone = |_| Refusal::absent("such image any more");
    if format == OutputFormat::Png {
        return Ok(STANDARD.encode(std::fs::read(path).map_err(gone)?));
    }
    let image = image::open(path).map_err(|_| Refusal::absent("such image any more"))?;
    let to = match format {
        OutputFormat::Jpeg => ImageFormat::Jpeg,
        _ => ImageFormat::WebP,
    };
    let mut bytes = std::io::Cursor::new(vec![]);
    image
        .write_to(&mut bytes, to)
        .map_err(|e| Refusal::bad(e.to_string()))?;
    Ok(STANDARD.encode(bytes.into_inner()))
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Events of the images: the last `partial` previews of each, then the image. The job is stopped when the client goes.
fn streamed(follower: Follower, format: OutputFormat, partial: usize) -> impl IntoResponse {
    let job = Arc::clone(&follower.job);
    let events = updates(Arc::clone(&job)).filter_map(move |update| {
        let _stays = &follower;
        let event = event(&job, &update, format, partial);
        std::future::ready(event.map(|(name, data)| {
            Ok::<_, Infallible>(Event::default().event(name).data(data.to_string()))
        }))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

fn event(
    job: &Job,
    update: &Update,
    format: OutputFormat,
    partial: usize,
) -> Option<(&'static str, Value)> {
    let image = |name: &'static str, file: &str, more: Value| {
        let encoded = encoded(&job.folder.join(file), format).ok()?;
        let mut data = json!({ "type": name, "b64_json": encoded, "created_at": now(), "output_format": format });
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
            image("image_generation.partial_image", file, more)
        }
        Update::Image { index, seed, file } => {
            let more = json!({ "image_index": index, "seed": seed });
            image("image_generation.completed", file, more)
        }
        Update::Failed { message } => {
            let error = json!({ "message": message, "type": "invalid_request_error" });
            Some(("error", json!({ "type": "error", "error": error })))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size(None).unwrap(), None);
        assert_eq!(size(Some("auto")).unwrap(), None);
        assert_eq!(size(Some("64x128")).unwrap(), Some((64, 128)));
        for bad in ["64", "x", "64x", "axb", "64x64x64", "-1x2"] {
            assert!(size(Some(bad)).is_err(), "{bad}");
        }
    }
}
