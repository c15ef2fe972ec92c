//! `fit`: pictures brought to a size, as the first frames of videos for example.

use std::sync::Arc;

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inpaint;
use crate::artifact::{Artifact, ArtifactType, Kind};
use crate::error::PipelineError;
use crate::setup::Setup;
use crate::stage::{Input, Output, Ports, Stage};

/// How a picture of another shape fits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FitMode {
    /// It covers the whole, and what is over is evenly cut off.
    #[default]
    Cover,
    /// It stands whole in the middle of a background.
    Inside,
}

/// Brings pictures to a size.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FitParams {
    /// Width in pixels.
    width: u32,
    /// Height in pixels.
    height: u32,
    /// How a picture of another shape fits.
    #[serde(default)]
    mode: FitMode,
    /// With `inside`: the share of the sides that it may take.
    #[serde(default = "whole")]
    size: f64,
    /// With `inside`: the colour around it, red, green and blue.
    #[serde(default = "white")]
    background: [u8; 3],
}

fn whole() -> f64 {
    1.0
}

fn white() -> [u8; 3] {
    [255; 3]
}

/// The stage.
pub(crate) struct Fit {
    params: FitParams,
}

impl Fit {
    pub(crate) fn new(params: FitParams, setup: &Setup) -> Result<Self, PipelineError> {
        for (key, side) in [("width", params.width), ("height", params.height)] {
            if !(1..=16384).contains(&side) {
                let message = format!("`{key}` should be from 1 to 16384, but it is {side}");
                return Err(setup.refuse(key, message).into());
            }
        }
        if !(params.size > 0.0 && params.size <= 1.0) {
            let message = format!(
                "`size` should be above 0 and up to 1, but it is {}",
                params.size
            );
            return Err(setup.refuse("size", message).into());
        }
        Ok(Self { params })
    }
}

/// The picture covering `width` x `height` pixels, cut evenly.
pub(super) fn cover(picture: &RgbImage, width: usize, height: usize) -> RgbImage {
    inpaint::fit(picture, width as u32, height as u32)
}

/// The whole picture in the middle of `width` x `height` pixels, within `size` of both sides.
pub(super) fn inside(
    picture: &RgbImage,
    [width, height]: [u32; 2],
    size: f64,
    background: [u8; 3],
) -> RgbImage {
    let (w, h) = picture.dimensions();
    let room = |side: u32, has: u32| f64::from(side) * size / f64::from(has);
    let factor = room(width, w).min(room(height, h));
    let to = |side: u32, most: u32| ((f64::from(side) * factor).round() as u32).clamp(1, most);
    let (w, h) = (to(w, width), to(h, height));
    let small = match (w, h) == picture.dimensions() {
        true => picture.clone(),
        false => imageops::resize(picture, w, h, FilterType::CatmullRom),
    };
    let mut page = RgbImage::from_pixel(width, height, Rgb(background));
    let (x, y) = ((width - w) / 2, (height - h) / 2);
    imageops::replace(&mut page, &small, i64::from(x), i64::from(y));
    page
}

impl Stage for Fit {
    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![("image", ArtifactType::new(Kind::Image))],
            output: Some(ArtifactType::new(Kind::Image)),
        }
    }

    fn resolved(&self) -> serde_json::Value {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let Some(Artifact::Image(image)) = input.artifacts.first() else {
            return Err(input.context.failed("its input is no image"));
        };
        let FitParams {
            width,
            height,
            mode,
            size,
            background,
        } = self.params;
        let fitted = match mode {
            FitMode::Cover => cover(image, width as usize, height as usize),
            FitMode::Inside => inside(image, [width, height], size, background),
        };
        out.send(input, Artifact::Image(Arc::new(fitted)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_stands_in_the_middle() {
        let picture = RgbImage::from_pixel(40, 20, Rgb([9; 3]));
        let page = inside(&picture, [20, 20], 0.5, [255; 3]);
        assert_eq!(page.dimensions(), (20, 20));
        let dark = |x, y| page.get_pixel(x, y).0[0] < 20;
        let inked = |(x, y): (u32, u32)| dark(x, y);
        let all = (0..20).flat_map(|y| (0..20).map(move |x| (x, y)));
        let found: Vec<_> = all.filter(|&at| inked(at)).collect();
        assert_eq!(found.len(), 10 * 5);
        assert_eq!((found[0], found[49]), ((5, 7), (14, 11)));
        assert_eq!(cover(&picture, 16, 16).dimensions(), (16, 16));
    }
}
