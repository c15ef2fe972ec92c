//! The GPUs of this machine, asked through wgpu.

use std::sync::{Mutex, OnceLock, PoisonError};

use burn::tensor::wgpu::wgpu::{self, Backend, DeviceType};
use burn::tensor::wgpu::{WgpuBackend, WgpuInitError};
use burn::tensor::{Device, DeviceKind};

use crate::device::gpu::{Gpu, GpuKind, Gpus};

/// Names of an API: the driver's, the tensor library's, the user's.
type Api = (Backend, WgpuBackend, &'static str);

/// What GPUs are looked for through, the best first.
const APIS: &[Api] = if cfg!(target_vendor = "apple") {
    &[(Backend::Metal, WgpuBackend::Metal, "Metal")]
} else {
    &[
        (Backend::Vulkan, WgpuBackend::Vulkan, "Vulkan"),
        (Backend::Dx12, WgpuBackend::Dx12, "Direct3D 12"),
    ]
};

/// A GPU and how the tensor library names it.
type Found = (Gpu, DeviceKind, WgpuBackend);

pub(super) fn gpus() -> Gpus {
    match found() {
        [] => Gpus::None,
        found => Gpus::Found(found.iter().map(|(gpu, ..)| gpu.clone()).collect()),
    }
}

pub(super) fn open(number: usize) -> Result<Device, String> {
    static OPENED: Mutex<Vec<(usize, Device)>> = Mutex::new(Vec::new());
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, device)) = opened.iter().find(|(other, _)| *other == number) {
        return Ok(device.clone());
    }
    let (_, kind, api) = found().get(number).ok_or("there is none of this number")?;
    let options = Device::wgpu_options().device_kind(kind.clone());
    let device = options.graphics_api(*api).init();
    let device = device.map_err(|why: WgpuInitError| why.to_string())?;
    opened.push((number, device.clone()));
    Ok(device)
}

/// All GPUs of the first API that has hardware, else those of the first that has any.
fn found() -> &'static [Found] {
    static FOUND: OnceLock<Vec<Found>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let mut all: Vec<_> = APIS.iter().map(through).collect();
        let hardware = |found: &Vec<Found>| {
            let mut gpus = found.iter().map(|(gpu, ..)| gpu);
            gpus.any(|gpu| gpu.kind != GpuKind::Software)
        };
        let best = all.iter().position(hardware);
        let best = best.or_else(|| all.iter().position(|found| !found.is_empty()));
        best.map(|best| all.swap_remove(best)).unwrap_or_default()
    })
}

/// The GPUs that an API reaches.
fn through(&(backend, api, name): &Api) -> Vec<Found> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: backend.into(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapters = instance.enumerate_adapters(backend.into());
    let adapters = burn::tensor::try_read_sync(adapters).unwrap_or_default();
    let mut found: Vec<Found> = vec![];
    for info in adapters.iter().map(wgpu::Adapter::get_info) {
        let Some(kind) = kind(info.device_type) else {
            continue;
        };
        // The tensor library counts the adapters of each kind.
        let before = found.iter().filter(|(gpu, ..)| gpu.kind == kind).count();
        let selector = match kind {
            GpuKind::Discrete => DeviceKind::DiscreteGpu(before),
            GpuKind::Integrated => DeviceKind::IntegratedGpu(before),
            GpuKind::Virtual => DeviceKind::VirtualGpu(before),
            // It takes the first one.
            GpuKind::Software if before > 0 => continue,
            GpuKind::Software => DeviceKind::Cpu,
        };
        let gpu = Gpu {
            name: info.name,
            kind,
            api: name,
            driver: format!("{} {}", info.driver, info.driver_info)
                .trim()
                .to_owned(),
        };
        found.push((gpu, selector, api));
    }
    found.sort_by_key(|(gpu, ..)| gpu.kind);
    found
}

/// The kind of an adapter; none of one that the tensor library cannot be told to take.
fn kind(of: DeviceType) -> Option<GpuKind> {
    match of {
        DeviceType::DiscreteGpu => Some(GpuKind::Discrete),
        DeviceType::IntegratedGpu => Some(GpuKind::Integrated),
        DeviceType::VirtualGpu => Some(GpuKind::Virtual),
        DeviceType::Cpu => Some(GpuKind::Software),
        DeviceType::Other => None,
    }
}
