//! `keep-original`: the picture of an edit put back where it stays.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inpaint::{EditParams, InpaintImage};
use crate::artifact::{Artifact, ArtifactType, Kind};
use crate::error::PipelineError;
use crate::setup::Setup;
use crate::stage::{Input, Output, Ports, Stage};

/// Puts the original pixels back where an edit keeps them: an auto-encoder changes them a little.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeepOriginalParams {
    /// The same as that of the stage that paints.
    edit: EditParams,
    /// Pixels of the new part over which it goes over into the old one.
    #[serde(default = "feather")]
    feather: f32,
}

fn feather() -> f32 {
    2.0
}

/// The stage.
pub(crate) struct KeepOriginal {
    params: KeepOriginalParams,
    /// Made when the first picture tells the size, for all pictures of that size.
    inpaint: Option<InpaintImage>,
}

impl KeepOriginal {
    pub(crate) fn new(params: KeepOriginalParams, setup: &Setup) -> Result<Self, PipelineError> {
        if !(0.0..=1000.0).contains(&params.feather) {
            let message = format!(
                "`feather` should be from 0 to 1000, but it is {}",
                params.feather
            );
            return Err(setup.refuse("feather", message).into());
        }
        // Only the size of the result is not known yet; whatever else is wrong shows at any size.
        params.edit.load(64, 64, setup)?;
        let inpaint = None;
        Ok(Self { params, inpaint })
    }
}

impl Stage for KeepOriginal {
    fn ports(&self) -> Ports {
        let inputs = vec![("image", ArtifactType::new(Kind::Image))];
        let output = Some(ArtifactType::new(Kind::Image));
        Ports { inputs, output }
    }

    fn resolved(&self) -> serde_json::Value {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let Some(Artifact::Image(painted)) = input.artifacts.first() else {
            return Err(input.context.failed("its input is no image"));
        };
        let (w, h) = painted.dimensions();
        let ready = self
            .inpaint
            .take()
            .filter(|inpaint| inpaint.image.dimensions() == (w, h));
        let inpaint = match ready {
            Some(inpaint) => inpaint,
            None => self.params.edit.sized(w, h, &input.context)?,
        };
        let inpaint = self.inpaint.insert(inpaint);
        let restored = inpaint.restore(painted, self.params.feather);
        out.send(input, Artifact::Image(Arc::new(restored)))
    }
}
