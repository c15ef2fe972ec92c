//! `nextscale metadata`.

use std::path::PathBuf;

use clap::Args;

use nextscale_pipelines::error::PipelineError;

#[derive(Debug, Args)]
pub(crate) struct MetadataArgs {
    /// Image or video
    file: PathBuf,
}

pub(crate) fn run(args: &MetadataArgs) -> anyhow::Result<()> {
    let texts = nextscale_pipelines::media::tags(&args.file)?;
    if texts.is_empty() {
        return Err(PipelineError::content(&args.file, "contains no metadata", None).into());
    }
    let texts = texts
        .iter()
        .map(|(key, text)| format!("{}:\n{}", escaped(key), escaped(text)));
    crate::output::print(&texts.collect::<Vec<_>>().join("\n\n"))
}

/// A text without characters that command a terminal: a file may come from anywhere.
fn escaped(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_command_the_terminal() {
        assert_eq!(escaped("a\n\tb \u{1f98a}"), "a\n\tb \u{1f98a}");
        assert_eq!(escaped("\x1b[2J\r\u{9b}1m"), "\\u{1b}[2J\\u{d}\\u{9b}1m");
    }
}
