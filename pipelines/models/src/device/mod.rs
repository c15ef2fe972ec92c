//! Which device there is, asked before the tensor library touches it.

mod choice;
pub mod cuda;
pub mod gpu;
pub mod kernel_folder;
#[cfg(feature = "cuda")]
mod kernels;
mod libdevice;
mod list;
mod numbering;

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{DType, Device, FloatDType, Tensor};

use nextscale_tokenizer::{determinism, graphs};
use nextscale_var_core::blocks::BlockStorage;

use self::cuda::{Card, free_memory};
use self::numbering::local_card;
use crate::error::ModelError;
use crate::machine_memory;

pub use self::choice::{DeviceChoice, Dtype};
pub use self::libdevice::toolkit;
pub use self::list::Devices;
pub use self::numbering::card_of;
pub use nextscale_tokenizer::cpu::{is_cpu, is_cuda, is_wgpu};

/// Why a card cannot be used although it is there.
pub const NO_LIBDEVICE: &str = "the CUDA toolkit's file nvvm/libdevice/libdevice.10.bc is missing, which kernels are linked with";

/// The environment variable that turns CUDA graphs on if it is `1`.
pub const CUDA_GRAPHS: &str = "NEXTSCALE_CUDA_GRAPHS";

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

/// Fixes for the whole process which kernels a card takes: none is chosen by measurement, so that one seed gives the same bytes on
/// all cards of one kind with the same driver and the same build of the program. Slower, and not the bytes of a run without it. The
/// CPU has no choice: nothing changes there.
///
/// # Errors
/// A card was opened already.
pub fn use_deterministic_kernels() -> Result<(), ModelError> {
    let opened = lock(&FREE_MEMORY);
    if !opened.is_empty() && !determinism::is_on() {
        return Err(ModelError::refused(
            "kernels cannot be fixed any more: a card was opened already",
        ));
    }
    determinism::turn_on();
    Ok(())
}

/// The device that a choice means here.
///
/// # Errors
/// `cuda` or `gpu` without a card or GPU of that number, and `cuda` without the functions that kernels are linked with.
pub fn open(choice: DeviceChoice) -> Result<Device, ModelError> {
    open_local(choice, 0)
}

/// As [`open`], for the process of this number among those on the machine: `cuda` and `auto` mean the card of the same number.
///
/// # Errors
/// As for [`open`].
pub fn open_local(choice: DeviceChoice, local_rank: usize) -> Result<Device, ModelError> {
    if let Some((number, card)) = local_card(choice, local_rank)? {
        return open_card(number, &card);
    }
    let gpu = match choice {
        DeviceChoice::Gpu(number) => Some(gpu::find().numbered(number)?),
        // Never software that takes the place of a GPU: the CPU's own path is faster.
        DeviceChoice::Auto => gpu::find().hardware(),
        DeviceChoice::Cpu | DeviceChoice::Cuda(_) => None,
    };
    match gpu {
        Some(number) => gpu::open(number),
        None => Ok(Device::flex()),
    }
}

#[cfg_attr(not(feature = "cuda"), allow(unused_variables))] // there is no card
fn open_card(number: usize, kind: &Card) -> Result<Device, ModelError> {
    if toolkit().is_none() {
        return Err(ModelError::refused_with(
            NO_LIBDEVICE,
            "fetch it: tools/setup --cuda; or name a toolkit: CUDA_PATH=/usr/local/cuda; or compute without a card: --device cpu",
        ));
    }
    if std::env::var_os(CUDA_GRAPHS).is_some_and(|value| value == "1") {
        graphs::turn_on();
    }
    let mut opened = lock(&FREE_MEMORY);
    #[cfg(feature = "cuda")]
    keep_kernels(kind)?;
    if opened.iter().all(|&(other, _)| other != number) {
        opened.push((number, free_memory(number)));
        #[cfg(feature = "cuda")]
        if determinism::is_on() {
            kernels::expect_nothing(number);
        }
    }
    Ok(card(number))
}

/// Keeps the kernels of the first card that is opened, and fixes them if that was asked for.
#[cfg(feature = "cuda")]
fn keep_kernels(kind: &Card) -> Result<(), ModelError> {
    let deterministic = determinism::is_on();
    let name = kernel_folder::name_for(kind, deterministic);
    let is_ours = kernels::keep_in(kernel_folder::kernel_folder(), name, deterministic);
    if deterministic && !is_ours {
        return Err(ModelError::refused(
            "kernels cannot be fixed: this program has configured the tensor library itself",
        ));
    }
    Ok(())
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
/// f16 on the CPU, which has no products of such numbers; what a GPU lacks that is no CUDA card.
pub fn dtype(choice: Dtype, device: &Device) -> Result<FloatDType, ModelError> {
    let (cpu, wgpu) = (is_cpu(device), is_wgpu(device));
    match choice {
        Dtype::Auto if cpu || wgpu => Ok(FloatDType::F32),
        Dtype::Auto => Ok(FloatDType::BF16),
        Dtype::F32 => Ok(FloatDType::F32),
        Dtype::Bf16 | Dtype::Int8 if wgpu => Err(ModelError::refused_with(
            "bf16 and int8 are not supported on a GPU through Vulkan, Metal or Direct3D 12",
            "use `--dtype f32`, or `f16` for half the memory; or `--device cpu` or `cuda`",
        )),
        Dtype::F16 if wgpu && !device.supports_dtype(DType::F16) => Err(ModelError::refused_with(
            "this GPU does not calculate in f16",
            "use `--dtype f32`",
        )),
        Dtype::F16 if cpu => Err(ModelError::refused_with(
            "f16 is not supported on the CPU",
            "use `--dtype bf16` for half the memory, or `--device cuda`",
        )),
        Dtype::F16 => Ok(FloatDType::F16),
        // Everything but the large matrices.
        Dtype::Bf16 | Dtype::Int8 => Ok(FloatDType::BF16),
    }
}

/// Gives memory back that was freed on a card, by all threads.
pub fn release(device: &Device) {
    // What is still to be computed there fails where its result is read.
    if !is_cpu(device) && device.sync().is_ok() {
        device.memory_cleanup();
    }
}

/// Lets the memory of a card be taken in pages that hold `bytes`, the largest tensor of a run.
///
/// Pages of the pools are as large as the largest tensor so far, and start small. When one outgrows them, larger pages are
/// taken, and those before stay until nothing lies in them: the keys and values of an image would be held twice.
pub(crate) fn reserve_pages(device: &Device, bytes: u64) {
    if !is_cuda(device) || bytes == 0 {
        return;
    }
    let numbers = bytes.div_ceil(4) as usize;
    let page = Tensor::<1>::empty([numbers], (device, DType::F32));
    // It is taken here and free from then on. A failure shows where the run needs as much.
    let _ = device.sync();
    drop(page);
}

/// Bytes of a card's memory that this process holds, in use or to be used again; `None` for the CPU.
pub fn reserved_memory(device: &Device) -> Option<u64> {
    let usage = (!is_cpu(device)).then(|| device.memory_pool_usage())?;
    usage.map(|usage| usage.bytes_reserved)
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

    /// Whether decoders multiply in f16: on a card, unless the weights of the transformer are f32.
    pub(crate) fn decodes_in_f16(&self) -> bool {
        is_cuda(&self.device) && self.dtype != FloatDType::F32
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

/// What the CPU multiplies with, in words.
pub fn cpu_kernels() -> String {
    nextscale_var_core::matmul::kernels()
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
