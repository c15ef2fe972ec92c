//! Results of a command: text on standard output, JSON files. Messages without commands to the terminal.

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

/// A text without characters that command a terminal: a file may come from anywhere.
pub(crate) fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Writes a report as indented JSON.
pub(crate) fn write_json(path: &Path, report: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(report)? + "\n";
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_command_the_terminal() {
        assert_eq!(escaped("a\n\tb \u{1f98a}"), "a\n\tb \u{1f98a}");
        assert_eq!(escaped("\x1b[2J\r\u{9b}1m"), "\\u{1b}[2J\\u{d}\\u{9b}1m");
    }
}
