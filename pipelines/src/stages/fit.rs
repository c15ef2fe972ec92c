//! `fit`: resizes images, for example to the first frames of videos.

use std::sync::Arc;

use nextscale_models::resize::{contain, crop_to_cover};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::{Artifact, Kind};
use crate::error::PipelineError;
use crate::setup::Setup;
use crate::stage::{Input, Output, Ports, Stage};
use crate::stage_params::StageParams;

/// How an image of another aspect ratio fits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FitMode {
    /// It covers the whole size; what is outside is cropped evenly.
    #[default]
    Cover,
    /// It is contained in the size, centred on a background.
    Inside,
}

/// Resizes images.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FitParams {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// How an image of another aspect ratio fits.
    #[serde(default)]
    pub mode: FitMode,
    /// With `inside`: the largest fraction of the sides that it may take.
    #[serde(default = "whole")]
    pub size: f64,
    /// With `inside`: the colour around it, red, green and blue.
    #[serde(default = "white")]
    pub background: [u8; 3],
}

fn whole() -> f64 {
    1.0
}

fn white() -> [u8; 3] {
    [255; 3]
}

impl FitParams {
    /// Covers `width` x `height` pixels.
    pub fn new(width: u32, height: u32) -> Self {
        Self {
            width,
            height,
            mode: FitMode::Cover,
            size: whole(),
            background: white(),
        }
    }
}

impl StageParams for FitParams {
    const STAGE: &'static str = "fit";
}

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
            let size = params.size;
            let message = format!("`size` should be above 0 and up to 1, but it is {size}");
            return Err(setup.refuse("size", message).into());
        }
        Ok(Self { params })
    }
}

impl Stage for Fit {
    fn ports(&self) -> Ports {
        Ports::one("image", Kind::Image, Kind::Image)
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let Some(Artifact::Image(image)) = input.artifacts.first() else {
            return Err(input.context.failed("its input is not an image"));
        };
        let params = &self.params;
        let [width, height] = [params.width, params.height];
        let fitted = match params.mode {
            FitMode::Cover => crop_to_cover(image, width, height),
            FitMode::Inside => contain(image, [width, height], params.size, params.background),
        };
        out.send(input, Artifact::Image(Arc::new(fitted)))
    }
}
