//! Adapters in a pipeline.

use std::borrow::Cow;

use nextscale_models::LoraChoice;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::file_path::FilePath;

/// A low-rank adapter (LoRA) that is added to the model's transformer. In YAML it is `FILE`, `FILE:WEIGHT`, or
/// `{ file: FILE, weight: 0.8 }`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LoraFile {
    /// The adapter: a file, or a folder of PEFT.
    pub file: FilePath,
    /// The factor on it; 1 adds it as it was trained.
    pub weight: f64,
}

impl From<LoraChoice> for LoraFile {
    fn from(choice: LoraChoice) -> Self {
        Self {
            file: choice.path.into(),
            weight: choice.weight,
        }
    }
}

impl From<&LoraFile> for LoraChoice {
    fn from(lora: &LoraFile) -> Self {
        Self {
            path: lora.file.to_path_buf(),
            weight: lora.weight,
        }
    }
}

impl<'de> Deserialize<'de> for LoraFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            file: FilePath,
            #[serde(default = "one")]
            weight: f64,
        }
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "an adapter should be FILE, FILE:WEIGHT or { file: FILE, weight: 0.8 }"
        )]
        enum Either {
            Text(String),
            Map(Written),
        }
        match Either::deserialize(deserializer)? {
            Either::Map(Written { file, weight }) => Ok(Self { file, weight }),
            Either::Text(text) => {
                let choice: Result<LoraChoice, String> = text.parse();
                choice.map(Self::from).map_err(serde::de::Error::custom)
            }
        }
    }
}

fn one() -> f64 {
    1.0
}

impl JsonSchema for LoraFile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "LoraFile".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An adapter: FILE, FILE:WEIGHT, or a mapping of both.",
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": {
                        "file": { "type": "string", "description": "The adapter: a file, or a folder of PEFT." },
                        "weight": { "type": "number", "description": "The factor on it; 1 by default." }
                    },
                    "required": ["file"],
                    "additionalProperties": false
                }
            ]
        })
    }
}
