//! The page: files inside the program.

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use nextscale_pipelines::Registry;
use nextscale_pipelines::schema::schema;
use rust_embed::RustEmbed;

use crate::refusal::Refusal;

/// What a page may do: nothing but talk to this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// What stands in the page for the number that allows the editor's own style sheet.
const NONCE: &str = "{{NONCE}}";

/// The files of the page.
#[derive(RustEmbed)]
#[folder = "page/"]
#[include = "*.html"]
#[include = "*.css"]
#[include = "*.js"]
#[include = "*.svg"]
#[exclude = "editor/*"]
struct Files;

/// The page itself.
pub(super) async fn index() -> Result<Response, Refusal> {
    let file = Files::get("index.html").ok_or_else(|| Refusal::absent("page"))?;
    let nonce = format!("{:032x}", rand::random::<u128>());
    let text = String::from_utf8_lossy(&file.data).replace(NONCE, &nonce);
    let policy = format!("{POLICY}; style-src 'self' 'nonce-{nonce}'");
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    Ok((headers, text).into_response())
}

/// A script, a style sheet or a drawing of the page.
pub(super) async fn asset(Path(name): Path<String>) -> Result<Response, Refusal> {
    let file = Files::get(&name).ok_or_else(|| Refusal::absent("such path"))?;
    let kind = match name.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => return Err(Refusal::absent("such path")),
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, file.data).into_response())
}

/// The JSON Schema of pipelines, for editors.
pub(super) async fn pipeline_schema() -> Response {
    let schema = schema(&Registry::builtin()).to_string();
    ([(header::CONTENT_TYPE, "application/json")], schema).into_response()
}
