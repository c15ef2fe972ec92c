//! Results of a command: text on standard output, JSON files.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

/// Prints to standard output. A reader that has closed the pipe, such as `head`, is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}

/// Writes a report as indented JSON.
pub(crate) fn write_json(path: &Path, report: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(report)? + "\n";
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
