//! Where painting starts: not from nothing, but behind the first scales of a picture.
//!
//! The first scales of a picture hold its layout and colours, the last ones its details. Whoever keeps the first and
//! draws the rest anew gets the same composition in another execution.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use image::RgbImage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inpaint;
use crate::error::PipelineError;
use crate::media::image::read_image;
use crate::setup::Setup;

/// A picture whose first scales are taken over.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StartParams {
    /// The picture: PNG, JPEG or WebP. It is scaled and evenly cropped to the size that is painted.
    image: PathBuf,
    /// How many of its first scales are taken over; half of them if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from_scale: Option<usize>,
}

/// A picture painted before, of which the last scales are drawn anew.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VariationParams {
    /// Its seed. Everything else has to be as it was.
    seed: u64,
    /// How many of its first scales stay; half of them if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from_scale: Option<usize>,
}

/// The start of a run, checked and read.
pub(super) enum InitImage {
    /// No scale is given.
    None,
    /// The first scales of a picture.
    Scales(RgbImage, usize),
    /// The first scales are drawn with another seed.
    Seed(u64, usize),
}

/// The start of a run of `scales` scales that paints `width` x `height` pixels.
///
/// `edited` says whether a part of a picture is painted anew, which goes with none of the others.
pub(super) fn init_image(
    start: Option<&StartParams>,
    variation: Option<&VariationParams>,
    edited: bool,
    [width, height, scales]: [usize; 3],
    setup: &Setup,
) -> Result<InitImage, PipelineError> {
    let given = [
        ("start", start.is_some()),
        ("variation", variation.is_some()),
        ("edit", edited),
    ];
    let given: Vec<&str> = given
        .iter()
        .filter(|(_, is)| *is)
        .map(|(key, _)| *key)
        .collect();
    if let [first, second, ..] = given[..] {
        let message = format!("`{first}` and `{second}` exclude each other");
        return Err(setup.refuse(first, message).hint("keep one of them").into());
    }
    let checked = |key: &str, wanted: Option<usize>| {
        let from = wanted.unwrap_or(scales.div_ceil(2));
        match from <= scales {
            true => Ok(from),
            false => {
                let message =
                    format!("`from-scale` is {from}, but the picture has {scales} scales");
                Err(setup
                    .refuse(key, message)
                    .hint(format!("the last is {scales}")))
            }
        }
    };
    if let Some(start) = start {
        let from = checked("start", start.from_scale)?;
        let picture = read_image(&start.image).map_err(|e| inpaint::refused("start", &e, setup))?;
        return Ok(InitImage::Scales(
            inpaint::fit(&picture, width as u32, height as u32),
            from,
        ));
    }
    match variation {
        Some(variation) => Ok(InitImage::Seed(
            variation.seed,
            checked("variation", variation.from_scale)?,
        )),
        None => Ok(InitImage::None),
    }
}

impl InitImage {
    /// The codes of the scales that are taken over, by `encode` from pixels `[1, 3, h, w]` in [-1, 1] to the codes of
    /// all scales.
    pub(super) fn codes<C>(
        &self,
        device: &Device,
        encode: impl FnOnce(Tensor<4>) -> Result<Vec<C>, PipelineError>,
    ) -> Result<Vec<C>, PipelineError> {
        let Self::Scales(picture, from) = self else {
            return Ok(vec![]);
        };
        let mut codes = encode(inpaint::pixels(picture, device))?;
        codes.truncate(*from);
        Ok(codes)
    }

    /// The seed of the first scales of a picture that has this seed itself.
    pub(super) fn first_seed(&self, own: u64) -> u64 {
        match self {
            Self::Seed(seed, _) => *seed,
            _ => own,
        }
    }

    /// The scale, from 0, at which the picture's own seed takes over, if it does not have all of them.
    pub(super) fn takes_over(&self) -> Option<usize> {
        match self {
            Self::Seed(_, from) => Some(*from),
            _ => None,
        }
    }
}
