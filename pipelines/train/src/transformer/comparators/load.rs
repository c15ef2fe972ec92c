//! Trained comparators, for those who compare them.

use std::path::Path;

use burn::tensor::{Device, Int, Tensor};
use nextscale_comparators::dit::{Dit, Process};
use nextscale_comparators::raster::Raster;
use nextscale_tokenizer::Codes;

use super::config::{DitRun, RasterRun};
use super::dit::Spread;
use crate::config;
use crate::error::Result;
use crate::run_folder::CONFIG;
use crate::transformer::trained::{Parts, Trained};

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
    pub fn decode(&self, codes: Tensor<2, Int>) -> Tensor<4> {
        let ([b, _], grid) = (codes.dims(), self.schedule.last());
        let codes = Codes::Indices(codes.reshape([b, 1, grid.h, grid.w]));
        self.vae.decode_codes(&[codes], &self.schedule)
    }
}

/// The raster transformer of a run.
///
/// # Errors
/// A folder without a checkpoint, or of another kind of run.
pub fn trained_raster(folder: &Path, device: &Device) -> Result<TrainedRaster> {
    let run: RasterRun = config::read(&folder.join(CONFIG))?;
    let parts = Parts::read(folder, &run.tokenizer, device)?;
    let config = run.config(&parts.shapes, &parts.schedule, parts.classes.len())?;
    parts.load(folder, config.init(device))
}

/// The diffusion transformer of a run.
///
/// # Errors
/// As [`trained_raster`].
pub fn trained_dit(folder: &Path, device: &Device) -> Result<TrainedDit> {
    let run: DitRun = config::read(&folder.join(CONFIG))?;
    let parts = Parts::read(folder, &run.tokenizer, device)?;
    let config = run.config(&parts.shapes, &parts.schedule, parts.classes.len())?;
    Ok(TrainedDit {
        trained: parts.load(folder, config.init(device))?,
        process: run.process,
        spread: Spread::read(folder)?,
    })
}
