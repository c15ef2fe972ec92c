//! Compiled kernels and the choices among them, kept on disk: a second process starts where the first one ended.

use std::path::PathBuf;
use std::sync::Once;

use cubecl_runtime::config::cache::CacheConfig;
use cubecl_runtime::config::{CubeClRuntimeConfig, RuntimeConfig};

/// Keeps kernels in `folder`, unless the program has set a configuration of the tensor library itself. Has an effect only
/// before the first device is opened.
pub(super) fn keep_in(folder: Option<PathBuf>) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Not from `cubecl.toml` in the working folder, which may be anybody's.
        let mut config = CubeClRuntimeConfig::default().override_from_env();
        config.compilation.cache = true;
        config.environment.path = folder.map_or(CacheConfig::Global, CacheConfig::Directory);
        CubeClRuntimeConfig::try_set(config);
    });
}
