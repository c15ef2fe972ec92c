//! `/v1/videos`: create, follow, fetch, list and delete.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Multipart, Path, Query, Request, State};
use axum::http::header;
use axum::response::Response;

use super::edits::keep;
use super::form::FormFields;
use super::size::size;
use super::video_types::{
    ContentQuery, Deleted, ListQuery, NewVideo, NumberOrText, PREFIX, Video, VideoList, described,
};
use crate::app::App;
use crate::client::Client;
use crate::generate::Generate;
use crate::models::Makes;
use crate::refusal::{ErrorAnswer, Refusal};
use crate::routes::files::send;
use crate::store::Search;
use crate::store::record::Record;
use crate::update::finished;

/// The most videos of one list.
const MOST: i64 = 100;

/// A video from a prompt
#[utoipa::path(post, path = "/v1/videos", tag = "OpenAI", request_body = NewVideo, responses(
    (status = 200, body = Video), (status = "4XX", body = ErrorAnswer), (status = 503, body = ErrorAnswer)))]
pub(in crate::routes) async fn create(
    State(app): State<Arc<App>>,
    Client(client): Client,
    request: Request,
) -> Result<Json<Video>, Refusal> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let is_form = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"multipart/form-data"));
    let refused = |status, text| Refusal::new(status, text);
    let (new, image) = if is_form {
        let form = Multipart::from_request(request, &()).await;
        of_form(&app, form.map_err(|e| refused(e.status(), e.body_text()))?).await?
    } else {
        let json = Json::<NewVideo>::from_request(request, &()).await;
        (
            json.map_err(|e| refused(e.status(), e.body_text()))?.0,
            None,
        )
    };
    let size = size(new.size.as_deref())?;
    let seconds = match new.seconds {
        None => None,
        Some(NumberOrText::Number(seconds)) => Some(seconds),
        Some(NumberOrText::Text(text)) => Some(
            text.parse()
                .map_err(|_| Refusal::bad(format!("`seconds` is a number, not `{text}`")))?,
        ),
    };
    let generate = Generate {
        model: Some(model(&app, new.model.as_deref())?),
        prompt: Some(new.prompt),
        seed: new.seed,
        seconds,
        width: size.map(|size| size.0),
        height: size.map(|size| size.1),
        image,
        ..Generate::default()
    };
    let job = app.generate(&client, &generate).await?;
    let record = app.store.find(&job.id).await?;
    let record = record.ok_or_else(|| Refusal::absent("video of this name"))?;
    Ok(Json(described(&record, &job.updates())))
}

/// The fields of a form, and the image with which the video begins.
async fn of_form(app: &Arc<App>, form: Multipart) -> Result<(NewVideo, Option<String>), Refusal> {
    let fields = FormFields::read(form).await?;
    let owned = |name: &str| fields.text(name).map(str::to_owned);
    let new = NewVideo {
        prompt: owned("prompt").unwrap_or_default(),
        model: owned("model"),
        seconds: owned("seconds").map(NumberOrText::Text),
        size: owned("size"),
        seed: fields.value("seed")?,
    };
    let image = keep(app, &fields, "input_reference").await?;
    Ok((new, image))
}

/// What has become of a video
#[utoipa::path(get, path = "/v1/videos/{id}", tag = "OpenAI", params(("id" = String, Path)),
    responses((status = 200, body = Video), (status = 404, body = ErrorAnswer)))]
pub(in crate::routes) async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Video>, Refusal> {
    let record = find(&app, &id).await?;
    let job = app.job(&record.id).await?;
    Ok(Json(described(&record, &job.updates())))
}

/// The video, or its first frame
#[utoipa::path(get, path = "/v1/videos/{id}/content", tag = "OpenAI", params(("id" = String, Path), ContentQuery),
    responses((status = 200, content_type = "video/mp4"), (status = "4XX", body = ErrorAnswer)))]
