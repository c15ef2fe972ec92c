//! What the page asks for: settings in, a run or its pipeline out.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::runs::{Run, check, described, parse};
use crate::adapters::AdapterInfo;
use crate::app::App;
use crate::client::Client;
use crate::generate::Generate;
use crate::models::ModelInfo;
use crate::refusal::{ErrorAnswer, Mistake, Refusal};

/// The models of this server.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Models {
    models: Vec<ModelInfo>,
    /// Low-rank adapters that requests may name.
    adapters: Vec<AdapterInfo>,
}

/// A pipeline.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PipelineText {
    yaml: String,
}

/// What is wrong with a pipeline; nothing if it is right.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Mistakes {
    mistakes: Vec<Mistake>,
}

/// The models, what they make, and their sizes
#[utoipa::path(get, path = "/api/models", tag = "Nextscale", responses((status = 200, body = Models)))]
pub(super) async fn models(State(app): State<Arc<App>>) -> Json<Models> {
    Json(Models {
        models: app.models.clone(),
        adapters: app.adapters.clone(),
    })
}

/// Generates from settings
#[utoipa::path(post, path = "/api/generate", tag = "Nextscale", request_body = Generate, responses(
    (status = 202, body = Run), (status = "4XX", body = ErrorAnswer), (status = 503, body = ErrorAnswer)))]
pub(super) async fn generate(
    State(app): State<Arc<App>>,
    Client(client): Client,
    Json(request): Json<Generate>,
) -> Result<(StatusCode, Json<Run>), Refusal> {
    let job = app.generate(&client, &request).await?;
    Ok((StatusCode::ACCEPTED, Json(described(&app, &job.id).await?)))
}

/// The pipeline that settings stand for
#[utoipa::path(post, path = "/api/pipelines", tag = "Nextscale", request_body = Generate,
    responses((status = 200, body = PipelineText), (status = "4XX", body = ErrorAnswer)))]
pub(super) async fn pipeline(
    State(app): State<Arc<App>>,
    Json(request): Json<Generate>,
) -> Result<Json<PipelineText>, Refusal> {
    let yaml = app.pipeline(&request)?.to_yaml();
    Ok(Json(PipelineText { yaml }))
}

/// What is wrong with a pipeline in YAML or JSON
#[utoipa::path(post, path = "/api/validate", tag = "Nextscale", request_body(content = String, content_type = "application/yaml"),
    responses((status = 200, body = Mistakes), (status = "4XX", body = ErrorAnswer)))]
pub(super) async fn validate(
    State(app): State<Arc<App>>,
    body: Bytes,
) -> Result<Json<Mistakes>, Refusal> {
    let checked = async {
        let mut pipeline = parse(&body)?;
        check(&app, &mut pipeline)?;
        app.check(pipeline).await
    };
    let mistakes = match checked.await {
        Ok(()) => vec![],
        Err(refusal) => refusal.into_mistakes(),
    };
    Ok(Json(Mistakes { mistakes }))
}
