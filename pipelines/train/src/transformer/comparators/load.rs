//! Trained comparators, for those who compare them.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use nextscale_comparators::dit::{Dit, Process};
use nextscale_comparators::raster::Raster;
use nextscale_tokenizer::{Codes, ScaleSchedule, VqVae};

use super::config::{DitRun, RasterRun};
use super::dit::Spread;
use crate::config;
use crate::error::Result;
use crate::run_folder::{self, CONFIG};
use crate::tokenizer::import::import_tokenizer;
use crate::tokenizer::vq::VqRun;

/// What the runs of comparators have in common.
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

/// A raster transformer.
pub type TrainedRaster = Trained<Raster>;

/// A diffusion transformer.
#[derive(Debug)]
pub struct TrainedDit {
    /// The model and its auto-encoder.
    pub trained: Trained<Dit>,
    /// How latents became noise.
    pub process: Process,
    spread: Spread,
}

impl TrainedDit {
    /// Images `[b, 3, h, w]` in [-1, 1] of latents as the model makes them, `[b, c, s, s]`.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        self.trained.vae.decode(self.spread.original(latents))
    }
}

impl TrainedRaster {
    /// Images `[b, 3, h, w]` in [-1, 1] of codes, `[b, n]`.
    pub fn decode(&self, codes: Tensor<2, burn::tensor::Int>) -> Tensor<4> {
        let ([b, _], grid) = (codes.dims(), self.schedule.last());
        let codes = Codes::Indices(codes.reshape([b, 1, grid.h, grid.w]));
        self.vae.decode_codes(&[codes], &self.schedule)
    }
}

/// The scales of a tokenizer's run.
///
/// # Errors
/// A folder that is no run of a tokenizer with a codebook.
pub fn scales_of_tokenizer(run: &Path) -> Result<ScaleSchedule> {
    config::read::<VqRun>(&run.join(CONFIG))?.schedule()
}

/// The raster transformer of a run.
///
/// # Errors
/// A folder without a checkpoint, or of another kind of run.
pub fn trained_raster(run: &Path, device: &Device) -> Result<TrainedRaster> {
    let config: RasterRun = config::read(&run.join(CONFIG))?;
    let (vae, tokenizer) = import_tokenizer::<VqRun>(run, &config.tokenizer, device)?;
    let (schedule, classes) = (tokenizer.schedule()?, run_folder::classes(run)?);
    let shapes = config.config(&tokenizer.model, &schedule, classes.len())?;
    let model = run_folder::checkpoint(run)?.average(shapes.init(device))?;
    Ok(Trained {
        model,
        vae,
        schedule,
        classes,
    })
}

/// The diffusion transformer of a run.
///
/// # Errors
/// As [`trained_raster`].
pub fn trained_dit(run: &Path, device: &Device) -> Result<TrainedDit> {
    let config: DitRun = config::read(&run.join(CONFIG))?;
    let (vae, tokenizer) = import_tokenizer::<VqRun>(run, &config.tokenizer, device)?;
    let (schedule, classes) = (tokenizer.schedule()?, run_folder::classes(run)?);
    let shapes = config.config(&tokenizer.model, &schedule, classes.len())?;
    let model = run_folder::checkpoint(run)?.average(shapes.init(device))?;
    Ok(TrainedDit {
        trained: Trained {
            model,
            vae,
            schedule,
            classes,
        },
        process: config.process,
        spread: Spread::read(run)?,
    })
}
