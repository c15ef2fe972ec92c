//! A trained VAR.

use std::path::Path;

use burn::tensor::Device;
use nextscale_var_core::var::{Var, VarConfig};

use crate::config;
use crate::error::Result;
use crate::run_folder::CONFIG;
use crate::transformer::trained::{Parts, Trained};
use crate::transformer::var::config::VarRun;

/// VAR and its shapes.
#[derive(Debug)]
pub struct TrainedVar {
    /// The model and its auto-encoder.
    pub trained: Trained<Var>,
    /// The shapes of the model.
    pub config: VarConfig,
}

/// The VAR of a run.
///
/// # Errors
/// A folder without a checkpoint, or of another kind of run.
pub fn trained_var(folder: &Path, device: &Device) -> Result<TrainedVar> {
    let run: VarRun = config::read(&folder.join(CONFIG))?;
    let parts = Parts::read(folder, &run.tokenizer, device)?;
    let config = run.model_config(&parts.shapes, &parts.schedule, parts.classes.len());
    let trained = parts.load(folder, config.init(device))?;
    Ok(TrainedVar { trained, config })
}
