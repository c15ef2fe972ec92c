//! Files that are there as a whole or not at all: written under a hidden name in the same folder, then renamed.

use std::io::{self, Write};
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

/// Writes a file, or leaves the one that was there before.
///
/// # Errors
/// A folder that does not exist or cannot be written to.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = hidden_in(folder_of(path))?;
    file.write_all(bytes)?;
    persist(file, path)
}

/// A hidden file in a folder. It is removed unless [`persist`] gives it a name.
///
/// # Errors
/// A folder that does not exist or cannot be written to.
pub fn hidden_in(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder
        .prefix(".nextscale-")
        .suffix(".part")
        .tempfile_in(folder)
}

/// Gives a finished hidden file its name, and everybody the right to read it: temporary files are private.
///
/// # Errors
/// A name that cannot be written.
pub fn persist(file: NamedTempFile, path: &Path) -> io::Result<()> {
    make_readable(file.path())?;
    file.persist(path).map(drop).map_err(|e| e.error)
}

/// Lets everybody read a file, and its owner write it.
///
/// # Errors
/// A file that is not there or belongs to somebody else.
pub fn make_readable(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// The folder that a file is in; `.` for a bare name.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_a_file_that_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write(&folder.path().join("no/a.txt"), b"x").is_err());
        write(&folder.path().join("a.txt"), b"x").unwrap();
        assert!(write(folder.path(), b"x").is_err(), "a folder");
        let names = std::fs::read_dir(folder.path()).unwrap();
        assert_eq!(names.count(), 1);
    }
}
