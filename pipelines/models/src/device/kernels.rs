//! Compiled kernels and the choices among them, kept on disk: a second process starts where the first one ended. Choices by
//! measurement, and choices that are the same everywhere.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use burn::BurnConfig;
use burn_cubecl::cubecl::cuda::{CudaDevice, CudaRuntime};
use cubecl_runtime::config::autotune::AutotuneLevel;
use cubecl_runtime::config::cache::CacheConfig;
use cubecl_runtime::config::environment::EnvironmentConfig;
use cubecl_runtime::config::{CubeClRuntimeConfig, RuntimeConfig};
use cubecl_runtime::runtime::Runtime;
use cubecl_runtime::throughput::{
    MemoryAccess, MemorySpec, ThroughputCache, ThroughputKey, ThroughputMode, ThroughputValue,
    working_set_sweep,
};
use cubecl_runtime::tune::anchor;

/// Keeps kernels in `folder` under this name, unless the program has set a configuration of the tensor library itself; returns
/// whether it has not. With `deterministic`, nothing is chosen by measurement, once [`expect_nothing`] was called. Has an effect
/// only before the first device is opened.
pub(super) fn keep_in(folder: Option<PathBuf>, name: String, deterministic: bool) -> bool {
    static IS_OURS: OnceLock<bool> = OnceLock::new();
    *IS_OURS.get_or_init(|| {
        // Not from `cubecl.toml` in the working folder, which may be anybody's.
        let mut config = CubeClRuntimeConfig::default().override_from_env();
        config.compilation.cache = true;
        config.environment.path = folder.map_or(CacheConfig::Global, CacheConfig::Directory);
        if config.environment.name == EnvironmentConfig::default().name {
            config.environment.name = name;
        }
        if deterministic {
            set_deterministic(config)
        } else {
            CubeClRuntimeConfig::try_set(config)
        }
    })
}

/// The tensor library tries kernels in a fixed order and takes the first one that is fast enough. What is fast enough comes from
/// the card's measured peaks, see [`expect_nothing`].
fn set_deterministic(mut config: CubeClRuntimeConfig) -> bool {
    config.autotune.disable_short_circuit = false;
    config.throughput.disable_cache = false;
    config.autotune.level = AutotuneLevel::Full;
    // Fused operations choose by measurement among kernels without a limit.
    let unfused = r#"{"fusion": {"beam_search": {"max_explorations": 0}}}"#;
    let Ok(unfused) = serde_json::from_str(unfused) else {
        return false;
    };
    if !BurnConfig::try_set(unfused) || !CubeClRuntimeConfig::try_set(config.clone()) {
        return false;
    }
    // Choices are kept by shapes. They are rounded to powers of two unless the level is `Full` when the first is rounded: then
    // the choice for a shape would depend on which shape came first. `Full` alone knows no "fast enough".
    anchor(1, None, None, None);
    config.autotune.level = AutotuneLevel::default();
    *CubeClRuntimeConfig::storage().lock() = Some(Arc::new(config));
    true
}

/// Bytes of the largest working set that a kernel has.
const LARGEST: u64 = 1 << 48;
/// A peak of nothing: 4 bytes in 11 days. No kernel that runs is slower.
const NOTHING: ThroughputValue = ThroughputValue {
    ops_count: 1,
    duration: Duration::from_secs(1_000_000),
};

/// Tells the tensor library that a card moves nearly nothing, so that the first kernel that runs is fast enough.
pub(super) fn expect_nothing(card: usize) {
    let client = CudaRuntime::client(&CudaDevice::new(card));
    let peaks = ThroughputCache::get_for_device(client.name(), client.properties());
    let mut peaks = peaks.lock();
    for bytes in working_set_sweep(LARGEST) {
        let mode = ThroughputMode::Memory(MemorySpec::new(MemoryAccess::Copy, bytes));
        let key = ThroughputKey { mode };
        if peaks.get(&key).is_none() {
            peaks.insert(key, NOTHING);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_for_exact_shapes_and_end_early() {
        assert!(set_deterministic(CubeClRuntimeConfig::default()));
        assert_eq!(anchor(100, None, None, None), 100);
        let config = CubeClRuntimeConfig::get();
        assert!(matches!(config.autotune.level, AutotuneLevel::Balanced));
        assert!(!config.autotune.disable_short_circuit);
        let fusion = BurnConfig::get().fusion().clone();
        assert_eq!(fusion.beam_search.max_explorations, Some(0));
        let again = set_deterministic(CubeClRuntimeConfig::default());
        assert!(!again, "a configuration that is there was replaced");
    }
}
