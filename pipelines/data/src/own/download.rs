//! Downloads of archives into a folder where they stay. One that was cut off goes on where it stopped.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nextscale_files::checksum;
use nextscale_files::curl::{self, CurlError};

use crate::error::DataError;
use crate::own::space;

/// How often a transfer that breaks is taken up again.
const TRIES: usize = 4;
/// curl's exit codes for transfers that broke: partial file, timeout, empty reply, error while receiving.
const BROKEN: [i32; 4] = [18, 28, 52, 56];
/// The exit code for a server that only sends files from their beginning.
const NO_RANGES: i32 = 33;

/// Downloads what an address holds, unless that was done before.
///
/// # Errors
/// No curl, a network or a server that does not answer, a full disk, a file that is not as long as the server says.
pub(crate) fn fetch(address: &str, cache: &Path) -> Result<PathBuf, DataError> {
    fs::create_dir_all(cache).map_err(|e| DataError::write(cache, e))?;
    let name = name_of(address);
    let path = cache.join(&name);
    let part = cache.join(format!(".{name}.part"));
    if path.is_file() {
        return Ok(path);
    }
    let lock = open(&part).map_err(|e| DataError::write(&part, e))?;
    // Another run may have finished it in the meantime.
    if path.is_file() {
        let _ = fs::remove_file(&part);
        return Ok(path);
    }
    complete(address, &part)?;
    fs::rename(&part, &path).map_err(|e| DataError::write(&path, e))?;
    drop(lock);
    Ok(path)
}

/// The part, locked: one run at a time writes to it.
fn open(part: &Path) -> io::Result<File> {
    let file = File::options().append(true).create(true).open(part)?;
    // Where a file system knows no locks, only one run at a time may use it.
    let _ = file.lock();
    Ok(file)
}

/// Brings a part to its full length.
fn complete(address: &str, part: &Path) -> Result<(), DataError> {
    let failed = |reason: String| DataError::Shard {
        address: address.to_owned(),
        reason,
    };
    let length = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
    let expected = stated_length(address);
    if let Some(expected) = expected {
        if length(part) > expected {
            File::create(part).map_err(|e| DataError::write(part, e))?;
        }
        if length(part) == expected && expected > 0 {
            return Ok(());
        }
        space::check(part, expected - length(part))?;
    }
    transfer(address, part).map_err(|e| failed(e.to_string()))?;
    let found = length(part);
    match expected {
        Some(expected) if expected != found => {
            let _ = fs::remove_file(part);
            Err(failed(format!(
                "{found} bytes arrived instead of {expected}"
            )))
        }
        _ => Ok(()),
    }
}

#[rustfmt::skip]
const ALWAYS: [&str; 10] = [
    "--fail", "--silent", "--show-error", "--location",
    "--proto", "=https,file", "--proto-redir", "=https", "--connect-timeout", "20",
];

fn transfer(address: &str, part: &Path) -> Result<(), CurlError> {
    let path = part.display().to_string();
    let mut args = ALWAYS.to_vec();
    args.extend(["--continue-at", "-", "--output", &path, address]);
    let mut left = TRIES;
    loop {
        left -= 1;
        match curl::run(&args, "", false) {
            Err(CurlError::Failed { code, .. }) if left > 0 && code == NO_RANGES => {
                File::create(part)?;
            }
            Err(CurlError::Failed { code, .. }) if left > 0 && BROKEN.contains(&code) => {}
            done => return done.map(drop),
        }
    }
}

/// How many bytes the server says there are; not every server answers that.
fn stated_length(address: &str) -> Option<u64> {
    let mut args = ALWAYS.to_vec();
    args.extend(["--head", address]);
    let headers = curl::run(&args, "", false).ok()?;
    let headers = String::from_utf8_lossy(&headers);
    // After redirections, the last answer counts.
    let last = headers.lines().rev().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case("content-length").then_some(value)
    });
    last?.trim().parse().ok()
}

/// The name of a download: part of the checksum of its address, and the last part of that.
fn name_of(address: &str) -> String {
    let checksum = checksum::of_bytes(address.as_bytes());
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "._-".contains(*c);
    let name: String = name.chars().filter(is_plain).take(100).collect();
    format!("{}-{name}", &checksum[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_differ_by_address() {
        let name = name_of("https://host/a/../x%20y.tar?token=/../b");
        assert!(name.ends_with("-x20y.tar"), "{name}");
        assert_ne!(name_of("https://a/x.tar"), name_of("https://b/x.tar"));
    }

    #[test]
    fn a_download_goes_on_is_kept_and_never_half_there() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("a.tar");
        fs::write(&source, b"whole content").unwrap();
        let address = format!("file://{}", source.display());
        let cache = folder.path().join("cache");
        fs::create_dir(&cache).unwrap();
        fs::write(
            cache.join(format!(".{}.part", name_of(&address))),
            b"whole ",
        )
        .unwrap();
        let path = fetch(&address, &cache).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole content");
        fs::remove_file(&source).unwrap();
        assert_eq!(fetch(&address, &cache).unwrap(), path, "it is kept");
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 1);
        let error = fetch(&format!("{address}2"), &cache)
            .unwrap_err()
            .to_string();
        assert!(error.contains("a.tar2") && !error.contains('\n'), "{error}");
    }
}
