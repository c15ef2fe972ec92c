//! What can be asked.

mod openai;
mod runs;
mod status;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;
use crate::guard;
use crate::refusal::Refusal;

/// All routes.
pub(crate) fn router(app: &Arc<App>) -> Router {
    Router::new()
        .route("/v1/images/generations", post(openai::generations))
        .route("/v1/models", get(openai::models))
        .route("/api/runs", post(runs::start))
        .route("/api/runs/{id}", get(runs::show).delete(runs::stop))
        .route("/api/runs/{id}/events", get(runs::events))
        .route("/api/runs/{id}/files/{name}", get(runs::file))
        .route("/health", get(status::health))
        .route("/ready", get(status::ready))
        .route("/metrics", get(status::metrics))
        .fallback(|| async { Refusal::absent("such path") })
        .layer(DefaultBodyLimit::max(app.options.body))
        .layer(middleware::from_fn_with_state(
            Arc::clone(app),
            guard::check,
        ))
        .layer(CatchPanicLayer::new())
        .with_state(Arc::clone(app))
}
