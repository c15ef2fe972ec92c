//! Reading files whose size nobody vouches for.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of the largest pipeline or list of prompts that is read.
pub const MOST_TEXT: u64 = 64 << 20;
/// Bytes of the largest image that is held in memory while its metadata are read, or while it comes through a pipe.
pub const MOST_IMAGE: u64 = 1 << 30;

/// Reads a file whole; a device or a pipe may stand for it.
///
/// # Errors
/// A file that cannot be read, or has more than `most` bytes: what comes after them is not read.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let reason = format!("it is too large: up to {} MiB are read", most >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_up_to_their_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, [7; 100]).unwrap();
        assert_eq!(read(&path, 100).unwrap(), [7; 100]);
        let error = read(&path, 99).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[cfg(unix)]
    #[test]
    fn a_device_without_end_is_too_large() {
        let error = read(Path::new("/dev/zero"), 1 << 20).unwrap_err();
        assert!(error.to_string().contains("up to 1 MiB"), "{error}");
    }
}
