//! Whether a disk has room.

use std::path::Path;

use nextscale_files::atomic_file::folder_of;

use crate::error::DataError;

/// Refuses to write more bytes than are free where a file is going to be.
///
/// # Errors
/// Too little space.
pub(crate) fn check(path: &Path, needed: u64) -> Result<(), DataError> {
    let mut folder = folder_of(path);
    while !folder.exists() {
        folder = folder_of(folder);
    }
    // What a file system does not tell is found out while writing.
    let free = fs4::available_space(folder).unwrap_or(u64::MAX);
    if free >= needed {
        return Ok(());
    }
    Err(DataError::NoSpace {
        path: path.into(),
        needed: mebibytes(needed),
        free: mebibytes(free),
    })
}

/// Rounded up.
fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_any_disk_has_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not/there/a");
        check(&path, 1).unwrap();
        let error = check(&path, 1 << 60).unwrap_err().to_string();
        assert!(error.contains("needs 1099511627776 MiB"), "{error}");
    }
}
