//! Tarballs: download with the ordinary npm client, verify, read.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::DataError;
use super::recipe::Package;

/// SHA-256 as lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// Writes a file under a temporary name in the same folder and renames it.
///
/// # Errors
/// The folder cannot be written.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    std::fs::write(&partial, bytes).map_err(|e| DataError::write(&partial, e))?;
    std::fs::rename(&partial, path).map_err(|e| DataError::write(path, e))
}

/// The verified bytes of a package's tarball, from the cache or downloaded into it.
///
/// # Errors
/// npm is missing or fails, the cache cannot be written, or the checksum differs from the recipe's.
pub fn tarball(package: &Package, cache: &Path) -> Result<Vec<u8>, DataError> {
    let file = format!(
        "{}-{}.tgz",
        package.package.trim_start_matches('@').replace('/', "-"),
        package.version
    );
    let path = cache.join(&file);
    if !path.exists() {
        download(package, cache, &path)?;
    }
    let bytes = std::fs::read(&path).map_err(|e| DataError::read(&path, e))?;
    let found = sha256_hex(&bytes);
    if found != package.sha256 {
        return Err(DataError::Checksum {
            path,
            found,
            expected: package.sha256.clone(),
        });
    }
    Ok(bytes)
}

fn download(package: &Package, cache: &Path, path: &Path) -> Result<(), DataError> {
    std::fs::create_dir_all(cache).map_err(|e| DataError::write(cache, e))?;
    let folder = tempfile::tempdir_in(cache).map_err(|e| DataError::write(cache, e))?;
    let id = format!("{}@{}", package.package, package.version);
    let output = Command::new("npm")
        .args([
            "pack",
            "--silent",
            "--ignore-scripts",
            "--loglevel=error",
            &id,
        ])
        .current_dir(folder.path())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(DataError::NpmMissing {
                package: id,
                path: path.into(),
            });
        }
        Err(e) => {
            return Err(DataError::Download {
                package: id,
                message: e.to_string(),
            });
        }
    };
    if !output.status.success() {
        return Err(DataError::Download {
            package: id,
            message: last_words(&output.stderr),
        });
    }
    let packed = std::fs::read_dir(folder.path())
        .map_err(|e| DataError::read(folder.path(), e))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|p| p.extension().is_some_and(|e| e == "tgz"));
    let Some(packed) = packed else {
        return Err(DataError::Download {
            package: id,
            message: "npm wrote no tarball".into(),
        });
    };
    std::fs::rename(&packed, path).map_err(|e| DataError::write(path, e))
}

/// What npm said, without its prefixes and its pointer to a log file.
fn last_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let said: Vec<&str> = text
        .lines()
        .map(|line| {
            line.trim_start_matches("npm error")
                .trim_start_matches("npm ERR!")
                .trim()
        })
        .filter(|line| !line.is_empty() && !line.contains("complete log"))
        .collect();
    if said.is_empty() {
        "the network or the registry cannot be reached".into()
    } else {
        said.join("; ")
    }
}

/// The files of a tarball whose path (without the leading folder) passes `keep`, sorted by path.
///
/// # Errors
/// The tarball is damaged.
pub fn files(
    tarball: &[u8],
    name: &Path,
    keep: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Vec<u8>>, DataError> {
    untar(flate2::read::GzDecoder::new(tarball), name, keep)
}

/// As [`files`], of a tar archive that is not compressed.
///
/// # Errors
/// The archive is damaged.
pub fn untar(
    tar: impl Read,
    name: &Path,
    keep: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Vec<u8>>, DataError> {
    let damaged =
        |e: std::io::Error| DataError::content(name, format!("the tarball is damaged: {e}"));
    let mut archive = tar::Archive::new(tar);
    let mut files = BTreeMap::new();
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let path = entry
            .path()
            .map_err(damaged)?
            .to_string_lossy()
            .into_owned();
        let Some((_, inner)) = path.split_once('/') else {
            continue;
        };
        if keep(inner) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(damaged)?;
            files.insert(inner.to_owned(), bytes);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_checksum_names_both_values() {
        let cache = tempfile::tempdir().unwrap();
        std::fs::write(cache.path().join("scope-thing-1.0.0.tgz"), b"abc").unwrap();
        let package = Package {
            package: "@scope/thing".into(),
            version: "1.0.0".into(),
            sha256: "0".repeat(64),
        };
        let error = tarball(&package, cache.path()).unwrap_err().to_string();
        assert!(error.contains("ba7816bf8f01cfea"), "{error}");
        assert!(error.contains(&"0".repeat(64)), "{error}");
    }

    #[test]
    fn a_damaged_tarball_is_an_error() {
        assert!(files(b"not gzip", Path::new("x.tgz"), |_| true).is_err());
    }
}
