//! What a client may choose from.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;

/// A model.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::routes) struct SdModel {
    title: String,
    model_name: String,
    hash: Option<String>,
    sha256: Option<String>,
    filename: String,
    config: Option<String>,
}

/// A way to sample: there is one.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::routes) struct Sampler {
    name: &'static str,
    aliases: [&'static str; 0],
    #[schema(value_type = Object)]
    options: serde_json::Map<String, serde_json::Value>,
}

/// A schedule of steps: that of the model.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::routes) struct Scheduler {
    name: &'static str,
    label: &'static str,
    aliases: [&'static str; 0],
    default_rho: f64,
    need_inner_model: bool,
}

/// Models of images
#[utoipa::path(get, path = "/sdapi/v1/sd-models", tag = "A1111", responses((status = 200, body = Vec<SdModel>)))]
pub(in crate::routes) async fn sd_models(State(app): State<Arc<App>>) -> Json<Vec<SdModel>> {
    let models = super::options::prompted(&app);
    let entry = |name: &str| SdModel {
        title: name.to_owned(),
        model_name: name.to_owned(),
        hash: None,
        sha256: None,
        // No path of this computer.
        filename: name.to_owned(),
        config: None,
    };
    Json(models.map(|model| entry(&model.name)).collect())
}

/// Samplers
#[utoipa::path(get, path = "/sdapi/v1/samplers", tag = "A1111", responses((status = 200, body = Vec<Sampler>)))]
pub(in crate::routes) async fn samplers() -> Json<Vec<Sampler>> {
    Json(vec![Sampler {
        name: super::answer::SAMPLER,
        aliases: [],
        options: serde_json::Map::new(),
    }])
}

/// Schedulers
#[utoipa::path(get, path = "/sdapi/v1/schedulers", tag = "A1111", responses((status = 200, body = Vec<Scheduler>)))]
pub(in crate::routes) async fn schedulers() -> Json<Vec<Scheduler>> {
    Json(vec![Scheduler {
        name: "automatic",
        label: "Automatic",
        aliases: [],
        default_rho: -1.0,
        need_inner_model: false,
    }])
}

/// A low-rank adapter.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::routes) struct SdLora {
    name: String,
    alias: String,
    path: String,
    #[schema(value_type = Object)]
    metadata: serde_json::Map<String, serde_json::Value>,
}

/// Low-rank adapters
#[utoipa::path(get, path = "/sdapi/v1/loras", tag = "A1111", responses((status = 200, body = Vec<SdLora>)))]
pub(in crate::routes) async fn loras(State(app): State<Arc<App>>) -> Json<Vec<SdLora>> {
    let entry = |name: &String| SdLora {
        name: name.clone(),
        alias: name.clone(),
        // No path of this computer.
        path: name.clone(),
        metadata: serde_json::Map::new(),
    };
    Json(
        app.adapters
            .iter()
            .map(|adapter| entry(&adapter.name))
            .collect(),
    )
}
