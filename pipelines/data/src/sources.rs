//! Where the files of a data set come from: a folder, a Debian package, a public address.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use nextscale_files::curl::{self, CurlError};
use nextscale_files::{atomic_file, checksum};
use serde::{Deserialize, Serialize};

use crate::archive;
use crate::error::DataError;
use crate::program::{self, ProgramError};

/// Largest size in bytes that a compressed file may unpack to.
const MAX_UNPACKED_BYTES: u64 = 1 << 30;

/// A file of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedFile {
    /// Its name, without `.gz`.
    pub file: String,
    /// SHA-256 of its uncompressed content in lower-case hexadecimal: how a source compresses it does not matter.
    pub sha256: String,
}

/// Somewhere that has files, each as `NAME.gz` or, in a folder or a package, also as `NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// A folder on this machine, such as that of an installed package.
    Folder(PathBuf),
    /// A package that apt can download; it is not installed.
    Debian(DebianPackage),
    /// An address that curl can read, without the file's name: `https:` or `file:`.
    Url(String),
}

/// A Debian package, pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianPackage {
    /// Name of the package.
    pub package: String,
    /// Exact version.
    pub version: String,
    /// Folder of the files, without the leading slash.
    pub folder: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Debian(debian) => write!(f, "apt {}={}", debian.package, debian.version),
            Self::Url(address) => write!(f, "{address}"),
        }
    }
}

/// Why a source does not have a file.
#[derive(Debug, thiserror::Error)]
enum SourceError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the file is damaged: {0}")]
    Damaged(io::Error),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Package(#[from] DataError),
    #[error("no {0} in the package")]
    NotInPackage(String),
    #[error(transparent)]
    Curl(#[from] CurlError),
}

/// The content of every file, from the cache, or from the first source that has it and then kept in the cache.
///
/// # Errors
/// No source has a file (the error lists each source's reason), a file has another checksum, or the cache cannot be
/// written.
pub(crate) fn collect(
    files: &[&PinnedFile],
    sources: &[Source],
    cache: &Path,
) -> Result<Vec<Vec<u8>>, DataError> {
    files
        .iter()
        .map(|wanted| {
            let cached = cache.join(format!("{}-{:.12}", wanted.file, wanted.sha256));
            if let Ok(bytes) = std::fs::read(&cached)
                && checksum::of_bytes(&bytes) == wanted.sha256
            {
                return Ok(bytes);
            }
            let bytes = find(wanted, files, sources, cache)?;
            atomic_file::write(&cached, &bytes).map_err(|e| DataError::write(&cached, e))?;
            Ok(bytes)
        })
        .collect()
}

fn find(
    wanted: &PinnedFile,
    all: &[&PinnedFile],
    sources: &[Source],
    cache: &Path,
) -> Result<Vec<u8>, DataError> {
    let mut reasons = Vec::new();
    for source in sources {
        let bytes = match source {
            Source::Folder(folder) => from_folder(folder, &wanted.file),
            Source::Debian(package) => from_package(package, wanted, all, cache),
            Source::Url(address) => from_address(address, &wanted.file, cache),
        };
        match bytes {
            Ok(bytes) => return verified(bytes, wanted, source),
            Err(reason) => reasons.push(format!("{source}: {reason}")),
        }
    }
    Err(DataError::NoSource {
        file: wanted.file.clone(),
        reasons: reasons.join("; "),
    })
}

fn verified(bytes: Vec<u8>, wanted: &PinnedFile, source: &Source) -> Result<Vec<u8>, DataError> {
    let found = checksum::of_bytes(&bytes);
    if found == wanted.sha256 {
        return Ok(bytes);
    }
    Err(DataError::Checksum {
        path: format!("{} ({source})", wanted.file).into(),
        found,
        expected: wanted.sha256.clone(),
    })
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    let reader = flate2::read::GzDecoder::new(packed);
    let read = reader.take(MAX_UNPACKED_BYTES).read_to_end(&mut bytes);
    read.map_err(SourceError::Damaged)?;
    Ok(bytes)
}

fn from_folder(folder: &Path, file: &str) -> Result<Vec<u8>, SourceError> {
    let packed = folder.join(format!("{file}.gz"));
    if packed.is_file() {
        return unpack(&std::fs::read(packed)?);
    }
    Ok(std::fs::read(folder.join(file))?)
}

/// Downloads the package into the cache, once for all files.
fn from_package(
    package: &DebianPackage,
    wanted: &PinnedFile,
    all: &[&PinnedFile],
    cache: &Path,
) -> Result<Vec<u8>, SourceError> {
    let DebianPackage {
        package: name,
        version,
        folder,
    } = package;
    let path = cache.join(format!("{name}_{}.deb", version.replace([':', '/'], "-")));
    if !path.is_file() {
        let mut apt = Command::new("apt-get");
        apt.args(["download", "-qq", &format!("{name}={version}")]);
        program::download(&mut apt, "deb", &path)?;
    }
    let tar = program::output(Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&path))?;
    let inside = |file: &PinnedFile| format!("{folder}/{}", file.file);
    let packed = |file: &PinnedFile| format!("{}.gz", inside(file));
    let names = all.iter().flat_map(|file| [inside(file), packed(file)]);
    let names: Vec<String> = names.collect();
    let keep = |path: &str| names.iter().any(|name| name == path);
    let found = archive::untar(tar.as_slice(), &path, keep);
    let found: BTreeMap<String, Vec<u8>> = found.inspect_err(|_| {
        // A truncated download must not stay.
        let _ = std::fs::remove_file(&path);
    })?;
    if let Some(packed) = found.get(&packed(wanted)) {
        return unpack(packed);
    }
    let plain = found.get(&inside(wanted)).cloned();
    plain.ok_or_else(|| SourceError::NotInPackage(inside(wanted)))
}

