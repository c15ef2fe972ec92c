//! Where to compute and in which number type, as users name it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// Where to compute: as text `auto`, `cpu`, `cuda` or `gpu`, or `cuda:1` or `gpu:1` for a card or GPU by its number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The CUDA card of `cuda` if there is one, else the first GPU of `gpu`, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA card of this number; without a number, the first one or, of several processes on a machine, that of the process.
    Cuda(Option<usize>),
    /// The GPU of this number that wgpu reaches; without a number, the first one that is not software.
    Gpu(Option<usize>),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |prefix| text.strip_prefix(prefix)?.parse().ok();
        let cuda = || number("cuda:").map(|number| Self::Cuda(Some(number)));
        let gpu = || number("gpu:").map(|number| Self::Gpu(Some(number)));
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(None)),
            "gpu" => Ok(Self::Gpu(None)),
            _ if text.contains(',') => Err(format!(
                "`{text}` is a list of devices, and one is needed here: only generate, video, edit and run take several"
            )),
            _ => cuda().or_else(gpu).ok_or_else(|| {
                format!(
                    "there is no device `{text}`: use auto, cpu, cuda or gpu, or cuda:N or gpu:N for the one of number N"
                )
            }),
        }
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(None) => f.write_str("cuda"),
            Self::Cuda(Some(number)) => write!(f, "cuda:{number}"),
            Self::Gpu(None) => f.write_str("gpu"),
            Self::Gpu(Some(number)) => write!(f, "gpu:{number}"),
        }
    }
}

impl JsonSchema for DeviceChoice {
    fn schema_name() -> Cow<'static, str> {
        "DeviceChoice".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Where to compute: `auto` for the first CUDA card if there is one, else the first GPU of `gpu`, else the CPU; `cpu`; `cuda` for the first card, or `cuda:1` for one by its number; `gpu` for a GPU through Vulkan, Metal or Direct3D 12, or `gpu:1` for another one.",
            "type": "string",
            "pattern": "^(auto|cpu|(cuda|gpu)(:[0-9]+)?)$"
        })
    }
}

/// Number type of the weights and activations.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    serde::Deserialize,
    serde::Serialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// bf16 on a CUDA card, f32 elsewhere
    #[default]
    Auto,
    /// 32 bits
    F32,
    /// 16 bits
    F16,
    /// 16 bits with the range of f32
    Bf16,
    /// 8 bits and a factor a channel for the matrices of transformers, bf16 for the rest
    Int8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_as_everywhere() {
        for (text, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda", DeviceChoice::Cuda(None)),
            ("cuda:0", DeviceChoice::Cuda(Some(0))),
            ("cuda:3", DeviceChoice::Cuda(Some(3))),
            ("gpu", DeviceChoice::Gpu(None)),
            ("gpu:0", DeviceChoice::Gpu(Some(0))),
            ("gpu:1", DeviceChoice::Gpu(Some(1))),
        ] {
            assert_eq!(text.parse(), Ok(choice));
            assert_eq!(choice.to_string(), text);
        }
        let error = "cuda:0,cuda:1".parse::<DeviceChoice>().unwrap_err();
        assert!(error.contains("is a list of devices"), "{error}");
        for text in [
            "", "cuda:", "cuda:-1", "cuda:x", "CUDA", "gpu:", "gpu:x", "vulkan",
        ] {
            let error = text.parse::<DeviceChoice>().unwrap_err();
            assert!(error.contains("auto, cpu, cuda or gpu"), "{error}");
        }
    }
}
