//! A refused request: a code and one sentence, as JSON.

use std::path::Path;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use nextscale_pipelines::PipelineError;
use nextscale_pipelines::error::Diagnostic;
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request is not served, in the shape of the OpenAI API.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    message: String,
    /// The place of the mistake, for pipelines: name, line and column.
    mistakes: Vec<Mistake>,
}

/// A mistake in a pipeline, with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Mistake {
    /// One sentence.
    pub message: String,
    /// From 1; 0 if it has no place in the text.
    pub line: u64,
    /// In characters, from 1.
    pub column: u64,
    /// A way out, if one is known.
    pub hint: Option<String>,
}

impl Mistake {
    fn of(diagnostic: &Diagnostic) -> Self {
        Self {
            message: diagnostic.message.clone(),
            line: diagnostic.mark.line,
            column: diagnostic.mark.column,
            hint: diagnostic.hint.clone(),
        }
    }
}

/// The answer to a request that is not served, in the shape of the OpenAI API.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorAnswer {
    error: ErrorDetail,
}

/// What is wrong with a request.
#[derive(Debug, Serialize, ToSchema)]
struct ErrorDetail {
    /// One sentence.
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<String>,
    code: Option<String>,
    /// The mistakes of a pipeline.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mistakes: Vec<Mistake>,
}

/// What a client hears where the server is about to end.
const CLOSING: &str = "the server stops; what waits is painted when it starts again";

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

    /// A fault of this server.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// A path that is asked in a way that it does not know.
    pub fn wrong_method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "this path does not take this method",
        )
    }

    /// A server that is about to end.
    pub fn closing() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, CLOSING)
    }

    /// Without the path of a folder of this computer.
    #[must_use]
    pub fn without(mut self, folder: &Path) -> Self {
        self.message = without(&self.message, folder);
        for mistake in &mut self.mistakes {
            mistake.message = without(&mistake.message, folder);
        }
        self
    }

    /// What it says.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The mistakes of a pipeline.
    pub fn into_mistakes(self) -> Vec<Mistake> {
        self.mistakes
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

/// A text without the path of a folder: `FOLDER/uploads/NAME` becomes `upload:NAME`.
pub(crate) fn without(text: &str, folder: &Path) -> String {
    let folder = folder.display().to_string();
    let text = text.replace(&format!("{folder}/uploads/"), "upload:");
    text.replace(&format!("{folder}/"), "")
}

impl From<&PipelineError> for Refusal {
    fn from(error: &PipelineError) -> Self {
        let hint = error
            .hint()
            .map(|hint| format!("; {hint}"))
            .unwrap_or_default();
        let status = match error {
            PipelineError::Invalid(_) | PipelineError::Model(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mistakes = match error {
            PipelineError::Invalid(all) => all.iter().map(Mistake::of).collect(),
            _ => vec![],
        };
        Self {
            mistakes,
            ..Self::new(status, format!("{error}{hint}"))
        }
    }
}

impl From<PipelineError> for Refusal {
    fn from(error: PipelineError) -> Self {
        Self::from(&error)
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        tracing::warn!(%error, "the store of jobs");
        let message = "the store of jobs does not answer: ask again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, kind) = (self.status, self.kind());
        let error = ErrorDetail {
            message: self.message,
            kind,
            param: None,
            code: None,
            mistakes: self.mistakes,
        };
        let mut response = (status, Json(ErrorAnswer { error })).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_SECONDS.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Answers of libraries that refuse a request in plain text, in the shape of all others.
pub(crate) async fn in_one_shape(response: Response) -> Response {
    const LONGEST: usize = 1 << 16;
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_text = kind.is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    let status = response.status();
    if !is_text || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let body = axum::body::to_bytes(response.into_body(), LONGEST).await;
    let text = String::from_utf8_lossy(&body.unwrap_or_default())
        .trim()
        .to_owned();
    let known = status.canonical_reason().unwrap_or("it is refused");
    let message = if text.is_empty() { known } else { &text };
    Refusal::new(status, message).into_response()
}