pub(in crate::routes) async fn content(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(query): Query<ContentQuery>,
) -> Result<Response, Refusal> {
    let record = find(&app, &id).await?;
    let job = app.job(&record.id).await?;
    let video = finished(&job.updates()).into_iter().next();
    let video = video.ok_or_else(|| Refusal::absent("video yet"))?;
    let file = match query.variant.as_deref() {
        None | Some("video") => Some(video.file),
        Some("thumbnail") => video.scales.into_iter().next_back(),
        Some(other) => {
            let message = format!("`variant` is video or thumbnail, not `{other}`");
            return Err(Refusal::bad(message));
        }
    };
    let file = file.ok_or_else(|| Refusal::absent("such file of this video"))?;
    send(&app.pictures.find(&job.id, &file).await?).await
}

/// Videos
#[utoipa::path(get, path = "/v1/videos", tag = "OpenAI", params(ListQuery),
    responses((status = 200, body = VideoList), (status = "4XX", body = ErrorAnswer)))]
pub(in crate::routes) async fn list(
    State(app): State<Arc<App>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<VideoList>, Refusal> {
    let limit = usize::try_from(query.limit.unwrap_or(20).clamp(1, MOST)).unwrap_or(1);
    let mut before = match &query.after {
        Some(id) => Some(find(&app, id).await?.number),
        None => None,
    };
    let mut videos = vec![];
    loop {
        let search = Search {
            before,
            limit: MOST,
            ..Search::default()
        };
        let records = app.store.list(&search).await?;
        before = records.last().map(|record| record.number);
        videos.extend(records.into_iter().filter(|record| is_video(&app, record)));
        if before.is_none() || videos.len() > limit {
            break;
        }
    }
    let has_more = videos.len() > limit;
    let videos = videos.iter().take(limit);
    let data: Vec<Video> = videos
        .map(|record| {
            let live = app.jobs.find(&record.id).map(|job| job.updates());
            described(record, live.as_deref().unwrap_or(&record.updates))
        })
        .collect();
    Ok(Json(VideoList {
        object: "list",
        first_id: data.first().map(|video| video.id.clone()),
        last_id: data.last().map(|video| video.id.clone()),
        data,
        has_more,
    }))
}

/// Removes a video, or stops it
#[utoipa::path(delete, path = "/v1/videos/{id}", tag = "OpenAI", params(("id" = String, Path)),
    responses((status = 200, body = Deleted), (status = "4XX", body = ErrorAnswer)))]
pub(in crate::routes) async fn delete(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Deleted>, Refusal> {
    let record = find(&app, &id).await?;
    let job = app.job(&record.id).await?;
    if !job.is_over() {
        app.cancel(&job).await?;
        // It ends with its current pass.
        job.end().await;
    }
    app.remove(&job).await?;
    Ok(Json(Deleted {
        id,
        object: "video.deleted",
        deleted: true,
    }))
}

/// The first video model stands for none, and for OpenAI's own.
fn model(app: &App, asked: Option<&str>) -> Result<String, Refusal> {
    let video = |name: &str| {
        let found = app.models.iter().find(|model| model.name == name);
        found.map(|model| model.makes == Makes::Video)
    };
    match asked.filter(|name| video(name).is_some() || !name.starts_with("sora")) {
        Some(name) => {
            let name = app.model(Some(name))?.name.clone();
            if video(&name) == Some(true) {
                return Ok(name);
            }
            Err(Refusal::bad(format!(
                "the model `{name}` makes images, not videos"
            )))
        }
        None => {
            let mut all = app
                .models
                .iter()
                .filter(|model| model.makes == Makes::Video);
            let first = all.next().map(|model| model.name.clone());
            first.ok_or_else(|| Refusal::bad("no model of this server makes videos"))
        }
    }
}

async fn find(app: &App, id: &str) -> Result<Record, Refusal> {
    let absent = || Refusal::absent("video of this name");
    let id = id.strip_prefix(PREFIX).ok_or_else(absent)?;
    let record = app.store.find(id).await?.ok_or_else(absent)?;
    Some(record)
        .filter(|record| is_video(app, record))
        .ok_or_else(absent)
}

fn is_video(app: &App, record: &Record) -> bool {
    let mut models = app.models.iter();
    let model = models.find(|model| model.name == record.model);
    model.is_some_and(|model| model.makes == Makes::Video)
}
