//! Tarballs: download with the ordinary npm client, verify, read.

use std::path::Path;
use std::process::Command;

use nextscale_files::checksum;

use crate::error::DataError;
use crate::recipe::Package;

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
    let found = checksum::of_bytes(&bytes);
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
}
