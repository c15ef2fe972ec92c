//! What the measurements share: options, progress and the form of a result.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use burn::tensor::Device;
use nextscale_data::Dataset;
use nextscale_models::device::{self, DeviceChoice};

/// Options of every measurement on a data set.
#[derive(Debug, Clone)]
pub struct Common {
    /// Folder of the data set, as `nextscale data build` writes it.
    pub data: PathBuf,
    /// Seed of every random choice.
    pub seed: u64,
    /// Images per batch, at least 1.
    pub batch: usize,
    /// Where to compute.
    pub device: DeviceChoice,
}

/// Called with the number of finished items and the number of all items.
pub type OnProgress = Arc<dyn Fn(usize, usize) + Send + Sync>;

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

impl Common {
    pub(crate) fn open(&self) -> anyhow::Result<(Dataset, Device)> {
        let set = Dataset::load(&self.data)
            .context("the data set cannot be used (`nextscale data build` makes one)")?;
        anyhow::ensure!(!set.is_empty(), "{} holds no picture", self.data.display());
        Ok((set, device::open(self.device)?))
    }
}
