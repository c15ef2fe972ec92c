//! What VAR is compared with: `kind: raster` and `kind: dit`, on the tokenizers and the data of VAR.

mod config;
mod dit;
mod load;
mod raster;

pub(crate) use self::config::{DitRun, RasterRun};
pub use self::load::{TrainedDit, TrainedRaster, trained_dit, trained_raster};
