//! The configuration of a classifier's run.

use std::path::PathBuf;

use nextscale_data::Augment;
use nextscale_metrics::classifier::ClassifierConfig;
use nextscale_var_core::train::TrainOptions;
use serde::{Deserialize, Serialize};

/// Configuration of a classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClassifierRun {
    /// Folder of the data set, which must have classes.
    pub data: PathBuf,
    /// Seed of the initial weights and of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Images per batch.
    pub batch: usize,
    /// How images are augmented.
    #[serde(default)]
    pub augment: Augment,
    /// Sizes of the network.
    #[serde(default)]
    pub model: ClassifierConfig,
    /// Budget, learning rate and so on.
    pub train: TrainOptions,
}
