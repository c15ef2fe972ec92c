//! How the server is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::refusal::{ErrorAnswer, Refusal};

/// Whether the server lives
#[utoipa::path(get, path = "/health", tag = "Status", responses((status = 200, body = String)))]
pub(crate) async fn health() -> &'static str {
    "ok\n"
}

/// Whether it takes requests
#[utoipa::path(get, path = "/ready", tag = "Status", responses((status = 200, body = String), (status = 503, body = ErrorAnswer)))]
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<String, Refusal> {
    if app.is_closing() {
        return Err(Refusal::closing());
    }
    let waiting = app.store.waiting().await?;
    Ok(format!("ok, {waiting} waiting\n"))
}

/// Counters in the text format of Prometheus
#[utoipa::path(get, path = "/metrics", tag = "Status", responses((status = 200, body = String), (status = 503, body = ErrorAnswer)))]
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    let waiting = app.store.waiting().await?;
    let counters = &app.counters;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
    let (bytes, parts) = app.parts.kept();
    let seconds = count(&counters.scale_milliseconds) / 1000.0;
    let rows = [
        ("queue_jobs", "gauge", "Jobs that wait", waiting as f64),
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
            "batches_total",
            "counter",
            "Runs of one job or of several together",
            count(&counters.batches),
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
            "resident_bytes",
            "gauge",
            "Memory of the server",
            resident_bytes() as f64,
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
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    Ok((kind, text).into_response())
}

/// Bytes of memory that the process holds; 0 where the system does not say.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kibibytes.unwrap_or_default() * 1024
}
