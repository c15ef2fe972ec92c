//! `txt2img`, `img2img` and `png-info`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::answer::{Images, answer};
use super::options::{SdOptions, model};
use crate::adapters::in_prompt;
use crate::app::App;
use crate::client::Client;
use crate::generate::Generate;
use crate::models::ModelInfo;
use crate::refusal::{ErrorAnswer, Refusal};
use crate::settings_of::settings_of;

/// What clients of the web UI send as the strength of guidance unless asked: it stands for the model's own.
const THEIR_CFG_SCALE: f64 = 7.0;
/// How much of an image changes unless asked.
const THEIR_STRENGTH: f64 = 0.75;

/// Settings of the web UI. Those without a meaning here, such as steps and samplers, are accepted.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub(in crate::routes) struct Txt2Img {
    /// `<lora:NAME:WEIGHT>` in it chooses a low-rank adapter of the server.
    #[serde(default)]
    prompt: String,
    negative_prompt: Option<String>,
    /// Random if absent or -1.
    seed: Option<i64>,
    /// The nearest size of the model is taken.
    #[schema(minimum = 1)]
    width: Option<usize>,
    #[schema(minimum = 1)]
    height: Option<usize>,
    /// 7, what clients send unless asked, stands for the model's own.
    cfg_scale: Option<f64>,
    #[schema(minimum = 1)]
    batch_size: Option<usize>,
    #[schema(minimum = 1)]
    n_iter: Option<usize>,
    override_settings: Option<SdOptions>,
    /// The image, for `img2img`: a file in base64, or a data URL.
    init_images: Option<Vec<String>>,
    /// White is painted anew.
    mask: Option<String>,
    /// 1 to paint everything but the mask.
    inpainting_mask_invert: Option<i64>,
    /// How much of the image changes, from 0 to 1: the first scales stay. With a mask it has no effect.
    denoising_strength: Option<f64>,
}

/// An image in base64.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::routes) struct PngInfo {
    image: String,
}

/// The text that an image carries.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::routes) struct PngInfoAnswer {
    info: String,
    #[schema(value_type = Object)]
    items: Value,
    #[schema(value_type = Object)]
    parameters: Value,
}

/// Images from a prompt
#[utoipa::path(post, path = "/sdapi/v1/txt2img", tag = "A1111", request_body = Txt2Img, responses(
    (status = 200, body = Images), (status = "4XX", body = ErrorAnswer), (status = 503, body = ErrorAnswer)))]
pub(in crate::routes) async fn txt2img(
    State(app): State<Arc<App>>,
    Client(client): Client,
    Json(request): Json<Txt2Img>,
) -> Result<Json<Images>, Refusal> {
    let generate = common(&app, &request)?.0;
    answer(app, &client, &generate, parameters(request)).await
}

/// Images from an image
#[utoipa::path(post, path = "/sdapi/v1/img2img", tag = "A1111", request_body = Txt2Img, responses(
    (status = 200, body = Images), (status = "4XX", body = ErrorAnswer), (status = 503, body = ErrorAnswer)))]
pub(in crate::routes) async fn img2img(
    State(app): State<Arc<App>>,
    Client(client): Client,
    Json(request): Json<Txt2Img>,
) -> Result<Json<Images>, Refusal> {
    let (mut generate, model) = common(&app, &request)?;
    let scales = model.scales;
    let images = request.init_images.as_deref().unwrap_or_default();
    let [image] = images else {
        let given = images.len();
        let message = format!("`init_images` has {given} images, and one is taken");
        return Err(Refusal::bad(message));
    };
    generate.image = Some(keep(&app, image).await?);
    match request.mask.as_deref().filter(|mask| !mask.is_empty()) {
        Some(mask) => {
            generate.mask = Some(keep(&app, mask).await?);
            generate.invert = (request.inpainting_mask_invert == Some(1)).then_some(true);
            generate.keep_original = Some(true);
        }
        None => {
            let strength = request.denoising_strength.unwrap_or(THEIR_STRENGTH);
            if !(0.0..=1.0).contains(&strength) {
                let message = format!("`denoising_strength` is from 0 to 1, not {strength}");
                return Err(Refusal::bad(message));
            }
            let kept = ((1.0 - strength) * scales as f64).round();
            generate.from_scale = Some(kept as usize);
        }
    }
    answer(app, &client, &generate, parameters(request)).await
}

/// The settings that an image carries
#[utoipa::path(post, path = "/sdapi/v1/png-info", tag = "A1111", request_body = PngInfo,
    responses((status = 200, body = PngInfoAnswer), (status = "4XX", body = ErrorAnswer)))]
pub(in crate::routes) async fn png_info(
    State(app): State<Arc<App>>,
    Json(request): Json<PngInfo>,
) -> Result<Json<PngInfoAnswer>, Refusal> {
    let upload = keep(&app, &request.image).await?;
    let settings = settings_of(&app, &upload).unwrap_or_default();
    let info = settings.parameters.unwrap_or_default();
    let parameters = settings.request.and_then(|r| serde_json::to_value(r).ok());
    Ok(Json(PngInfoAnswer {
        items: serde_json::json!({ "parameters": info }),
        info,
        parameters: parameters.unwrap_or_default(),
    }))
}

/// What both requests have, and the model.
fn common<'a>(app: &'a App, request: &Txt2Img) -> Result<(Generate, &'a ModelInfo), Refusal> {
    let settings = request.override_settings.as_ref();
    let named = settings.and_then(|settings| settings.sd_model_checkpoint.as_deref());
    let model = model(app, named)?;
    let own = (model.width, model.height);
    let size = model.nearest(
        request.width.unwrap_or(own.0),
        request.height.unwrap_or(own.1),
    );
    let n = request.batch_size.unwrap_or(1);
    let n = n.saturating_mul(request.n_iter.unwrap_or(1));
    let (prompt, adapters) = in_prompt(&request.prompt);
    let generate = Generate {
        model: Some(model.name.clone()),
        lora: (!adapters.is_empty()).then_some(adapters),
        prompt: Some(prompt),
        negative_prompt: request.negative_prompt.clone(),
        seed: request.seed.and_then(|seed| u64::try_from(seed).ok()),
        n: Some(n),
        width: Some(size.width),
        height: Some(size.height),
        cfg_scale: request.cfg_scale.filter(|scale| *scale != THEIR_CFG_SCALE),
        ..Generate::default()
    };
    Ok((generate, model))
}

/// The request as it is given back: without its images, which can be large.
fn parameters(request: Txt2Img) -> Value {
    let without = Txt2Img {
        init_images: None,
        mask: None,
        ..request
    };
    serde_json::to_value(without).unwrap_or_default()
}

/// Keeps an image in base64; what pipelines call it.
async fn keep(app: &Arc<App>, text: &str) -> Result<String, Refusal> {
    Ok(app.keep(decode(text)?.into()).await?.name)
}

/// The bytes of a file in base64, or of a data URL.
fn decode(text: &str) -> Result<Vec<u8>, Refusal> {
    let data = match text.split_once(',') {
        Some((head, data)) if head.starts_with("data:") => data,
        _ => text,
    };
    let decoded = STANDARD.decode(data.trim());
    decoded.map_err(|_| Refusal::bad("an image is not base64"))
}
