//! Images that clients send.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::files::send;
use crate::app::App;
use crate::generate::Generate;
use crate::refusal::{ErrorAnswer, Refusal};
use crate::settings_of::settings_of;
use crate::uploads::UPLOADS;

/// An image or a video that is kept.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Kept {
    /// What pipelines and requests call it.
    name: String,
    width: u32,
    height: u32,
    /// The settings that it carries, if this program has made it.
    request: Option<Generate>,
    /// The pipeline that it carries.
    yaml: Option<String>,
}

/// Keeps an image (PNG, JPEG, WebP, TIFF or GIF) or a video (MP4, MOV, WebM, Matroska)
#[utoipa::path(post, path = "/api/uploads", tag = "Nextscale", request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = Kept), (status = "4XX", body = ErrorAnswer)))]
pub(super) async fn keep(
    State(app): State<Arc<App>>,
    body: Bytes,
) -> Result<(StatusCode, Json<Kept>), Refusal> {
    let keeping = tokio::task::spawn_blocking(move || {
        let upload = app.uploads.keep(&body)?;
        let settings = settings_of(&app, &upload.name).unwrap_or_default();
        Ok(Kept {
            name: upload.name,
            width: upload.width,
            height: upload.height,
            request: settings.request,
            yaml: settings.yaml,
        })
    });
    let kept: Result<Kept, Refusal> = keeping
        .await
        .map_err(|_| Refusal::failed("the image could not be kept"))?;
    Ok((StatusCode::CREATED, Json(kept?)))
}

/// An image or a video that was kept
#[utoipa::path(get, path = "/api/uploads/{name}", tag = "Nextscale", params(("name" = String, Path)),
    responses((status = 200, content_type = "image/png"), (status = 404, body = ErrorAnswer)))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let absent = || Refusal::absent("upload of this name");
    if !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(absent());
    }
    let path = app.pictures.find(UPLOADS, &name).await?;
    if !path.is_file() {
        return Err(absent());
    }
    send(&path).await
}
