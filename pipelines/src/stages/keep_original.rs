//! `keep-original`: the picture of an edit put back where it stays.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inpaint::{Canvas, EditParams};
use crate::artifact::{Artifact, ArtifactType, Kind};
use crate::error::PipelineError;
use crate::setup::Setup;
use crate::stage::{Emit, Job, Ports, Stage};

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
    canvas: Option<Canvas>,
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
        params.edit.canvas(64, 64, setup)?;
        let canvas = None;
        Ok(Self { params, canvas })
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

    fn run(&mut self, job: &Job, out: &mut Emit) -> Result<(), PipelineError> {
        let Some(Artifact::Image(painted)) = job.inputs.first() else {
            return Err(job.context.failed("its input is no image"));
        };
        let (w, h) = painted.dimensions();
        let ready = self
            .canvas
            .take()
            .filter(|canvas| canvas.picture.dimensions() == (w, h));
        let canvas = match ready {
            Some(canvas) => canvas,
            None => self.params.edit.sized(w, h, &job.context)?,
        };
        let canvas = self.canvas.insert(canvas);
        let restored = canvas.restore(painted, self.params.feather);
        out.send(job, Artifact::Image(Arc::new(restored)))
    }
}
