//! The mathematical functions that CUDA kernels are linked with, `libdevice.10.bc`: a file of the CUDA toolkit, which a machine
//! with only a driver lacks.

use std::env;
use std::path::{Path, PathBuf};

/// Where toolkits are installed.
const TOOLKITS: [&str; 4] = ["/usr/local/cuda", "/opt/cuda", "/usr/lib/cuda", "/usr"];
/// Where `pip` puts the wheel of the compiler, below a folder of packages.
const WHEELS: [&str; 2] = ["nvidia/cuda_nvcc", "nvidia/cu13"];
/// Where in a toolkit the file is.
const FILE: &str = "nvvm/libdevice/libdevice.10.bc";

/// The folder of the toolkit, or of what stands for it, that kernels are linked with: that of `CUDA_PATH`, else an installed
/// toolkit, else what `tools/setup --cuda` fetched, else the wheel `nvidia-cuda-nvcc` in the Python environment that is active.
pub fn toolkit() -> Option<PathBuf> {
    if let Some(path) = env::var_os("CUDA_PATH") {
        return Some(PathBuf::from(path)).filter(|path| has_file(path));
    }
    let installed = TOOLKITS.into_iter().map(PathBuf::from);
    let fetched = cache().map(|cache| cache.join("cuda"));
    let mut all = installed.chain(fetched).chain(wheels());
    all.find(|path| has_file(path))
}

fn has_file(toolkit: &Path) -> bool {
    toolkit.join(FILE).is_file()
}

/// The folder of this user for what can be made again.
pub(super) fn cache() -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    Some(cache.or_else(home)?.join("nextscale"))
}

/// The wheel in the active Python environment.
fn wheels() -> impl Iterator<Item = PathBuf> {
    let environments = ["VIRTUAL_ENV", "CONDA_PREFIX"];
    let libraries = environments
        .into_iter()
        .filter_map(env::var_os)
        .filter_map(|root| Path::new(&root).join("lib").read_dir().ok());
    let pythons = libraries.flatten().flatten().map(|entry| entry.path());
    pythons.flat_map(|python| WHEELS.map(|wheel| python.join("site-packages").join(wheel)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_counts_if_it_has_the_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!has_file(folder.path()));
        std::fs::create_dir_all(folder.path().join("nvvm/libdevice")).unwrap();
        std::fs::write(folder.path().join(FILE), "BC").unwrap();
        assert!(has_file(folder.path()));
    }
}
