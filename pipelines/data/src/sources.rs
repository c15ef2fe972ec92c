//! Places that have the files of a data set: a folder, a Debian package, a public address.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::error::DataError;
use nextscale_files::checksum;

use crate::archive;
use crate::error::write_atomically;

/// Most bytes that a compressed file may unfold to.
const LARGEST: u64 = 1 << 30;

/// A file of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedFile {
    /// Its name, without `.gz`.
    pub file: String,
    /// SHA-256 of what is in it, not compressed, in lower-case hexadecimal: how a place has packed it does not matter.
    pub sha256: String,
}

/// Somewhere that files can be taken from, each as `NAME.gz` or, in a folder, as `NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Place {
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

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Debian(of) => write!(f, "apt {}={}", of.package, of.version),
            Self::Url(address) => write!(f, "{address}"),
        }
    }
}

/// The content of every file, from the cache or from the first place that has it and then kept in the cache.
///
/// # Errors
/// No place has a file (every place's reason is told), a file has another checksum, or the cache cannot be written.
pub fn collect(
    files: &[&PinnedFile],
    places: &[Place],
    cache: &Path,
) -> Result<Vec<Vec<u8>>, DataError> {
    files
        .iter()
        .map(|wanted| {
            let kept = cache.join(format!("{}-{:.12}", wanted.file, wanted.sha256));
            if let Ok(bytes) = std::fs::read(&kept)
                && checksum::of_bytes(&bytes) == wanted.sha256
            {
                return Ok(bytes);
            }
            let bytes = find(wanted, files, places, cache)?;
            write_atomically(&kept, &bytes)?;
            Ok(bytes)
        })
        .collect()
}

fn find(
    wanted: &PinnedFile,
    all: &[&PinnedFile],
    places: &[Place],
    cache: &Path,
) -> Result<Vec<u8>, DataError> {
    let mut reasons = Vec::new();
    for place in places {
        let bytes = match place {
            Place::Folder(folder) => in_folder(folder, &wanted.file),
            Place::Debian(package) => in_package(package, wanted, all, cache),
            Place::Url(address) => at_address(address, &wanted.file, cache),
        };
        match bytes {
            Ok(bytes) => return verified(bytes, wanted, place),
            Err(reason) => reasons.push(format!("{place}: {reason}")),
        }
    }
    Err(DataError::Nowhere {
        file: wanted.file.clone(),
        reasons: reasons.join("; "),
    })
}

fn verified(bytes: Vec<u8>, wanted: &PinnedFile, place: &Place) -> Result<Vec<u8>, DataError> {
    let found = checksum::of_bytes(&bytes);
    match found == wanted.sha256 {
        true => Ok(bytes),
        false => Err(DataError::Checksum {
            path: format!("{} ({place})", wanted.file).into(),
            found,
            expected: wanted.sha256.clone(),
        }),
    }
}

fn unfold(packed: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let reader = flate2::read::GzDecoder::new(packed);
    let read = reader.take(LARGEST).read_to_end(&mut bytes);
    read.map_err(|e| format!("the file is damaged: {e}"))?;
    Ok(bytes)
}

fn in_folder(folder: &Path, file: &str) -> Result<Vec<u8>, String> {
    let packed = folder.join(format!("{file}.gz"));
    if packed.is_file() {
        return unfold(&std::fs::read(packed).map_err(|e| e.to_string())?);
    }
    std::fs::read(folder.join(file)).map_err(|e| e.to_string())
}

