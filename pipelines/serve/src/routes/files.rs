//! Sending files.

use std::path::Path;

use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::refusal::Refusal;
use crate::uploads::media_type;

/// A file that does not change any more.
pub(super) async fn send(path: &Path) -> Result<Response, Refusal> {
    let bytes = tokio::fs::read(path).await;
    let bytes = bytes.map_err(|_| Refusal::absent("such file any more"))?;
    let kind = match path.extension().and_then(|kind| kind.to_str()) {
        Some("mp4") => "video/mp4",
        _ => media_type(&bytes),
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "private, max-age=86400"),
        // Whatever a client has sent: it is shown, and nothing in it is run.
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; sandbox",
        ),
    ];
    Ok((headers, Bytes::from(bytes)).into_response())
}
