//! Images that are generated during training, by the path that `generate` takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nextscale_data::{RgbImage, contact_sheet};
use nextscale_models::generator::Generated;
use nextscale_models::{Architecture, Generator, LoraChoice, Model, Placement, Request};
use nextscale_weights::LoraStyle;

use super::config::{FineTuneConfig, Samples};
use super::export::adapters;
use super::family::Family;
use super::tuned::{TunedModel, Tuning};
use crate::error::{Result, TrainError};

/// Side of a tile of the sheet in pixels, at most.
const TILE: u32 = 256;

/// What generates sheets.
pub(super) struct Sampler {
    pub config: FineTuneConfig,
    pub samples: Samples,
    pub placement: Placement,
    /// A folder for the weights of the moment.
    pub folder: PathBuf,
    pub seed: u64,
}

impl Sampler {
    pub(super) fn every_steps(&self) -> u64 {
        self.samples.every_steps
    }

    /// The model with the weights of the moment.
    pub(super) fn model<F: Family>(
        &self,
        weights: &Tuning<F::Transformer>,
        average: &TunedModel<F::Transformer>,
    ) -> Result<Model> {
        std::fs::create_dir_all(&self.folder).map_err(TrainError::io("create", &self.folder))?;
        let path = self.folder.join("weights.safetensors");
        match (weights, average) {
            (Tuning::Adapted(view), TunedModel::Adapters(trained)) => {
                let blocks = F::blocks_of(&self.config.open()?)?;
                let export = adapters(&self.config, blocks, view.chosen(), trained);
                let bytes = export.to_bytes(LoraStyle::Kohya, &path)?;
                std::fs::write(&path, bytes).map_err(TrainError::io("write", &path))?;
                self.config.open_with(&[LoraChoice { path, weight: 1.0 }])
            }
            (_, TunedModel::Whole(trained)) => {
                let model = self.config.open()?;
                F::save(&model, trained, &path)?;
                Ok(model.with_transformer(&path)?)
            }
            _ => unreachable!("adapters of a model that is trained as a whole"),
        }
    }

    /// Writes a sheet of all prompts, a row for each if there are several images of it.
    pub(super) fn sheet(&self, model: Model, out: &Path) -> Result<()> {
        let model = Arc::new(model);
        let generator = Generator::load(&model, &self.placement)?;
        let mut images: Vec<RgbImage> = Vec::new();
        for prompt in &self.samples.prompts {
            for i in 0..self.samples.count {
                let request = match model.architecture() {
                    Architecture::Var => Request::class(prompt),
                    _ => Request::prompt(prompt),
                };
                let request = request.seed(self.seed + i as u64);
                images.extend(match generator.generate(&request)? {
                    Generated::Image(image) => Some(image),
                    Generated::Video(clip) => clip.frames.into_iter().next(),
                });
            }
        }
        let largest = images
            .iter()
            .map(|image| image.width().max(image.height()))
            .max();
        let tile = largest.unwrap_or(TILE).min(TILE);
        let columns = match self.samples.count {
            1 => 8,
            several => several,
        };
        Ok(contact_sheet::save_fitted(
            &images,
            tile as usize,
            columns,
            out,
        )?)
    }
}
