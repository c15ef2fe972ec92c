//! Paths as text, whatever their bytes: pipelines are text, and the names of files on Unix are not.
//!
//! A byte that is not part of UTF-8 stands as one of the last 128 private characters of Unicode, U+10FF80 to U+10FFFF, which no
//! name is known to use. Every other path is its own text.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The character that stands for byte 0.
const FIRST: u32 = 0x10_FF00;

/// A path as text.
pub fn to_text(path: impl AsRef<OsStr>) -> String {
    let path = path.as_ref();
    let chunks = path.as_encoded_bytes().utf8_chunks();
    let escape = |&byte: &u8| char::from_u32(FIRST + u32::from(byte));
    chunks
        .flat_map(|chunk| {
            chunk
                .valid()
                .chars()
                .chain(chunk.invalid().iter().filter_map(escape))
        })
        .collect()
}

/// The path that a text stands for.
pub fn to_path(text: &str) -> Cow<'_, Path> {
    if !text.chars().any(|c| escaped(c).is_some()) {
        return Cow::Borrowed(Path::new(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match escaped(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(PathBuf::from(from_bytes(bytes)))
}

/// The byte that a character stands for.
fn escaped(c: char) -> Option<u8> {
    let byte = u8::try_from(u32::from(c).checked_sub(FIRST)?).ok()?;
    (byte >= 0x80).then_some(byte)
}

#[cfg(unix)]
fn from_bytes(bytes: Vec<u8>) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

#[cfg(not(unix))]
fn from_bytes(bytes: Vec<u8>) -> OsString {
    String::from_utf8_lossy(&bytes).into_owned().into()
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn every_path_comes_back() {
        let cases: [&[u8]; 6] = [
            b"",
            b"a/b.png",
            "caf\u{e9}/\u{732b}.png".as_bytes(),
            b"caf\xe9.png",
            b"\xff\xfe\x80/\xe7\x8c.png",
            b"\xed\xa0\x80",
        ];
        for bytes in cases {
            let path = Path::new(OsStr::from_bytes(bytes));
            let text = to_text(path);
            assert_eq!(to_path(&text), path, "{text:?}");
            let is_text = path.to_str() == Some(text.as_str());
            assert_eq!(is_text, std::str::from_utf8(bytes).is_ok(), "{text:?}");
        }
        assert_eq!(to_text(OsStr::from_bytes(b"caf\xe9")), "caf\u{10ffe9}");
    }
}
