//! `POST /v1/images/edits` and `/v1/images/variations`.

use std::sync::Arc;

use axum::extract::{Multipart, State};
use axum::response::Response;
use nextscale_pipelines::stages::has_holes;
use utoipa::ToSchema;

use super::answer::{Form, ImagesAnswer, Of, answer, check_response_format};
use super::form::FormFields;
use super::format::OutputFormat;
use super::models::own;
use super::size::size;
use crate::app::App;
use crate::client::Client;
use crate::generate::{Generate, Variation};
use crate::models::Edits;
use crate::refusal::{ErrorAnswer, Refusal};
use crate::settings_of::settings_of;

/// A form with an image to edit.
#[derive(ToSchema)]
#[allow(dead_code)] // what it looks like, for the description of the API
pub(in crate::routes) struct EditForm {
    /// Its transparent parts are painted anew if there is no mask. Without any, the prompt is an instruction, for models that take one.
    #[schema(value_type = String, format = Binary)]
    image: Vec<u8>,
    /// Of the image's size; its transparent parts are painted anew.
    #[schema(value_type = Option<String>, format = Binary)]
    mask: Option<Vec<u8>>,
    prompt: String,
    model: Option<String>,
    n: Option<usize>,
    size: Option<String>,
    output_format: Option<OutputFormat>,
    stream: Option<bool>,
    partial_images: Option<usize>,
    /// An extension.
    #[schema(value_type = Option<i64>, minimum = 0)]
    seed: Option<u64>,
    /// An extension: the exact pixels outside the painted part stay.
    keep_original: Option<bool>,
}

/// A form with an image to vary.
#[derive(ToSchema)]
#[allow(dead_code)] // as above
pub(in crate::routes) struct VariationForm {
    /// One that this program has made, or any other with a prompt.
    #[schema(value_type = String, format = Binary)]
    image: Vec<u8>,
    /// An extension, for images that this program has not made.
    prompt: Option<String>,
    model: Option<String>,
    n: Option<usize>,
    size: Option<String>,
    /// An extension: how many of the first scales stay; half of them if absent.
    from_scale: Option<usize>,
    /// An extension.
    #[schema(value_type = Option<i64>, minimum = 0)]
    seed: Option<u64>,
}

/// An image with a part painted anew, or changed as the prompt says
#[utoipa::path(post, path = "/v1/images/edits", tag = "OpenAI", request_body(content = EditForm, content_type = "multipart/form-data"), responses(
    (status = 200, body = ImagesAnswer), (status = "4XX", body = ErrorAnswer), (status = 503, body = ErrorAnswer)))]
pub(in crate::routes) async fn edits(
    State(app): State<Arc<App>>,
    Client(client): Client,
    form: Multipart,
) -> Result<Response, Refusal> {
    let fields = FormFields::read(form).await?;
    let image = keep(&app, &fields, "image").await?;
    let image =
        image.ok_or_else(|| Refusal::bad("`image` is missing: the image that is edited"))?;
    let mask = keep(&app, &fields, "mask").await?;
    let mut request = common(&app, &fields)?;
    let whole = mask.is_none() && !has_transparency(&app, &image);
    let instructed = app
        .models
        .iter()
        .find(|model| model.edits == Some(Edits::Instruction));
    if whole
        && fields
            .text("model")
            .is_none_or(|name| app.model(Some(name)).is_err())
    {
        request.model = instructed.map(|model| model.name.clone()).or(request.model);
    }
    request.image = Some(image);
    request.mask = mask;
    request.keep_original = fields.value("keep_original")?;
    answer(app, &client, &request, returned(&fields, Of::Edit)?).await
}

/// An image like another: the same first scales, and other details
#[utoipa::path(post, path = "/v1/images/variations", tag = "OpenAI", request_body(content = VariationForm, content_type = "multipart/form-data"),
    responses((status = 200, body = ImagesAnswer), (status = "4XX", body = ErrorAnswer), (status = 503, body = ErrorAnswer)))]
pub(in crate::routes) async fn variations(
    State(app): State<Arc<App>>,
    Client(client): Client,
    form: Multipart,
) -> Result<Response, Refusal> {
    let fields = FormFields::read(form).await?;
    let image = keep(&app, &fields, "image").await?;
    let image =
        image.ok_or_else(|| Refusal::bad("`image` is missing: the image that is varied"))?;
    let from_scale: Option<usize> = fields.value("from_scale")?;
    let wanted = common(&app, &fields)?;
    let own = settings_of(&app, &image).and_then(|settings| settings.request);
    let request = match own {
        Some(own) if own.seed.is_some() && own.variation.is_none() && own.image.is_none() => {
            let seed = own.seed.unwrap_or_default();
            Generate {
                variation: Some(Variation { seed, from_scale }),
                seed: wanted.seed,
                n: wanted.n,
                ..own
            }
        }
        _ if wanted.prompt.is_some() => {
            let model = app.model(wanted.model.as_deref())?;
            let half = model.scales.div_ceil(2);
            Generate {
                image: Some(image),
                from_scale: Some(from_scale.unwrap_or(half)),
                ..wanted
            }
        }
        _ => {
            let message = "the image carries no settings of this program: send a `prompt` with it";
            return Err(Refusal::bad(message));
        }
    };
    answer(app, &client, &request, returned(&fields, Of::Generation)?).await
}

/// What both forms have.
fn common(app: &App, fields: &FormFields) -> Result<Generate, Refusal> {
    check_response_format(fields.text("response_format"))?;
    let size = size(fields.text("size"))?;
    Ok(Generate {
        model: Some(own(app, fields.text("model"))?),
        prompt: fields.text("prompt").map(str::to_owned),
        negative_prompt: fields.text("negative_prompt").map(str::to_owned),
        seed: fields.value("seed")?,
        n: fields.value("n")?,
        width: size.map(|size| size.0),
        height: size.map(|size| size.1),
        ..Generate::default()
    })
}

fn returned(fields: &FormFields, of: Of) -> Result<Form, Refusal> {
    Ok(Form {
        format: OutputFormat::named(fields.text("output_format"))?,
        stream: fields.value("stream")?.unwrap_or(false),
        partial_images: fields.value("partial_images")?,
        of,
    })
}

/// Keeps a file of a form.
pub(super) async fn keep(
    app: &Arc<App>,
    fields: &FormFields,
    name: &str,
) -> Result<Option<String>, Refusal> {
    match fields.file(name)? {
        Some(bytes) => Ok(Some(app.keep(bytes.clone()).await?.name)),
        None => Ok(None),
    }
}

/// Whether an upload has transparent parts.
fn has_transparency(app: &App, upload: &str) -> bool {
    let path = app.uploads.as_uploads().find(upload);
    path.is_some_and(|path| has_holes(&path).unwrap_or(false))
}
