//! Where generation starts: from nothing, or after the first scales of an image.
//!
//! The first scales of an image hold its layout and colours, the last ones its details. An image that keeps the first scales
//! and samples the others again has the same composition with other details.

use std::sync::Arc;

use burn::tensor::Device;
use image::RgbImage;
use nextscale_models::generator::ImageAutoencoder;
use nextscale_models::resize::crop_to_cover;
use nextscale_models::{Size, pixels};
use nextscale_tokenizer::{Codes, ScaleSchedule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::image_params::TextToImageParams;
use crate::error::{Diagnostic, PipelineError};
use crate::file_path::FilePath;
use crate::media::read_image;
use crate::setup::Setup;

/// An image whose first scales are reused.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StartParams {
    /// The image: PNG, JPEG, WebP, TIFF or GIF. It is scaled and cropped around its centre to the size of the result.
    pub image: FilePath,
    /// Number of its first scales that are reused; half of them if absent.
    pub from_scale: Option<usize>,
}

/// A generated image whose last scales are sampled again.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VariationParams {
    /// Its seed. Everything else has to be as it was.
    pub seed: u64,
    /// Number of its first scales that are kept; half of them if absent.
    pub from_scale: Option<usize>,
}

/// The start of a run, checked and read.
pub(super) enum InitImage {
    /// Every scale is sampled.
    None,
    /// The first scales of an image, and how many.
    Scales(RgbImage, usize),
    /// The first scales, and how many, are sampled with another seed.
    Seed(u64, usize),
}

fn check_exclusive(params: &TextToImageParams, setup: &Setup) -> Result<(), PipelineError> {
    let keys = [
        ("start", params.start.is_some()),
        ("variation", params.variation.is_some()),
        ("edit", params.edit.is_some()),
    ];
    let mut given = keys.iter().filter(|(_, given)| *given);
    if let (Some((first, _)), Some((second, _))) = (given.next(), given.next()) {
        let message = format!("`{first}` and `{second}` exclude each other");
        return Err(setup.refuse(first, message).hint("keep one of them").into());
    }
    Ok(())
}

fn check_from_scale(
    key: &str,
    wanted: Option<usize>,
    scales: usize,
    setup: &Setup,
) -> Result<usize, Diagnostic> {
    let from = wanted.unwrap_or(scales.div_ceil(2));
    if from <= scales {
        return Ok(from);
    }
    let message = format!("`from-scale` is {from}, but the image has {scales} scales");
    let hint = format!("the last is {scales}");
    Err(setup.refuse(key, message).hint(hint))
}

impl InitImage {
    /// What the parameters of a run ask for that generates images of `size` in `scales` scales.
    pub(super) fn new(
        params: &TextToImageParams,
        size: &Size,
        scales: usize,
        setup: &Setup,
    ) -> Result<Self, PipelineError> {
        check_exclusive(params, setup)?;
        if let Some(StartParams { image, from_scale }) = &params.start {
            let from = check_from_scale("start", *from_scale, scales, setup)?;
            let image = read_image(image).map_err(|e| setup.refuse_error("start", &e))?;
            let image = crop_to_cover(&image, size.width as u32, size.height as u32);
            return Ok(Self::Scales(image, from));
        }
        if let Some(VariationParams { seed, from_scale }) = params.variation {
            let from = check_from_scale("variation", from_scale, scales, setup)?;
            return Ok(Self::Seed(seed, from));
        }
        Ok(Self::None)
    }

    /// The codes of the scales that are reused from an image, with the auto-encoder that `load` returns.
    pub(super) fn codes(
        &self,
        cells: &ScaleSchedule,
        device: &Device,
        load: impl FnOnce() -> Result<Arc<ImageAutoencoder>, PipelineError>,
    ) -> Result<Vec<Codes>, PipelineError> {
        let Self::Scales(image, from) = self else {
            return Ok(vec![]);
        };
        let pixels = pixels::from_images(std::slice::from_ref(image), device);
        let mut codes = load()?.codes(pixels, cells);
        codes.truncate(*from);
        Ok(codes)
    }

    /// The seeds of the first scales, and the scale at which the images' own seeds take over, if the first scales have
    /// other seeds.
    pub(super) fn first_seeds(&self, images: usize) -> Option<(Vec<u64>, usize)> {
        match self {
            Self::Seed(seed, from) => Some((vec![*seed; images], *from)),
            _ => None,
        }
    }
}
