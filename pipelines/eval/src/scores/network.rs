//! The networks of the metrics, from the files that the user names.

use std::path::PathBuf;

use burn::tensor::Device;
use nextscale_metrics::features::Features;
use nextscale_metrics::inception::{self, Inception, Preparation};
use nextscale_models::device::{DeviceChoice, Dtype};
use nextscale_train::trained_classifier;

use crate::error::EvalError;
use crate::measure::open;

/// Which network describes the images, and where.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// File of Inception-v3.
    pub weights: Option<PathBuf>,
    /// Run of a classifier that takes the place of Inception-v3.
    pub classifier: Option<PathBuf>,
    /// Which package's way to resize images is followed.
    pub preparation: Preparation,
    /// Images per batch, at least 1.
    pub batch: usize,
    /// Where to compute.
    pub device: DeviceChoice,
}

impl NetworkOptions {
    /// The device of the network.
    pub(crate) fn device(&self) -> Result<Device, EvalError> {
        Ok(open(self.device, Dtype::F32, false)?.device)
    }

    /// Reads the weights.
    pub(crate) fn open(&self) -> Result<Box<dyn Features>, EvalError> {
        let device = self.device()?;
        if let Some(run) = &self.classifier {
            return Ok(Box::new(trained_classifier(run, &device)?));
        }
        let weights = self.weights.as_ref().ok_or(EvalError::NoWeights {
            option: "--weights",
            hint: inception::WEIGHTS,
        })?;
        let inception = Inception::open(weights, self.preparation, &device)?;
        Ok(Box::new(inception))
    }
}

/// What a figure is labelled with if no network was needed.
pub(crate) const FROM_FILES: &str = "statistics from files";

/// The label of a network, if there is one.
pub(crate) fn label(network: Option<&dyn Features>) -> String {
    network.map_or(FROM_FILES.to_owned(), Features::label)
}
