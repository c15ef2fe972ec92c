//! PyTorch files are ZIP archives, some of which the ZIP reader misreads.
//!
//! PyTorch writes the 76 bytes of a ZIP64 record between directory and end record even where they are not needed. The
//! `zip` crate (9.8.1) looks for the directory by its length, counted back from the end record: 76 bytes too far. It
//! notices, unless another entry happens to begin there. That is so when the first entry is 76 bytes long, which means
//! that the archive's folder has a name of 21 letters, such as `infinitystar_videovae`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use tempfile::TempPath;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

const END: &[u8; 4] = b"PK\x05\x06";
const ENTRY: &[u8; 4] = b"PK\x01\x02";
const LOCAL: &[u8; 4] = b"PK\x03\x04";
const END_LENGTH: u64 = 22;

/// A copy of the file without the record in between; none if the file is read correctly.
///
/// # Errors
/// If the file cannot be read or the copy cannot be written.
pub(crate) fn repaired(path: &Path) -> io::Result<Option<TempPath>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let Some((directory, end)) = misread(&mut file, length)? else {
        return Ok(None);
    };
    let copy = tempfile::Builder::new()
        .prefix("nextscale-")
        .suffix(".pth")
        .tempfile()?
        .into_temp_path();
    std::fs::copy(path, &copy)?;
    let mut copied = OpenOptions::new().write(true).open(&copy)?;
    copied.set_len(directory)?;
    copied.seek(SeekFrom::End(0))?;
    copied.write_all(&end)?;
    Ok(Some(copy))
}

/// Refuses an archive with compressed entries: PyTorch writes none, and one of a few bytes can unpack to more than the memory.
///
/// # Errors
/// If the file cannot be read, or an entry is compressed.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut start = [0; 4];
    if file.read_exact(&mut start).is_err() || start != *LOCAL {
        return Ok(());
    }
    let cut = |error| match error {
        ZipError::InvalidArchive(_) => io::Error::other(
            "it is cut off or damaged: an archive without its end: download it again",
        ),
        error => error.into(),
    };
    let mut archive = ZipArchive::new(file).map_err(cut)?;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index)?;
        if entry.compression() != CompressionMethod::Stored {
            let name = entry.name().unwrap_or_default();
            let message = format!(
                "its entry `{name}` is compressed, which PyTorch never does: save it again with torch.save"
            );
            return Err(io::Error::other(message));
        }
    }
    Ok(())
}

/// Where the directory ends, and the end record, if an entry begins where the directory would be looked for.
fn misread(file: &mut File, length: u64) -> io::Result<Option<(u64, [u8; END_LENGTH as usize])>> {
    let Some(at) = length.checked_sub(END_LENGTH) else {
        return Ok(None);
    };
    let mut end = [0; END_LENGTH as usize];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut end)?;
    let number = |from: usize| {
        let bytes = [end[from], end[from + 1], end[from + 2], end[from + 3]];
        u64::from(u32::from_le_bytes(bytes))
    };
    let (size, start) = (number(12), number(16));
    let directory = start + size;
    if !end.starts_with(END) || directory >= at {
        return Ok(None);
    }
    let mut there = [0; 4];
    file.seek(SeekFrom::Start(at - size))?;
    file.read_exact(&mut there)?;
    Ok((there == *ENTRY).then_some((directory, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_entries_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pth");
        let bytes = archive(10);
        std::fs::write(&path, &bytes).unwrap();
        check(&path).unwrap();
        let mut packed = bytes.clone();
        let entry = packed.windows(4).position(|w| w == ENTRY).unwrap();
        packed[entry + 10] = 8;
        std::fs::write(&path, packed).unwrap();
        let error = check(&path).unwrap_err().to_string();
        assert!(error.contains("`aaaaaaaaaa` is compressed"), "{error}");
        std::fs::write(&path, &bytes[..bytes.len() - 30]).unwrap();
        let error = check(&path).unwrap_err().to_string();
        assert!(error.contains("cut off or damaged"), "{error}");
        std::fs::write(&path, b"\x80\x02}").unwrap();
        check(&path).unwrap();
    }

    /// An archive of two empty entries, the first of which has a name of `letters` letters, and a record of 76 bytes.
    fn archive(letters: usize) -> Vec<u8> {
        let (mut bytes, mut directory) = (Vec::new(), Vec::new());
        for name in ["a".repeat(letters), "b".repeat(40)] {
            let offset = bytes.len() as u32;
            let length = (name.len() as u16).to_le_bytes();
            bytes.extend(b"PK\x03\x04");
            bytes.extend([0; 22]);
            bytes.extend(length);
            bytes.extend([0; 2]);
            bytes.extend(name.bytes());
            directory.extend(ENTRY);
            directory.extend([0; 24]);
            directory.extend(length);
            directory.extend([0; 12]);
            directory.extend(offset.to_le_bytes());
            directory.extend(name.bytes());
        }
        let start = bytes.len() as u32;
        bytes.extend(&directory);
        bytes.extend([7; 76]);
        bytes.extend(END);
        bytes.extend([0, 0, 0, 0, 2, 0, 2, 0]);
        bytes.extend((directory.len() as u32).to_le_bytes());
        bytes.extend(start.to_le_bytes());
        bytes.extend([0, 0]);
        bytes
    }

    #[test]
    fn only_what_would_be_misread_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pth");
        for letters in [10, 29, 31] {
            std::fs::write(&path, archive(letters)).unwrap();
            assert!(repaired(&path).unwrap().is_none(), "{letters}");
        }
        let bytes = archive(30);
        std::fs::write(&path, &bytes).unwrap();
        let copy = repaired(&path).unwrap().expect("a copy");
        let end = bytes.len() - END_LENGTH as usize;
        let wanted = [&bytes[..end - 76], &bytes[end..]].concat();
        assert_eq!(std::fs::read(&copy).unwrap(), wanted);
        assert_eq!(
            std::fs::read(&path).unwrap(),
            bytes,
            "the file itself stays"
        );
        for short in [&b""[..], b"PK", &bytes[..50]] {
            std::fs::write(&path, short).unwrap();
            assert!(repaired(&path).unwrap().is_none());
        }
    }
}
