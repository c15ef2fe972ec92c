//! The names of results: placeholders, and what every file system accepts.

use std::path::{Path, PathBuf};

use nextscale_files::{atomic_file, path_text};
use unicode_normalization::char::is_combining_mark;

use super::prompts::PromptsParams;
use crate::artifact::Sample;
use crate::error::{Diagnostic, PipelineError};
use crate::settings::Settings;
use crate::setup::Setup;

/// Bytes of a prompt in a name: with a seed it still fits where names have 143 bytes, as in encrypted homes.
const LONGEST_PROMPT: usize = 100;
/// Bytes of a name that nearly every file system accepts.
const LONGEST_NAME: usize = 255;
/// Names that Windows reserves for devices; also with an extension, and with a digit after the last two.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];

/// Whether results go into a folder under names of their own.
pub(super) fn is_folder(output: &str) -> bool {
    output.ends_with(['/', std::path::MAIN_SEPARATOR]) || path_text::to_path(output).is_dir()
}

/// Refuses an output that cannot be written, before any weight is loaded: a folder that is missing, a name that no file system
/// accepts, a file that is there already and must stay.
pub(super) fn check_file(output: &str, key: &str, setup: &Setup) -> Result<(), Diagnostic> {
    let path = &*path_text::to_path(output);
    if atomic_file::is_stream(path) {
        return Ok(());
    }
    check_folder(atomic_file::folder_of(path), key, setup)?;
    let name = path.file_name().unwrap_or_default();
    let length = fixed_length(&name.to_string_lossy());
    if length > LONGEST_NAME {
        let message = format!("a file name of {length} bytes is too long");
        let hint = format!("names have up to {LONGEST_NAME} bytes");
        return Err(setup.refuse(key, message).hint(hint));
    }
    if !setup.settings.share.is_first() {
        // What is there may be what another process of the run has just written. Each looks again when it writes.
        return Ok(());
    }
    let checked = check_replacing(path, setup.settings);
    checked.map(drop).map_err(|e| setup.refuse_error(key, &e))
}

/// Refuses a name that several results would have and that several processes or devices would write at the same time.
pub(super) fn check_unique(output: &str, key: &str, setup: &Setup) -> Result<(), Diagnostic> {
    let settings = setup.settings;
    let is_alone = !settings.share.is_split() && !settings.device.are_several();
    if is_alone || output.contains("{index}") || !output.contains("{seed}") {
        return Ok(());
    }
    if setup.all::<PromptsParams>().any(|all| all.repeats_seeds()) {
        let message = format!(
            "`seeds` has a seed for several results, which several processes or devices would all write to `{output}`"
        );
        let hint = "give each result a name of its own: --output NAME-{index}.png";
        return Err(setup.refuse(key, message).hint(hint));
    }
    Ok(())
}

/// Whether a file of that name is there and is going to be replaced.
///
/// # Errors
/// It is there, and files are not to be replaced.
pub(super) fn check_replacing(path: &Path, settings: &Settings) -> Result<bool, PipelineError> {
    let is_there = path.is_file();
    if is_there && !settings.overwrite {
        let message = format!(
            "`{}` exists already, and files are not to be replaced",
            path.display()
        );
        let hint = "give another name, or allow it: --overwrite";
        return Err(PipelineError::refused_with(message, hint));
    }
    Ok(is_there)
}

/// The notice of a file that is replaced.
pub(super) fn replaced(path: &Path) -> String {
    format!("`{}` is replaced", path.display())
}

/// Bytes of a name whose prompts are left out and whose numbers are the longest.
fn fixed_length(name: &str) -> usize {
    let longest = u64::MAX.to_string();
    let name = name.replace("{seed}", &longest).replace("{index}", "00000");
    name.replace("{prompt}", "").len()
}

/// Refuses a folder that does not exist or cannot be written to, before any weight is loaded.
pub(super) fn check_folder(folder: &Path, key: &str, setup: &Setup) -> Result<(), Diagnostic> {
    let shown = folder.display();
    if !folder.exists() {
        let message = format!("the folder `{shown}` does not exist");
        let hint = format!("create it: mkdir -p '{shown}'");
        return Err(setup.refuse(key, message).hint(hint));
    }
    if !folder.is_dir() {
        return Err(setup.refuse(key, format!("`{shown}` is not a folder")));
    }
    let probe = atomic_file::hidden_in(folder);
    probe.map(drop).map_err(|e| {
        setup.refuse(
            key,
            format!("the folder `{shown}` cannot be written to: {e}"),
        )
    })
}

