//! Which device there is, asked before the tensor library touches it.

use burn::tensor::{DType, Device, FloatDType};

use nextscale_var_core::blocks::BlockStorage;

use crate::error::ModelError;
use crate::machine_memory;

/// Where to compute.
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
pub enum DeviceChoice {
    /// The first CUDA card if there is one, else the CPU
    #[default]
    Auto,
    /// The CPU
    Cpu,
    /// The first CUDA card
    Cuda,
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

/// What was found when looking for CUDA cards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cuda {
    /// This program was built without the `cuda` feature.
    NotBuilt,
    /// The driver library is not installed.
    NoDriver,
    /// The driver is there, but refuses or finds no card.
    NoCard,
    /// So many cards.
    Cards(usize),
}

impl Cuda {
    /// Why there is no card, as a sentence; `None` if there is one.
    pub fn missing(&self) -> Option<&'static str> {
        match self {
            Self::NotBuilt => Some("this program was built without CUDA"),
            Self::NoDriver => Some("there is no CUDA driver on this machine"),
            Self::NoCard => Some("the CUDA driver finds no card on this machine"),
            Self::Cards(_) => None,
        }
    }
}

/// Looks for the CUDA driver and counts the cards, without creating anything on them.
pub fn cuda() -> Cuda {
    if !cfg!(feature = "cuda") {
        return Cuda::NotBuilt;
    }
    count_cards()
}

/// The driver's library, if it is installed.
///
/// # Safety
/// Loading it runs its initialisers, which are safe.
unsafe fn driver() -> Option<libloading::Library> {
    let names: &[&str] = if cfg!(windows) {
        &["nvcuda.dll"]
    } else {
        &["libcuda.so.1", "libcuda.so"]
    };
    // SAFETY: the caller's promise.
    let open = |name: &&str| unsafe { libloading::Library::new(*name) }.ok();
    names.iter().find_map(open)
}

/// Asks the driver library itself; burn's device would panic in a thread of its own.
fn count_cards() -> Cuda {
    // SAFETY: the driver's library has no unsafe initialisers; the two functions have had these
    // signatures since CUDA 2.0 (CUDA driver API, "Initialization" and "Device Management").
    unsafe {
        let Some(library) = driver() else {
            return Cuda::NoDriver;
        };
        let init = library.get::<unsafe extern "C" fn(u32) -> i32>(b"cuInit\0");
        let count = library.get::<unsafe extern "C" fn(*mut i32) -> i32>(b"cuDeviceGetCount\0");
        let (Ok(init), Ok(count)) = (init, count) else {
            return Cuda::NoDriver;
        };
        let mut cards = 0;
        if init(0) == 0 && count(&mut cards) == 0 && cards > 0 {
            Cuda::Cards(cards as usize)
        } else {
            Cuda::NoCard
        }
    }
}

/// The memory of the first card in bytes, if the driver tells.
fn memory_of_card() -> Option<u64> {
    // SAFETY: as in `count_cards`; `cuDeviceGet` and `cuDeviceTotalMem_v2` write to the places that they are given, and the
    // second has had this signature since CUDA 3.2.
    unsafe {
        let library = driver()?;
        let init = library.get::<unsafe extern "C" fn(u32) -> i32>(b"cuInit\0");
        let get = library.get::<unsafe extern "C" fn(*mut i32, i32) -> i32>(b"cuDeviceGet\0");
        let total = b"cuDeviceTotalMem_v2\0";
        let total = library.get::<unsafe extern "C" fn(*mut usize, i32) -> i32>(total);
        let (init, get, total) = (init.ok()?, get.ok()?, total.ok()?);
        let (mut card, mut bytes) = (0, 0);
        let good = init(0) == 0 && get(&mut card, 0) == 0 && total(&mut bytes, card) == 0;
        good.then_some(bytes as u64)
    }
}

/// The memory that a device has in bytes, where the system or the driver tells.
pub fn memory(device: &Device) -> Option<u64> {
    if is_cpu(device) {
        machine_memory::total()
    } else {
        memory_of_card()
    }
}

/// The device that a choice means here.
///
/// # Errors
/// `cuda` without a card.
pub fn open(choice: DeviceChoice) -> Result<Device, ModelError> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::flex()),
        DeviceChoice::Auto => match cuda() {
            Cuda::Cards(_) => Ok(first_card()),
            _ => Ok(Device::flex()),
        },
        DeviceChoice::Cuda => match cuda().missing() {
            None => Ok(first_card()),
            Some(why) => Err(ModelError::refused_with(
                format!("--device cuda is not possible: {why}"),
                "use `--device cpu`, or `auto` to take a card only where there is one",
            )),
        },
    }
}

#[cfg(feature = "cuda")]
fn first_card() -> Device {
    Device::cuda(burn::tensor::DeviceIndex::Default)
}

#[cfg(not(feature = "cuda"))]
fn first_card() -> Device {
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