fn from_address(address: &str, file: &str, cache: &Path) -> Result<Vec<u8>, SourceError> {
    let part = atomic_file::hidden_in(cache)?;
    let path = part.path().display().to_string();
    let address = format!("{}/{file}.gz", address.trim_end_matches('/'));
    #[rustfmt::skip]
    let args = [
        "--fail", "--silent", "--show-error", "--location",
        "--proto", "=https,file", "--proto-redir", "=https",
        "--connect-timeout", "20", "--output", &path, &address,
    ];
    curl::run(&args, "", false)?;
    unpack(&std::fs::read(part.path())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn pinned(bytes: &[u8]) -> PinnedFile {
        PinnedFile {
            file: "letters".into(),
            sha256: checksum::of_bytes(bytes),
        }
    }

    #[test]
    fn the_first_place_that_has_a_file_counts_and_the_cache_keeps_it() {
        let here = tempfile::tempdir().unwrap();
        let (source, cache) = (here.path().join("source"), here.path().join("cache"));
        std::fs::create_dir_all(&source).unwrap();
        std::fs::create_dir_all(&cache).unwrap();
        let wanted = pinned(b"abc");
        let sources = [
            Source::Folder(here.path().join("none")),
            Source::Folder(source.clone()),
        ];
        let get = || collect(&[&wanted], &sources, &cache);
        let error = get().unwrap_err().to_string();
        assert!(
            error.contains("letters") && error.contains("none"),
            "{error}"
        );

        std::fs::write(source.join("letters.gz"), packed(b"abd")).unwrap();
        let error = get().unwrap_err().to_string();
        assert!(
            error.contains(&wanted.sha256) && error.contains("source"),
            "{error}"
        );
        std::fs::write(source.join("letters.gz"), &packed(b"abc")[..9]).unwrap();
        assert!(get().unwrap_err().to_string().contains("damaged"));

        std::fs::write(source.join("letters.gz"), packed(b"abc")).unwrap();
        assert_eq!(get().unwrap(), [b"abc"]);
        std::fs::remove_dir_all(&source).unwrap();
        assert_eq!(get().unwrap(), [b"abc"], "from the cache");
        let kept = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap();
        std::fs::write(kept.path(), b"abd").unwrap();
        assert!(get().is_err(), "a damaged cache is not believed");
    }
}