/// A name with its placeholders filled in.
pub(super) fn fill(output: &str, sample: &Sample) -> String {
    let name = Path::new(output).file_name().unwrap_or_default();
    let room = LONGEST_NAME.saturating_sub(fixed_length(&name.to_string_lossy()));
    let prompts = output.matches("{prompt}").count().max(1);
    output
        .replace("{index}", &format!("{:05}", sample.index))
        .replace("{seed}", &sample.seed.to_string())
        .replace("{prompt}", &slug(&sample.prompt, room / prompts))
}

/// A filled name, with a number before the extension if several results would have it.
pub(super) fn numbered(output: &str, filled: &str, sample: &Sample) -> PathBuf {
    let unique = ["{index}", "{seed}"].iter().any(|p| output.contains(p));
    let path = path_text::to_path(filled).into_owned();
    if unique || sample.total < 2 || atomic_file::is_stream(&path) {
        return path;
    }
    with_suffix(&path, &format!("{:05}", sample.index))
}

/// A name with a suffix before its extension.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{suffix}."));
    name.push(path.extension().unwrap_or_default());
    path.with_file_name(name)
}

/// A prompt as part of a file name: its letters and digits in words, in at most `room` bytes; `image` if it has none.
fn slug(prompt: &str, room: usize) -> String {
    let is_part = |c: char| c.is_alphanumeric() || is_combining_mark(c);
    let words = prompt
        .split(|c| !is_part(c))
        .filter(|word| !word.is_empty());
    let all = words.collect::<Vec<_>>().join("-");
    let slug = cut(&all, room.min(LONGEST_PROMPT));
    if slug.is_empty() {
        return "image".into();
    }
    let lower = slug.to_ascii_lowercase();
    let device = lower.trim_end_matches(|c: char| c.is_ascii_digit());
    if DEVICES.contains(&device) {
        return format!("{slug}_");
    }
    slug.to_owned()
}

/// The beginning of a text in at most `room` bytes, without half a letter at its end.
fn cut(text: &str, room: usize) -> &str {
    let mut end = text.floor_char_boundary(room);
    // A letter keeps its marks: the first that is left out must not be one.
    while text[end..].starts_with(is_combining_mark) {
        end = text.floor_char_boundary(end - 1);
    }
    text[..end].trim_end_matches('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_become_names_that_every_system_accepts() {
        let slug = |prompt: &str| super::slug(prompt, 200);
        assert_eq!(slug("A red apple, 3d style!"), "A-red-apple-3d-style");
        assert_eq!(slug("../../etc/passwd"), "etc-passwd");
        for empty in ["\u{1f98a}", "", "...", "<>:\"/\\|?*"] {
            assert_eq!(slug(empty), "image", "{empty}");
        }
        for device in ["CON", "nul", "com1", "LPT9"] {
            assert_eq!(slug(device), format!("{device}_"));
        }
        assert_eq!(slug("con artist"), "con-artist");
        // Letters of four bytes, and letters with marks of three.
        let long = slug(&"\u{1d41a}".repeat(80));
        assert_eq!(long.len(), 100);
        let thai = "\u{e01}\u{e33}\u{e25}\u{e31}\u{e07}";
        assert_eq!(slug(thai), thai);
        let hindi = "\u{915}\u{93f}".repeat(30);
        let cut = slug(&hindi);
        assert!(cut.len() <= 100 && cut.ends_with("\u{915}\u{93f}"), "{cut}");
    }

    #[test]
    fn a_name_fits_with_its_numbers() {
        let sample = Sample {
            index: 3,
            total: 1,
            seed: u64::MAX,
            prompt: "word ".repeat(99),
            ..Sample::default()
        };
        let name = fill(
            &format!("{}{{prompt}}-{{seed}}.png", "x".repeat(200)),
            &sample,
        );
        assert!(name.len() <= 255, "{}", name.len());
        assert_eq!(fixed_length("{prompt}-{index}.png"), 10);
    }
}
