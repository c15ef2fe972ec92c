//! The settings of a pipeline.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_with::skip_serializing_none;

use nextscale_models::device::{Devices, Dtype};
use nextscale_models::search::Choice;

use crate::file_path::FilePath;
use crate::lora::LoraFile;
use crate::share::Share;
use crate::together::Together;

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
    pub models_dir: Option<FilePath>,
    /// The tokenizer (auto-encoder) that goes with a checkpoint: a file, instead of the one of the released models.
    pub tokenizer: Option<FilePath>,
    /// The text encoder that goes with a checkpoint: a folder in Hugging Face's layout.
    pub text_encoder: Option<FilePath>,
    /// Which weights of a training checkpoint are taken, if it holds several.
    #[serde(default, skip_serializing_if = "is_model")]
    pub weights: WeightsChoice,
    /// Low-rank adapters (LoRA) that are added to the model's transformer, one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lora: Vec<LoraFile>,
    /// Where to compute: a device, or several that share the samples of the run.
    #[serde(default)]
    pub device: Devices,
    /// Number type of the weights.
    #[serde(default)]
    pub dtype: Dtype,
    /// Fix which kernels a card takes, so that one seed gives the same bytes on every card of one kind with the same driver.
    /// Slower, and other bytes than without it. Nothing changes on the CPU.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deterministic: bool,
    /// Seed of the first sample, from 0 to 2^64-1; each further one adds 1. Random if absent or -1.
    #[serde(default, deserialize_with = "seed")]
    #[schemars(schema_with = "seed_schema")]
    pub seed: Option<u64>,
    /// A file, a name with `{index}`, `{seed}` or `{prompt}`, a folder, or `-` for standard output.
    pub output: Option<String>,
    /// A folder for the image after each scale.
    pub preview: Option<FilePath>,
    /// Whether files carry their parameters.
    #[serde(default = "yes")]
    pub metadata: bool,
    /// Whether files that are there already are replaced.
    #[serde(default = "yes", skip_serializing)]
    pub overwrite: bool,
    /// Keep the text encoder in memory next to the transformer while there are more prompts. By default an encoder of a
    /// gibibyte or more encodes all prompts first and is dropped before the transformer is loaded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_loaded: bool,
    /// Which of the samples this process generates; all by default. No key of the file: a program sets it before the pipeline is checked.
    #[serde(skip)]
    pub share: Share,
    /// The processes that generate each image together; none by default. No key of the file, either.
    #[serde(skip)]
    pub together: Together,
    /// A known key that is read separately: the settings are read from a tree in which it is null.
    #[serde(skip_serializing)]
    #[schemars(skip)]
    stages: (),
}

fn default_model() -> String {
    "default".into()
}

/// Which weights of a training checkpoint are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WeightsChoice {
    /// The model as it was trained last
    #[default]
    Model,
    /// Its exponential moving average
    Ema,
}

impl From<WeightsChoice> for Choice {
    fn from(choice: WeightsChoice) -> Self {
        match choice {
            WeightsChoice::Model => Self::Model,
            WeightsChoice::Ema => Self::Ema,
        }
    }
}

fn is_model(choice: &WeightsChoice) -> bool {
    *choice == WeightsChoice::Model
}

/// A random seed below 2^53, so that web pages and JSON keep it exactly.
pub fn random_seed() -> u64 {
    rand::random::<u64>() >> 11
}

/// -1 means random, as in other programs.
fn seed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    struct Seed;
    impl Visitor<'_> for Seed {
        type Value = Option<u64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an integer from 0 to 18446744073709551615, or -1 for a random seed")
        }

        fn visit_u64<E>(self, seed: u64) -> Result<Option<u64>, E> {
            Ok(Some(seed))
        }

        fn visit_i64<E: serde::de::Error>(self, seed: i64) -> Result<Option<u64>, E> {
            match seed {
                -1 => Ok(None),
                seed => u64::try_from(seed)
                    .map(Some)
                    .map_err(|_| E::invalid_value(Unexpected::Signed(seed), &self)),
            }
        }

        fn visit_unit<E>(self) -> Result<Option<u64>, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(Seed)
}

fn seed_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["integer", "null"], "minimum": -1, "maximum": u64::MAX })
}

fn yes() -> bool {
    true
}
