//! `keep-original`: puts the original pixels of an edit back.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inpaint::{EditParams, InpaintImage};
use crate::artifact::{Artifact, Kind};
use crate::error::PipelineError;
use crate::setup::Setup;
use crate::stage::{Input, Output, Ports, Stage};
use crate::stage_params::StageParams;

/// Puts the original pixels back where an edit keeps them: the auto-encoder changes them a little.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeepOriginalParams {
    /// The same as that of the stage that generates the image.
    pub edit: EditParams,
    /// Width in pixels of the border inside the new part in which old and new are blended.
    #[serde(default = "feather")]
    pub feather: f32,
}

fn feather() -> f32 {
    2.0
}

impl KeepOriginalParams {
    /// For an edit, with a border of 2 pixels.
    pub fn new(edit: EditParams) -> Self {
        let feather = feather();
        Self { edit, feather }
    }
}

impl StageParams for KeepOriginalParams {
    const STAGE: &'static str = "keep-original";
}

pub(crate) struct KeepOriginal {
    params: KeepOriginalParams,
    /// Loaded when the first image arrives, since its size is then known, for all images of that size.
    inpaint: Option<InpaintImage>,
}

impl KeepOriginal {
    pub(crate) fn new(params: KeepOriginalParams, setup: &Setup) -> Result<Self, PipelineError> {
        let feather = params.feather;
        if !(0.0..=1000.0).contains(&feather) {
            let message = format!("`feather` should be from 0 to 1000, but it is {feather}");
            return Err(setup.refuse("feather", message).into());
        }
        // Only the size of the result is not known yet; every other mistake shows at any size.
        params.edit.load(64, 64, setup)?;
        let inpaint = None;
        Ok(Self { params, inpaint })
    }
}

impl Stage for KeepOriginal {
    fn ports(&self) -> Ports {
        Ports::one("image", Kind::Image, Kind::Image)
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let Some(Artifact::Image(generated)) = input.artifacts.first() else {
            return Err(input.context.failed("its input is not an image"));
        };
        let (w, h) = generated.dimensions();
        let loaded = self.inpaint.take();
        let inpaint = match loaded.filter(|inpaint| inpaint.image.dimensions() == (w, h)) {
            Some(inpaint) => inpaint,
            None => self.params.edit.load_sized(w, h, &input.context)?,
        };
        let inpaint = self.inpaint.insert(inpaint);
        let restored = inpaint.restore(generated, self.params.feather);
        out.send(input, Artifact::Image(Arc::new(restored)))
    }
}
