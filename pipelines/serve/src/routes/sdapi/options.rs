//! The options of the web UI: which model is taken.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::models::{Edits, Makes, ModelInfo, Source};
use crate::refusal::{ErrorAnswer, Refusal};

/// The options that have an effect here. Others are accepted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(in crate::routes) struct SdOptions {
    /// The model that is taken where a request names none.
    pub sd_model_checkpoint: Option<String>,
    pub samples_format: Option<String>,
}

/// Images from prompts: the models that this API is made for.
pub(super) fn prompted(app: &App) -> impl Iterator<Item = &ModelInfo> {
    let fits = |model: &&ModelInfo| {
        model.makes == Makes::Image
            && model.from == Source::Prompt
            && model.edits == Some(Edits::Part)
    };
    app.models.iter().filter(fits)
}

/// The model of a request: the one that it names, the one that was chosen, or the first.
pub(super) fn model<'a>(app: &'a App, named: Option<&str>) -> Result<&'a ModelInfo, Refusal> {
    let chosen = app.chosen_model();
    let first = || {
        let first = prompted(app).next();
        first.ok_or_else(|| Refusal::absent("model of images from prompts"))
    };
    match named.or(chosen.as_deref()).filter(|name| !name.is_empty()) {
        Some(name) => app.model(Some(name)),
        None => first(),
    }
}

/// The options
#[utoipa::path(get, path = "/sdapi/v1/options", tag = "A1111", responses((status = 200, body = SdOptions)))]
pub(in crate::routes) async fn read(
    State(app): State<Arc<App>>,
) -> Result<Json<SdOptions>, Refusal> {
    Ok(Json(SdOptions {
        sd_model_checkpoint: Some(model(&app, None)?.name.clone()),
        samples_format: Some("png".to_owned()),
    }))
}

/// Chooses a model
#[utoipa::path(post, path = "/sdapi/v1/options", tag = "A1111", request_body = SdOptions,
    responses((status = 200), (status = "4XX", body = ErrorAnswer)))]
pub(in crate::routes) async fn write(
    State(app): State<Arc<App>>,
    Json(options): Json<SdOptions>,
) -> Result<Json<Option<()>>, Refusal> {
    if let Some(name) = options.sd_model_checkpoint {
        app.model(Some(&name))?;
        app.choose_model(name);
    }
    Ok(Json(None))
}
