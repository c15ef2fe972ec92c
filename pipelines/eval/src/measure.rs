//! What the measurements share: options, progress, and the form of a result.

use std::path::PathBuf;

use nextscale_models::device::{self, DeviceChoice, Dtype};
use nextscale_models::{ModelError, Placement};

use crate::error::EvalError;

/// Options of every measurement on a data set.
#[derive(Debug, Clone)]
pub struct MeasureOptions {
    /// Folder of the data set, as `nextscale data build` writes it.
    pub data: PathBuf,
    /// Seed of every random choice.
    pub seed: u64,
    /// Images per batch, at least 1.
    pub batch: usize,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Fix which kernels a card takes.
    pub deterministic: bool,
}

impl MeasureOptions {
    /// Where a model is loaded with weights of a type.
    pub(crate) fn open(&self, dtype: Dtype) -> Result<Placement, ModelError> {
        open(self.device, dtype, self.deterministic)
    }
}

/// Where a model is loaded with weights of a type, on a card that takes fixed kernels if it should.
pub(crate) fn open(
    device: DeviceChoice,
    dtype: Dtype,
    deterministic: bool,
) -> Result<Placement, ModelError> {
    if deterministic {
        device::use_deterministic_kernels()?;
    }
    Placement::open(device, dtype)
}

/// Refuses a negative temperature.
pub(crate) fn check_temperature(temperature: Option<f64>) -> Result<(), EvalError> {
    match temperature {
        Some(t) if t < 0.0 || t.is_nan() => Err(EvalError::Temperature(t)),
        _ => Ok(()),
    }
}

/// Called with the number of finished items and the number of all items.
pub type OnProgress<'a> = &'a dyn Fn(usize, usize);

/// The result of a measurement.
#[derive(Debug)]
pub struct Measured<R> {
    /// The figures.
    pub report: R,
    /// Tiles of a contact sheet: RGB images of `side` * `side` * 3 bytes.
    pub tiles: Vec<Vec<u8>>,
    /// Side of a tile in pixels.
    pub side: usize,
}

impl<R> Measured<R> {
    /// Figures without a contact sheet.
    pub(crate) fn plain(report: R) -> Self {
        Self {
            report,
            tiles: vec![],
            side: 0,
        }
    }

    /// The same with another form of the figures.
    pub(crate) fn map<S>(self, form: impl FnOnce(R) -> S) -> Measured<S> {
        Measured {
            report: form(self.report),
            tiles: self.tiles,
            side: self.side,
        }
    }
}
