//! The mathematical functions that CUDA kernels are linked with, `libdevice.10.bc`: a file of the CUDA toolkit, which a machine
//! with only a driver lacks.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use nextscale_files::atomic_file;

/// Where toolkits are installed.
const TOOLKITS: [&str; 4] = ["/usr/local/cuda", "/opt/cuda", "/usr/lib/cuda", "/usr"];
/// Where `pip` puts the wheel of the compiler, below a folder of packages.
const WHEELS: [&str; 2] = ["nvidia/cuda_nvcc", "nvidia/cu13"];
/// Where the wheel of Triton, which PyTorch brings, has the file below a folder of packages: without a toolkit around it.
const ALONE: &str = "triton/backends/nvidia/lib/libdevice.10.bc";
/// Where in a toolkit the file is.
const FILE: &str = "nvvm/libdevice/libdevice.10.bc";

/// The folder of the toolkit, or of what stands for it, that kernels are linked with: that of `CUDA_PATH`, else an installed
/// toolkit, else what `tools/setup --cuda` fetched, else the wheel `nvidia-cuda-nvcc` in the Python environment that is active,
/// else the file of the wheel `triton` there, which is copied to where `tools/setup --cuda` puts it.
pub fn toolkit() -> Option<PathBuf> {
    if let Some(path) = env::var_os("CUDA_PATH") {
        return Some(PathBuf::from(path)).filter(|path| has_file(path));
    }
    let installed = TOOLKITS.into_iter().map(PathBuf::from);
    let fetched = cache().map(|cache| cache.join("cuda"));
    let packages: Vec<PathBuf> = environments().flat_map(|root| packages(&root)).collect();
    let wheels = packages
        .iter()
        .flat_map(|packages| WHEELS.map(|wheel| packages.join(wheel)));
    let mut all = installed.chain(fetched.clone()).chain(wheels);
    all.find(|path| has_file(path))
        .or_else(|| adopt(&packages, &fetched?).ok().flatten())
}

/// Copies the file of Triton's wheel, if one of the folders of packages has it, to its place in a toolkit, and returns the toolkit.
fn adopt(packages: &[PathBuf], toolkit: &Path) -> io::Result<Option<PathBuf>> {
    let mut files = packages.iter().map(|packages| packages.join(ALONE));
    let Some(file) = files.find(|file| file.is_file()) else {
        return Ok(None);
    };
    let place = toolkit.join(FILE);
    fs::create_dir_all(atomic_file::folder_of(&place))?;
    atomic_file::write(&place, &fs::read(file)?)?;
    Ok(Some(toolkit.to_owned()))
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

/// The Python environments that are active.
fn environments() -> impl Iterator<Item = PathBuf> {
    let names = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter();
    names.filter_map(env::var_os).map(PathBuf::from)
}

/// The folders of packages of a Python environment, one for each version of Python.
fn packages(root: &Path) -> Vec<PathBuf> {
    let pythons = root.join("lib").read_dir().into_iter().flatten().flatten();
    let pythons = pythons.map(|entry| entry.path().join("site-packages"));
    pythons.filter(|packages| packages.is_dir()).collect()
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

    #[test]
    fn the_file_of_triton_becomes_a_toolkit() {
        let folder = tempfile::tempdir().unwrap();
        let (root, toolkit) = (folder.path().join("env"), folder.path().join("cuda"));
        let file = root.join("lib/python3.12/site-packages").join(ALONE);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::create_dir_all(root.join("lib/python3.13")).unwrap();
        let found = packages(&root);
        assert_eq!(found, [root.join("lib/python3.12/site-packages")]);
        assert_eq!(adopt(&found, &toolkit).unwrap(), None);
        assert!(!toolkit.exists());
        std::fs::write(&file, "BC").unwrap();
        assert_eq!(adopt(&found, &toolkit).unwrap(), Some(toolkit.clone()));
        assert!(has_file(&toolkit));
        let files = toolkit.join("nvvm/libdevice").read_dir().unwrap();
        assert_eq!(files.count(), 1, "a temporary file is left");
        let nowhere = folder.path().join("file");
        std::fs::write(&nowhere, "").unwrap();
        assert!(adopt(&found, &nowhere).is_err());
    }
}
