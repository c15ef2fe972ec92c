//! Trained models of classes, for those who compare them.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use nextscale_tokenizer::{ScaleSchedule, VqVae, VqVaeConfig};

use crate::config;
use crate::error::Result;
use crate::run_folder::{self, CONFIG};
use crate::tokenizer::import::import_tokenizer;
use crate::tokenizer::vq::VqRun;

/// What the runs of models of classes have in common.
#[derive(Debug)]
pub struct Trained<M> {
    /// The averaged weights of the newest checkpoint.
    pub model: M,
    /// The auto-encoder of the latents.
    pub vae: VqVae,
    /// Its scales.
    pub schedule: ScaleSchedule,
    /// The names of the classes.
    pub classes: Vec<String>,
}

/// What decides the shapes of a run's model.
pub(super) struct Parts {
    /// Shapes of the auto-encoder.
    pub shapes: VqVaeConfig,
    /// Its scales.
    pub schedule: ScaleSchedule,
    /// The names of the classes.
    pub classes: Vec<String>,
    vae: VqVae,
}

impl Parts {
    /// Those of the run `folder`, whose configuration names `tokenizer`.
    pub fn read(folder: &Path, tokenizer: &Path, device: &Device) -> Result<Self> {
        let (vae, run) = import_tokenizer::<VqRun>(folder, tokenizer, device)?;
        Ok(Self {
            schedule: run.schedule()?,
            shapes: run.model,
            classes: run_folder::classes(folder)?,
            vae,
        })
    }

    /// With the weights of the run in `model`.
    pub fn load<M: Module>(self, folder: &Path, model: M) -> Result<Trained<M>> {
        Ok(Trained {
            model: run_folder::checkpoint(folder)?.average(model)?,
            vae: self.vae,
            schedule: self.schedule,
            classes: self.classes,
        })
    }
}

impl<M> Trained<M> {
    /// Images `[b, 3, h, w]` in [-1, 1] as the auto-encoder makes them of these.
    pub fn reconstruct(&self, images: Tensor<4>) -> Tensor<4> {
        let codes = self.vae.encode_codes(images, &self.schedule).codes;
        self.vae.decode_codes(&codes, &self.schedule)
    }
}

/// The scales of a tokenizer's run.
///
/// # Errors
/// A folder that is no run of a tokenizer with a codebook.
pub fn scales_of_tokenizer(run: &Path) -> Result<ScaleSchedule> {
    config::read::<VqRun>(&run.join(CONFIG))?.schedule()
}
