//! How the server is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use crate::app::App;

/// It lives.
pub(crate) async fn health() -> &'static str {
    "ok\n"
}

/// It takes requests.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> String {
    format!("ok, {} waiting\n", app.queue.len())
}

/// Counters in the text format of Prometheus.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let counters = &app.counters;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
    let (bytes, parts) = app.parts.kept();
    let seconds = count(&counters.scale_milliseconds) / 1000.0;
    let rows = [
        (
            "queue_jobs",
            "gauge",
            "Jobs that wait",
            app.queue.len() as f64,
        ),
        (
            "images_total",
            "counter",
            "Finished images",
            count(&counters.images),
        ),
        (
            "failed_total",
            "counter",
            "Failed jobs",
            count(&counters.failed),
        ),
        (
            "cancelled_total",
            "counter",
            "Stopped jobs",
            count(&counters.cancelled),
        ),
        (
            "refused_total",
            "counter",
            "Jobs refused by a full queue",
            count(&counters.refused),
        ),
        (
            "scales_total",
            "counter",
            "Computed scales",
            count(&counters.scales),
        ),
        (
            "scale_seconds_total",
            "counter",
            "Seconds of all scales",
            seconds,
        ),
        (
            "weights_bytes",
            "gauge",
            "Bytes of loaded weights",
            bytes as f64,
        ),
        (
            "model_parts",
            "gauge",
            "Loaded parts of models",
            parts as f64,
        ),
        (
            "uptime_seconds",
            "gauge",
            "Seconds since the start",
            app.started.elapsed().as_secs_f64(),
        ),
    ];
    let line = |(name, kind, help, value): (&str, &str, &str, f64)| {
        format!(
            "# HELP nextscale_{name} {help}\n# TYPE nextscale_{name} {kind}\nnextscale_{name} {value}\n"
        )
    };
    let text: String = rows.into_iter().map(line).collect();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
