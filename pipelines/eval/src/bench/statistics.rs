//! What reports of images and of videos have in common.

use burn::tensor::Device;
use nextscale_models::device;

/// A device in words.
pub(super) fn describe(device: &Device) -> String {
    if device::is_cpu(device) {
        format!("cpu, {}", device::cpu_features())
    } else if device::is_wgpu(device) {
        "gpu".to_owned()
    } else {
        "cuda".to_owned()
    }
}

pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 20) as f64
}

/// Peak resident memory, as Linux counts it.
pub(super) fn peak_memory_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}
