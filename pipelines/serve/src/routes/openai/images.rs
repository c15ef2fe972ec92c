//! `POST /v1/images/generations`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::answer::{Form, ImagesAnswer, Of, answer, check_response_format};
use super::format::OutputFormat;
use super::models::own;
use super::size::size;
use crate::app::App;
use crate::client::Client;
use crate::generate::Generate;
use crate::refusal::{ErrorAnswer, Refusal};

/// Images from a prompt. What this program has no use for is accepted and has no effect.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::routes) struct Generations {
    prompt: String,
    /// A name of the list of models; OpenAI's own names stand for its first.
    model: Option<String>,
    #[schema(minimum = 1)]
    n: Option<usize>,
    /// `WIDTHxHEIGHT` or `auto`.
    size: Option<String>,
    /// `b64_json`.
    response_format: Option<String>,
    output_format: Option<OutputFormat>,
    /// Whether the images grow in a stream of events.
    stream: Option<bool>,
    /// How many of the images after a scale the stream has.
    partial_images: Option<usize>,
    /// An extension: one seed gives the same image.
    #[schema(value_type = Option<i64>, minimum = 0)]
    seed: Option<u64>,
    /// An extension.
    negative_prompt: Option<String>,
    /// An extension: low-rank adapters of the server, each NAME or NAME:WEIGHT.
    lora: Option<Vec<String>>,
}

/// Images from a prompt
#[utoipa::path(post, path = "/v1/images/generations", tag = "OpenAI", request_body = Generations, responses(
    (status = 200, body = ImagesAnswer), (status = "4XX", body = ErrorAnswer), (status = 503, body = ErrorAnswer)))]
pub(in crate::routes) async fn generations(
    State(app): State<Arc<App>>,
    Client(client): Client,
    Json(request): Json<Generations>,
) -> Result<Response, Refusal> {
    check_response_format(request.response_format.as_deref())?;
    let size = size(request.size.as_deref())?;
    let generate = Generate {
        model: Some(own(&app, request.model.as_deref())?),
        prompt: Some(request.prompt),
        negative_prompt: request.negative_prompt,
        lora: request.lora,
        seed: request.seed,
        n: request.n,
        width: size.map(|size| size.0),
        height: size.map(|size| size.1),
        ..Generate::default()
    };
    let form = Form {
        format: request.output_format.unwrap_or_default(),
        stream: request.stream.unwrap_or(false),
        partial_images: request.partial_images,
        of: Of::Generation,
    };
    answer(app, &client, &generate, form).await
}
