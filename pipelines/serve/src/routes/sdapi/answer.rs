//! Images as the answer.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nextscale_pipelines::media;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::app::App;
use crate::follower::Follower;
use crate::generate::Generate;
use crate::refusal::Refusal;
use crate::update::{Finished, Update};

/// The one way to sample.
pub(super) const SAMPLER: &str = "next-scale";

/// Images, and how they were made.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::routes) struct Images {
    /// PNG files in base64.
    images: Vec<String>,
    /// The request.
    #[schema(value_type = Object)]
    parameters: Value,
    /// JSON: the seeds, and the text that each image carries.
    info: String,
}

/// Generates, and answers with the images.
pub(super) async fn answer(
    app: Arc<App>,
    client: &str,
    request: &Generate,
    parameters: Value,
) -> Result<Json<Images>, Refusal> {
    let job = app.generate(client, request).await?;
    let follower = Follower { app, job };
    match follower.job.end().await {
        // As there, an interrupted request returns what there is.
        Some(Update::Done | Update::Cancelled) => {}
        Some(Update::Failed { message }) => return Err(Refusal::bad(message)),
        _ => return Err(Refusal::closing()),
    }
    let images = follower.images().await?;
    let request = request.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let mut encoded = vec![];
        let mut texts = vec![];
        for (_, path) in &images {
            let bytes = std::fs::read(path);
            encoded
                .push(STANDARD.encode(bytes.map_err(|_| Refusal::absent("such image any more"))?));
            let tags = media::tags(path).unwrap_or_default();
            let text = tags.into_iter().find(|(key, _)| key == "parameters");
            texts.push(text.map_or_else(String::new, |(_, text)| text));
        }
        Ok(Images {
            images: encoded,
            parameters,
            info: info(&request, &images, &texts).to_string(),
        })
    });
    let answer: Result<Images, Refusal> = reading
        .await
        .map_err(|_| Refusal::failed("the images could not be read"))?;
    Ok(Json(answer?))
}

fn info(request: &Generate, images: &[(Finished, PathBuf)], texts: &[String]) -> Value {
    let seeds: Vec<u64> = images.iter().map(|(image, _)| image.seed).collect();
    let prompt = request.prompt.clone().unwrap_or_default();
    let negative = request.negative_prompt.clone().unwrap_or_default();
    json!({
        "prompt": prompt,
        "all_prompts": vec![prompt.clone(); seeds.len()],
        "negative_prompt": negative,
        "all_negative_prompts": vec![negative.clone(); seeds.len()],
        "seed": seeds.first(),
        "all_seeds": seeds,
        "subseed": 0,
        "all_subseeds": vec![0; images.len()],
        "width": request.width,
        "height": request.height,
        "sampler_name": SAMPLER,
        "cfg_scale": request.cfg_scale,
        "batch_size": images.len(),
        "sd_model_name": request.model,
        "infotexts": texts,
        "index_of_first_image": 0,
    })
}
