//! The settings of a pipeline.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use nextscale_models::device::{DeviceChoice, Dtype};

/// The settings of a pipeline: every key except `stages`.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[allow(clippy::manual_non_exhaustive)] // `stages` is a key of the file
pub struct Settings {
    /// The model: `default` for the one inside the program, a released one such as `infinity-2b` or `var-d16`, a model
    /// folder, or a checkpoint.
    #[serde(default = "default_model")]
    pub model: String,
    /// A folder in which files of released models are looked for first.
    pub models_dir: Option<PathBuf>,
    /// Where to compute.
    #[serde(default)]
    pub device: DeviceChoice,
    /// Number type of the weights.
    #[serde(default)]
    pub dtype: Dtype,
    /// Seed of the first sample; each further one adds 1. Random if absent.
    pub seed: Option<u64>,
    /// A file, a name with `{index}`, `{seed}` or `{prompt}`, a folder, or `-` for standard output.
    pub output: Option<String>,
    /// A folder for the image after each scale.
    pub preview: Option<String>,
    /// Whether files carry their parameters.
    #[serde(default = "yes")]
    pub metadata: bool,
    /// Keep the text encoder in memory next to the transformer while there are more prompts. By default an encoder of a
    /// gibibyte or more encodes all prompts first and is dropped before the transformer is loaded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_loaded: bool,
    /// A known key that is read separately: the settings are read from a tree in which it is null.
    #[serde(skip_serializing)]
    #[schemars(skip)]
    stages: (),
}

fn default_model() -> String {
    "default".into()
}

fn yes() -> bool {
    true
}
