//! Which device there is, asked before the tensor library touches it.

pub mod cuda;
#[cfg(feature = "cuda")]
mod kernels;
mod libdevice;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{DType, Device, FloatDType};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use nextscale_var_core::blocks::BlockStorage;

use self::cuda::{Cuda, free_memory};
use crate::error::ModelError;
use crate::machine_memory;

pub use self::libdevice::toolkit;

/// Why a card cannot be used although it is there.
pub const NO_LIBDEVICE: &str = "the CUDA toolkit's file nvvm/libdevice/libdevice.10.bc is missing, which kernels are linked with";

/// Where to compute: as text `auto`, `cpu`, `cuda`, or `cuda:1` for a card of another number than 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The first CUDA card if there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA card of this number.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = || text.strip_prefix("cuda:")?.parse().ok();
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => number().map(Self::Cuda).ok_or_else(|| {
                format!("there is no device `{text}`: use auto, cpu, cuda, or cuda:N for a card's number")
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
            Self::Cuda(0) => f.write_str("cuda"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl JsonSchema for DeviceChoice {
    fn schema_name() -> Cow<'static, str> {
        "DeviceChoice".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Where to compute: `auto` for the first CUDA card if there is one, else the CPU; `cpu`; `cuda`; `cuda:1` for a card of another number than 0.",
            "type": "string",
            "pattern": "^(auto|cpu|cuda(:[0-9]+)?)$"
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
    /// f32 on the CPU, bf16 on a card
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

/// The memory in bytes that a device has for this process, where the system or the driver tells: of a card, what was free when
/// it was opened.
pub fn memory(device: &Device) -> Option<u64> {
    if is_cpu(device) {
        return machine_memory::total();
    }
    let opened = lock(&FREE_MEMORY);
    let bytes = opened.iter().find(|(number, _)| *device == card(*number));
    bytes.and_then(|&(_, bytes)| bytes)
}

/// The cards that were opened, with their free memory before anything was loaded.
static FREE_MEMORY: Mutex<Vec<(usize, Option<u64>)>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The device that a choice means here.
///
/// # Errors
/// `cuda` without a card of that number, or without the functions that kernels are linked with.
pub fn open(choice: DeviceChoice) -> Result<Device, ModelError> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::flex()),
        DeviceChoice::Auto => match cuda::find() {
            Cuda::Cards(_) => open_card(0),
            _ => Ok(Device::flex()),
        },
        DeviceChoice::Cuda(number) => match cuda::find() {
            Cuda::Cards(cards) if number < cards.len() => open_card(number),
            Cuda::Cards(cards) => {
                let last = cards.len() - 1;
                Err(ModelError::refused_with(
                    format!("there is no card {number}: the numbers go from 0 to {last}"),
                    "`nextscale devices` lists the cards",
                ))
            }
            missing => Err(ModelError::refused_with(
                format!(
                    "--device {choice} is not possible: {}",
                    missing.missing().unwrap_or_default()
                ),
                "use `--device cpu`, or `auto` to take a card only where there is one",
            )),
        },
    }
}

fn open_card(number: usize) -> Result<Device, ModelError> {
    if toolkit().is_none() {
        return Err(ModelError::refused_with(
            NO_LIBDEVICE,
            "fetch it: tools/setup --cuda; or name a toolkit: CUDA_PATH=/usr/local/cuda; or compute without a card: --device cpu",
        ));
    }
    #[cfg(feature = "cuda")]
    kernels::keep_in(libdevice::cache().map(|cache| cache.join("kernels")));
    let mut opened = lock(&FREE_MEMORY);
    if opened.iter().all(|&(other, _)| other != number) {
        opened.push((number, free_memory(number)));
    }
    Ok(card(number))
}

#[cfg(feature = "cuda")]
fn card(number: usize) -> Device {
    Device::cuda(burn::tensor::DeviceIndex::Specified(number))
}

#[cfg(not(feature = "cuda"))]
fn card(_: usize) -> Device {
    Device::flex()
}

/// The number type that a choice means on a device.
///
/// # Errors
/// f16 on the CPU, which has no products of such numbers.
pub fn dtype(choice: Dtype, device: &Device) -> Result<FloatDType, ModelError> {
    let cpu = is_cpu(device);
    match choice {
        Dtype::Auto if cpu => Ok(FloatDType::F32),
        Dtype::Auto => Ok(FloatDType::BF16),
        Dtype::F32 => Ok(FloatDType::F32),
        Dtype::F16 if cpu => Err(ModelError::refused_with(
            "f16 is not supported on the CPU",
            "use `--dtype bf16` for half the memory, or `--device cuda`",
        )),
        Dtype::F16 => Ok(FloatDType::F16),
        // Everything but the large matrices.
        Dtype::Bf16 | Dtype::Int8 => Ok(FloatDType::BF16),
    }
}

/// Gives memory back that was freed on a card.
pub(crate) fn release(device: &Device) {
    // What is still to be computed there fails where its result is read.
    if !is_cpu(device) && device.sync().is_ok() {
        device.memory_cleanup();
    }
}

/// Whether a device is the CPU.
pub fn is_cpu(device: &Device) -> bool {
    *device == Device::flex()
}

/// Where a model is loaded, in which number type, and how its transformer stores its blocks.
#[derive(Debug, Clone)]
pub struct Placement {
    /// Where tensors live.
    pub device: Device,
    /// Number type of the weights.
    pub dtype: FloatDType,
    /// How the transformer's blocks are stored.
    pub blocks: BlockStorage,
}

impl Placement {
    /// f32 on the CPU.
    pub fn cpu() -> Self {
        Self {
            device: Device::flex(),
            dtype: FloatDType::F32,
            blocks: BlockStorage::Loaded,
        }
    }

    /// What two choices of the user mean on this machine.
    ///
    /// # Errors
    /// A device that is not there, and a number type that it lacks.
    pub fn open(device: DeviceChoice, dtype: Dtype) -> Result<Self, ModelError> {
        let device = open(device)?;
        Ok(Self {
            dtype: self::dtype(dtype, &device)?,
            blocks: blocks(dtype),
            device,
        })
    }

    /// Bytes of a number in matrix products and the cache: a CPU calculates in f32 whatever the weights are stored in.
    pub(crate) fn working_bytes(&self) -> u64 {
        if is_cpu(&self.device) {
            4
        } else {
            DType::from(self.dtype).size() as u64
        }
    }
}

/// How transformers store their blocks under a choice of number type, if they are loaded.
pub fn blocks(choice: Dtype) -> BlockStorage {
    match choice {
        Dtype::Int8 => BlockStorage::Int8,
        _ => BlockStorage::Loaded,
    }
}

/// The CPU's vector units that matter for speed, in words.
pub fn cpu_features() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let has512 = std::arch::is_x86_feature_detected!("avx512f");
        let has2 = std::arch::is_x86_feature_detected!("avx2");
        let bf16 = std::arch::is_x86_feature_detected!("avx512bf16");
        let vector = match (has512, has2) {
            (true, _) => "AVX-512",
            (_, true) => "AVX2, no AVX-512",
            _ => "SSE2 only: expect it to be slow",
        };
        return if bf16 {
            format!("{vector} with BF16")
        } else {
            vector.to_owned()
        };
    }
    #[allow(unreachable_code)]
    std::env::consts::ARCH.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_as_everywhere() {
        for (text, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda", DeviceChoice::Cuda(0)),
            ("cuda:3", DeviceChoice::Cuda(3)),
        ] {
            assert_eq!(text.parse(), Ok(choice));
            assert_eq!(choice.to_string(), text);
        }
        assert_eq!("cuda:0".parse(), Ok(DeviceChoice::Cuda(0)));
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CUDA"] {
            let error = text.parse::<DeviceChoice>().unwrap_err();
            assert!(error.contains("auto, cpu, cuda"), "{error}");
        }
    }
}