/// Downloads the package once for all files: what the others need goes into the cache as well.
fn in_package(
    package: &DebianPackage,
    wanted: &PinnedFile,
    all: &[&PinnedFile],
    cache: &Path,
) -> Result<Vec<u8>, String> {
    let name = format!(
        "{}_{}.deb",
        package.package,
        package.version.replace([':', '/'], "-")
    );
    let path = cache.join(name);
    if !path.is_file() {
        download_package(package, cache, &path)?;
    }
    let tar = output(Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&path))?;
    let inside = |file: &PinnedFile| format!("{}/{}.gz", package.folder, file.file);
    let names: Vec<String> = all.iter().map(|file| inside(file)).collect();
    let keep = |path: &str| names.iter().any(|name| name == path);
    let found = archive::untar(tar.as_slice(), &path, keep).map_err(|e| e.to_string());
    let found: BTreeMap<String, Vec<u8>> = found.inspect_err(|_| {
        // A download that was cut off must not stay.
        let _ = std::fs::remove_file(&path);
    })?;
    let packed = found.get(&inside(wanted));
    unfold(packed.ok_or_else(|| format!("no {} in the package", inside(wanted)))?)
}

fn download_package(package: &DebianPackage, cache: &Path, path: &Path) -> Result<(), String> {
    let folder = tempfile::tempdir_in(cache).map_err(|e| e.to_string())?;
    let id = format!("{}={}", package.package, package.version);
    output(
        Command::new("apt-get")
            .args(["download", "-qq", &id])
            .current_dir(folder.path()),
    )?;
    let files = std::fs::read_dir(folder.path()).map_err(|e| e.to_string())?;
    let mut files = files.filter_map(Result::ok).map(|entry| entry.path());
    let deb = files.find(|p| p.extension().is_some_and(|e| e == "deb"));
    let deb = deb.ok_or("apt-get wrote no package")?;
    std::fs::rename(deb, path).map_err(|e| e.to_string())
}

fn at_address(address: &str, file: &str, cache: &Path) -> Result<Vec<u8>, String> {
    let folder = tempfile::tempdir_in(cache).map_err(|e| e.to_string())?;
    let path = folder.path().join("file.gz");
    let address = format!("{}/{file}.gz", address.trim_end_matches('/'));
    output(
        Command::new("curl")
            .args(["--fail", "--silent", "--show-error", "--location"])
            .args(["--proto", "=https,file", "--proto-redir", "=https"])
            .args(["--connect-timeout", "20", "--output"])
            .arg(&path)
            .arg(address),
    )?;
    unfold(&std::fs::read(path).map_err(|e| e.to_string())?)
}

/// What a program writes; the last line of its complaints if it fails.
fn output(command: &mut Command) -> Result<Vec<u8>, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = match command.output() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(format!("{name} is not installed"));
        }
        other => other.map_err(|e| e.to_string())?,
    };
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    Err(last.map_or(format!("{name} failed"), |line| line.trim().to_owned()))
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
        let (place, cache) = (here.path().join("place"), here.path().join("cache"));
        std::fs::create_dir_all(&place).unwrap();
        std::fs::create_dir_all(&cache).unwrap();
        let wanted = pinned(b"abc");
        let places = [
            Place::Folder(here.path().join("none")),
            Place::Folder(place.clone()),
        ];
        let get = || collect(&[&wanted], &places, &cache);
        let error = get().unwrap_err().to_string();
        assert!(
            error.contains("letters") && error.contains("none"),
            "{error}"
        );

        std::fs::write(place.join("letters.gz"), packed(b"abd")).unwrap();
        let error = get().unwrap_err().to_string();
        assert!(
            error.contains(&wanted.sha256) && error.contains("place"),
            "{error}"
        );
        std::fs::write(place.join("letters.gz"), &packed(b"abc")[..9]).unwrap();
        assert!(get().unwrap_err().to_string().contains("damaged"));

        std::fs::write(place.join("letters.gz"), packed(b"abc")).unwrap();
        assert_eq!(get().unwrap(), [b"abc"]);
        std::fs::remove_dir_all(&place).unwrap();
        assert_eq!(get().unwrap(), [b"abc"], "from the cache");
        let kept = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap();
        std::fs::write(kept.path(), b"abd").unwrap();
        assert!(get().is_err(), "a damaged cache is not believed");
    }
}
