//! A VAR run as a model folder.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use nextscale_models::manifest::{Checksums, Manifest, VarManifest};
use nextscale_models::{Model, TRANSFORMER, VAE};
use nextscale_var_core::train::Checkpoint;
use nextscale_var_core::var::save_var;
use nextscale_weights::WeightDtype;

use crate::config;
use crate::error::{Result, TrainError};
use crate::run_folder::{self, CONFIG};
use crate::tokenizer::import::import_tokenizer;
use crate::tokenizer::vq::VqRun;
use crate::transformer::var::config::VarRun;

/// Writes a checkpoint of the run `from` as the model folder `out`.
pub(crate) fn export(from: &Path, checkpoint: &Checkpoint, out: &Path) -> Result<()> {
    let run: VarRun = config::read(&from.join(CONFIG))?;
    let device = Device::flex();
    let (vae, tokenizer) = import_tokenizer::<VqRun>(from, &run.tokenizer, &device)?;
    let classes = run_folder::classes(from)?;
    let schedule = tokenizer.schedule()?;
    let transformer = run.model_config(&tokenizer.model, &schedule, classes.len());
    let model = checkpoint.average(transformer.init(&device))?;

    fs::create_dir_all(out).map_err(TrainError::io("create", out))?;
    let file = out.join(TRANSFORMER);
    save_var(&transformer, &model, &file, WeightDtype::F16)?;
    vae.save(out.join(VAE), WeightDtype::F16)?;
    let manifest = VarManifest {
        name: run.name,
        about: run.about,
        transformer,
        vae: tokenizer.model,
        sampling: run.sampling,
        classes,
        fingerprints: Checksums::new(),
    };
    Model::seal(out, Manifest::Var(manifest))?;
    Ok(())
}
