//! A trained classifier in the place of Inception.

use std::path::Path;

use burn::tensor::Device;
use nextscale_curves::Log;
use nextscale_metrics::classifier::ClassifierFeatures;

use super::config::ClassifierRun;
use crate::config;
use crate::error::Result;
use crate::run;
use crate::run_folder::{self, CONFIG};

/// The features of a classifier's run, with its averaged weights. Its label names its data and how often it is right.
///
/// # Errors
/// A folder without a checkpoint, or of another kind of run; data that are gone.
pub fn trained_classifier(folder: &Path, device: &Device) -> Result<ClassifierFeatures> {
    let config: ClassifierRun = config::read(&folder.join(CONFIG))?;
    let classes = run_folder::classes(folder)?.len();
    let model = run_folder::checkpoint(folder)?.average(config.model.init(classes, device))?;
    let data = &config.data;
    let size = run::load(data)?.size();
    let right = Log::read(folder)?.series("held_out_right");
    let right = right.last().map_or(f64::NAN, |&(_, right)| 100.0 * right);
    let label = format!(
        "classifier of {classes} classes trained on `{}` ({right:.1} % of held-out images right, {} features)",
        data.display(),
        config.model.features()
    );
    Ok(ClassifierFeatures::new(model, size, label, device))
}
