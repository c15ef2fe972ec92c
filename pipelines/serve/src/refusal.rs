//! A refused request: a code and one sentence, as JSON.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use nextscale_pipelines::PipelineError;
use serde_json::{Value, json};

/// Why a request is not served, in the shape of the OpenAI API.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    message: String,
    /// The place of the mistake, for pipelines: name, line and column.
    mistakes: Vec<Value>,
}

/// Seconds after which a client may ask again where the queue is full.
const RETRY_SECONDS: u64 = 2;

impl Refusal {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            mistakes: vec![],
        }
    }

    /// A request that asks for what cannot be.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Something that is not there.
    pub fn absent(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no {what}"))
    }

    /// A full queue.
    pub fn busy(waiting: usize) -> Self {
        let message =
            format!("{waiting} jobs are waiting already: ask again in {RETRY_SECONDS} seconds");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }
}

impl From<PipelineError> for Refusal {
    fn from(error: PipelineError) -> Self {
        let hint = error
            .hint()
            .map(|hint| format!("; {hint}"))
            .unwrap_or_default();
        let status = match &error {
            PipelineError::Invalid(_) | PipelineError::Model(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mistakes = match &error {
            PipelineError::Invalid(all) => all
                .iter()
                .map(|one| {
                    let (line, column) = (one.mark.line, one.mark.column);
                    json!({ "message": one.message, "line": line, "column": column, "hint": one.hint })
                })
                .collect(),
            _ => vec![],
        };
        Self {
            mistakes,
            ..Self::new(status, format!("{error}{hint}"))
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut error = json!({
            "message": self.message,
            "type": self.kind(),
            "param": null,
            "code": null,
        });
        if !self.mistakes.is_empty() {
            error["mistakes"] = self.mistakes.into();
        }
        let mut response = (self.status, Json(json!({ "error": error }))).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_SECONDS.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
