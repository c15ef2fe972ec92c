//! Files of tar archives, compressed or not.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use crate::error::DataError;

/// The files of a tarball whose path (without the leading folder) passes `keep`, sorted by path.
///
/// # Errors
/// The tarball is damaged.
pub(crate) fn files(
    tarball: &[u8],
    name: &Path,
    keep: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Vec<u8>>, DataError> {
    untar(flate2::read::GzDecoder::new(tarball), name, keep)
}

/// Like [`files`], for a tar archive that is not compressed.
///
/// # Errors
/// The archive is damaged.
pub(crate) fn untar(
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
    fn a_damaged_tarball_is_an_error() {
        assert!(files(b"not gzip", Path::new("x.tgz"), |_| true).is_err());
    }
}
