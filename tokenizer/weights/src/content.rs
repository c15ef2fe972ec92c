//! What a file holds, by its content: its name may say something else.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::error::WeightError;

/// A format of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// A header in JSON, then the numbers.
    Safetensors,
    /// A ZIP archive or a bare pickle of PyTorch.
    PyTorch,
}

/// Bytes of the longest header of a safetensors file that is believed; that of the `safetensors` library.
const LONGEST_HEADER: u64 = 100_000_000;

/// Endings of the names under which download programs keep what they have so far.
const UNFINISHED: [&str; 5] = ["incomplete", "part", "partial", "crdownload", "aria2"];

/// The format of a file.
///
/// # Errors
/// [`WeightError::Read`] with what the file is instead: a pointer of Git LFS, a web page, half a download, empty, a link to
/// nothing, or something else.
pub(crate) fn of(path: &Path) -> Result<Content, WeightError> {
    let fail = |reason: String| Err(WeightError::read(path, reason));
    if let Some(target) = dangling(path) {
        let target = target.display();
        return fail(format!(
            "it is a link to `{target}`, which is gone: download it again"
        ));
    }
    let start = start_of(path).map_err(|e| WeightError::read(path, e))?;
    if let Some(content) = recognised(&start) {
        return Ok(content);
    }
    fail(instead(path, &start).to_owned())
}

/// Where a symbolic link points to, if nothing is there.
fn dangling(path: &Path) -> Option<std::path::PathBuf> {
    let target = fs::read_link(path).ok()?;
    (!path.exists()).then_some(target)
}

fn start_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut start = vec![];
    File::open(path)?.take(256).read_to_end(&mut start)?;
    Ok(start)
}

fn recognised(start: &[u8]) -> Option<Content> {
    if start.starts_with(b"PK\x03\x04") || matches!(start, [0x80, 2..=5, ..]) {
        return Some(Content::PyTorch);
    }
    let (size, header) = start.split_first_chunk::<8>()?;
    let size = u64::from_le_bytes(*size);
    (header.starts_with(b"{") && (2..=LONGEST_HEADER).contains(&size))
        .then_some(Content::Safetensors)
}

/// What a file is that holds no weights.
fn instead(path: &Path, start: &[u8]) -> &'static str {
    let text = start.trim_ascii_start().to_ascii_lowercase();
    let begins = |with: &str| text.starts_with(with.as_bytes());
    let extension = path.extension().and_then(|e| e.to_str());
    if start.is_empty() {
        "it is empty: download it again"
    } else if extension.is_some_and(|e| UNFINISHED.contains(&e)) {
        "it is an unfinished download: let the download finish, or start it again"
    } else if begins("version https://git-lfs") {
        "it is a Git LFS pointer, not the weights: run `git lfs pull` in its folder, or download the file itself"
    } else if begins("<!doctype") || begins("<html") {
        "it is a web page, not the weights: download the file itself, not its page"
    } else if begins("{") || begins("[") || begins("<?xml") {
        "it is text, not weights: perhaps the error message of a server; download it again"
    } else if start.starts_with(&[0x1f, 0x8b]) || start.starts_with(b"7z\xbc\xaf") {
        "it is a compressed archive: unpack it first"
    } else if start.iter().all(|&byte| byte == 0) {
        "it begins with zeros only: the download is unfinished or the file is damaged"
    } else {
        "it is neither a safetensors file nor one of PyTorch"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_no_weights_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 88\n";
        let cases: [(&[u8], &str); 7] = [
            (b"", "is empty"),
            (lfs.as_bytes(), "Git LFS pointer"),
            (b"\n<!DOCTYPE html><html>", "web page"),
            (b"{\"error\": \"not found\"}", "error message of a server"),
            (b"\x1f\x8b\x08\x00", "unpack it first"),
            (&[0; 64], "zeros only"),
            (b"hello, world, hello", "neither"),
        ];
        for (bytes, reason) in cases {
            fs::write(&path, bytes).unwrap();
            let error = of(&path).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let half = folder.path().join("model.pth.incomplete");
        fs::write(&half, b"x").unwrap();
        assert!(of(&half).unwrap_err().to_string().contains("unfinished"));
        assert!(of(&folder.path().join("none")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_nothing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("model.pth");
        std::os::unix::fs::symlink("../blobs/abc", &link).unwrap();
        let error = of(&link).unwrap_err().to_string();
        assert!(error.contains("link to `../blobs/abc`"), "{error}");
    }

    #[test]
    fn the_content_counts_and_not_the_name() {
        let mut header = 20u64.to_le_bytes().to_vec();
        header.extend(b"{\"a\": {}}");
        assert_eq!(recognised(&header), Some(Content::Safetensors));
        header[7] = 1;
        assert_eq!(recognised(&header), None);
        assert_eq!(recognised(b"PK\x03\x04"), Some(Content::PyTorch));
        assert_eq!(recognised(&[0x80, 2, 0x8a]), Some(Content::PyTorch));
    }
}
