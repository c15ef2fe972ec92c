//! The archives that a recipe names: paths and addresses with braces, and patterns of file names.

use std::path::{Path, PathBuf};

use crate::error::{DataError, Invalid, ensure};
use crate::own::download;
use crate::progress::{OnProgress, Progress};

/// Most archives of a data set.
const MOST: usize = 100_000;

/// An archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shard {
    /// On this machine.
    Local(PathBuf),
    /// To be downloaded.
    Address(String),
}

/// All archives that a recipe names, in order.
///
/// # Errors
/// Braces that are not closed or mean nothing, too many archives, an address that is not `https:` or `file:`, a pattern that
/// no file has.
pub(crate) fn list(places: &[String]) -> Result<Vec<Shard>, DataError> {
    let mut shards = Vec::new();
    for place in places {
        let fail = |e: Invalid| DataError::content(Path::new(place), e);
        for place in expand(place).map_err(fail)? {
            shards.extend(one(&place).map_err(fail)?);
            if shards.len() > MOST {
                return Err(fail(too_many()));
            }
        }
    }
    Ok(shards)
}

fn too_many() -> Invalid {
    Invalid(format!("it means more than {MOST} archives"))
}

/// The archives of a place without braces.
fn one(place: &str) -> Result<Vec<Shard>, Invalid> {
    if let Some((scheme, _)) = place.split_once("://") {
        ensure!(
            ["https", "file"].contains(&scheme),
            "only https: and file: addresses are downloaded"
        );
        ensure!(!place.contains('*'), "addresses cannot have a `*`");
        return Ok(vec![Shard::Address(place.to_owned())]);
    }
    if !place.contains('*') {
        return Ok(vec![Shard::Local(place.into())]);
    }
    let (folder, pattern) = place.rsplit_once('/').unwrap_or((".", place));
    ensure!(
        !folder.contains('*'),
        "only the name of a file can have a `*`"
    );
    let pattern = format!("{}/{pattern}", glob::Pattern::escape(folder));
    let paths = glob::glob(&pattern).map_err(|e| Invalid(e.to_string()))?;
    let mut paths: Vec<PathBuf> = paths.flatten().filter(|path| path.is_file()).collect();
    ensure!(!paths.is_empty(), "no file has such a name");
    paths.sort();
    Ok(paths.into_iter().map(Shard::Local).collect())
}

/// Every text that braces stand for: `{008..010}` for 008, 009 and 010; `{a,b}` for a and b.
fn expand(text: &str) -> Result<Vec<String>, Invalid> {
    let Some((before, rest)) = text.split_once('{') else {
        return Ok(vec![text.to_owned()]);
    };
    let Some((inside, after)) = rest.split_once('}') else {
        return Err(Invalid("a `{` is not closed".into()));
    };
    let ends = expand(after)?;
    let mut all = Vec::new();
    for choice in choices(inside)? {
        let texts = ends.iter().map(|end| format!("{before}{choice}{end}"));
        all.extend(texts);
        if all.len() > MOST {
            return Err(too_many());
        }
    }
    Ok(all)
}

fn choices(inside: &str) -> Result<Vec<String>, Invalid> {
    let Some((first, last)) = inside.split_once("..") else {
        ensure!(
            inside.contains(','),
            "{{{inside}}} must be a range such as {{000..009}}, or a list such as {{a,b}}"
        );
        return Ok(inside.split(',').map(str::to_owned).collect());
    };
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse::<usize>().ok().filter(|_| is_number);
        number.ok_or_else(|| Invalid(format!("{text:?} in {{{inside}}} is not a number")))
    };
    let (from, to) = (number(first)?, number(last)?);
    ensure!(from <= to, "{{{inside}}} counts down");
    if to - from >= MOST {
        return Err(too_many());
    }
    // Zeros in front of the first number say how many digits all of them have.
    let digits = if first.starts_with('0') {
        first.len()
    } else {
        0
    };
    let names = (from..=to).map(|number| format!("{number:0digits$}"));
    Ok(names.collect())
}

/// The archives on this machine; what has an address is downloaded into the cache first.
///
/// # Errors
/// No folder for downloads, a download that fails, a full disk.
pub(crate) fn collect(
    shards: &[Shard],
    cache: Option<&Path>,
    progress: OnProgress<'_>,
) -> Result<Vec<PathBuf>, DataError> {
    let mut paths = Vec::new();
    for (done, shard) in shards.iter().enumerate() {
        paths.push(match shard {
            Shard::Local(path) => path.clone(),
            Shard::Address(address) => {
                progress(Progress {
                    step: "downloads",
                    item: address,
                    done,
                    total: shards.len(),
                });
                let cache = cache.ok_or_else(|| {
                    let message = "a folder for downloads is needed: name it with `cache`";
                    DataError::content(Path::new(address), message)
                })?;
                download::fetch(address, cache)?
            }
        });
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_stand_for_ranges_and_lists() {
        let all = |text: &str| expand(text).unwrap();
        assert_eq!(all("a.tar"), ["a.tar"]);
        assert_eq!(
            all("s-{008..010}.tar"),
            ["s-008.tar", "s-009.tar", "s-010.tar"]
        );
        assert_eq!(all("{9..10}"), ["9", "10"]);
        assert_eq!(all("{a,b}/{0..1}"), ["a/0", "a/1", "b/0", "b/1"]);
        for (text, expected) in [
            ("a{0..1", "not closed"),
            ("a{0..x}", "\"x\""),
            ("a{3..1}", "counts down"),
            ("a{b}", "such as"),
            ("{0..999999999}", "more than"),
            ("{0..999}{0..999}", "more than"),
        ] {
            let error = expand(text).unwrap_err().0;
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn places_are_paths_patterns_and_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["b.tar", "a.tar", "c.txt"] {
            std::fs::write(at(name), b"").unwrap();
        }
        let text = |path: PathBuf| path.display().to_string();
        let shards = list(&[text(at("*.tar")), "https://h/{0..1}.tar".into()]).unwrap();
        let expected = [
            Shard::Local(at("a.tar")),
            Shard::Local(at("b.tar")),
            Shard::Address("https://h/0.tar".into()),
            Shard::Address("https://h/1.tar".into()),
        ];
        assert_eq!(shards, expected);
        for (place, expected) in [
            (text(at("*.zip")), "no file has such a name"),
            ("x/*/a.tar".into(), "only the name"),
            ("http://h/a.tar".into(), "only https"),
            ("https://h/*.tar".into(), "cannot have"),
        ] {
            let error = list(&[place]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
