//! What can be asked.

mod docs;
mod files;
mod generate;
mod openai;
mod page;
mod runs;
mod sdapi;
mod status;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::guard;
use crate::refusal::{Refusal, in_one_shape};

/// How long a client may send nothing in the middle of a body.
const BODY: Duration = Duration::from_secs(20);

/// All routes.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let (api, description) = api().split_for_parts();
    let guarded = api
        .route("/api/schema", get(page::pipeline_schema))
        .with_state(Arc::clone(app))
        .layer(middleware::from_fn_with_state(
            Arc::clone(app),
            guard::check_key,
        ));
    // The page asks for the key, so it is there without one; so is what it links to.
    Router::new()
        .route("/", get(page::index))
        .route("/{name}", get(page::asset))
        .merge(docs::router(description))
        .merge(guarded)
        .fallback(|| async { Refusal::absent("such path") })
        .method_not_allowed_fallback(|| async { Refusal::wrong_method() })
        .layer(DefaultBodyLimit::max(app.options.body))
        .layer(RequestBodyTimeoutLayer::new(BODY))
        .layer(middleware::from_fn_with_state(
            Arc::clone(app),
            guard::check_host,
        ))
        .layer(CatchPanicLayer::new())
        .layer(middleware::map_response(in_one_shape))
}

/// The routes that the description of the API has.
fn api() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(docs::head())
        .routes(routes!(openai::images::generations))
        .routes(routes!(openai::edits::edits))
        .routes(routes!(openai::edits::variations))
        .routes(routes!(openai::models::list))
        .routes(routes!(openai::models::show))
        .routes(routes!(openai::videos::create, openai::videos::list))
        .routes(routes!(openai::videos::show, openai::videos::delete))
        .routes(routes!(openai::videos::content))
        .routes(routes!(sdapi::paint::txt2img))
        .routes(routes!(sdapi::paint::img2img))
        .routes(routes!(sdapi::paint::png_info))
        .routes(routes!(sdapi::options::read, sdapi::options::write))
        .routes(routes!(sdapi::lists::sd_models))
        .routes(routes!(sdapi::lists::loras))
        .routes(routes!(sdapi::lists::samplers))
        .routes(routes!(sdapi::lists::schedulers))
        .routes(routes!(sdapi::progress::progress))
        .routes(routes!(sdapi::progress::interrupt))
        .routes(routes!(generate::models))
        .routes(routes!(generate::generate))
        .routes(routes!(generate::pipeline))
        .routes(routes!(generate::validate))
        .routes(routes!(runs::start, runs::list))
        .routes(routes!(runs::show, runs::stop))
        .routes(routes!(runs::events))
        .routes(routes!(runs::file))
        .routes(routes!(uploads::keep))
        .routes(routes!(uploads::show))
        .routes(routes!(status::health))
        .routes(routes!(status::ready))
        .routes(routes!(status::metrics))
}
