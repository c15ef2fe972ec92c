//! `GET /v1/models`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::refusal::{ErrorAnswer, Refusal};

/// The models that may be asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::routes) struct ModelList {
    object: &'static str,
    data: Vec<ModelEntry>,
}

/// One of them.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::routes) struct ModelEntry {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

fn entry(name: &str) -> ModelEntry {
    ModelEntry {
        id: name.to_owned(),
        object: "model",
        created: 0,
        owned_by: "nextscale",
    }
}

/// Models
#[utoipa::path(get, path = "/v1/models", tag = "OpenAI", responses((status = 200, body = ModelList)))]
pub(in crate::routes) async fn list(State(app): State<Arc<App>>) -> Json<ModelList> {
    let data = app.models.iter().map(|model| entry(&model.name)).collect();
    let object = "list";
    Json(ModelList { object, data })
}

/// One model
#[utoipa::path(get, path = "/v1/models/{name}", tag = "OpenAI", params(("name" = String, Path)),
    responses((status = 200, body = ModelEntry), (status = 404, body = ErrorAnswer)))]
pub(in crate::routes) async fn show(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<ModelEntry>, Refusal> {
    let found = app.models.iter().find(|model| model.name == name);
    let found = found.ok_or_else(|| Refusal::absent("model of this name"))?;
    Ok(Json(entry(&found.name)))
}

/// A model of the list by what a client calls it: OpenAI's own names, and none, stand for the first.
pub(super) fn own(app: &App, asked: Option<&str>) -> Result<String, Refusal> {
    const OTHERS: [&str; 3] = ["gpt-image", "dall-e", "sora"];
    let is_known = |name: &str| app.models.iter().any(|model| model.name == name);
    let is_other = |name: &str| OTHERS.iter().any(|other| name.starts_with(other));
    let asked = asked.filter(|name| is_known(name) || !is_other(name));
    Ok(app.model(asked)?.name.clone())
}
