//! The program `curl`, which does all network transfers: proxies, certificates and the like are those of the machine.

use std::io::{self, Write};
use std::process::{Command, Stdio};

/// Why curl gave no result.
#[derive(Debug, thiserror::Error)]
pub enum CurlError {
    /// There is no such program.
    #[error("the program `curl` is not installed")]
    NotInstalled,
    /// It could not be started or watched.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It ended with an error.
    #[error("{message}")]
    Failed {
        /// Its exit code; -1 if a signal ended it.
        code: i32,
        /// Its complaint.
        message: String,
    },
}

/// Runs curl and returns its standard output. `show` lets it write to this program's standard error.
///
/// `settings` are lines as in its configuration files. They go through standard input: everybody on the machine can read a
/// command line, and a token must not be there.
///
/// # Errors
/// curl is not installed, or ends with an error.
pub fn run(args: &[&str], settings: &str, show: bool) -> Result<Vec<u8>, CurlError> {
    let stderr = if show {
        Stdio::inherit()
    } else {
        Stdio::piped()
    };
    let child = Command::new("curl")
        .args(["--config", "-"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn();
    let mut child = child.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => CurlError::NotInstalled,
        _ => e.into(),
    })?;
    if let Some(mut input) = child.stdin.take() {
        // If curl ends before it has read everything, its exit code says why.
        let _ = input.write_all(settings.as_bytes());
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let code = output.status.code().unwrap_or(-1);
    let message = match complaint(&String::from_utf8_lossy(&output.stderr)) {
        "" => format!("curl ended with code {code}"),
        complaint => complaint.to_owned(),
    };
    Err(CurlError::Failed { code, message })
}

/// The last complaint, without `curl: (CODE)` before it.
fn complaint(stderr: &str) -> &str {
    let last = stderr.trim().rsplit("curl: ").next().unwrap_or_default();
    let last = last.trim();
    last.split_once(") ").map_or(last, |(_, reason)| reason)
}

/// The setting that sends a token.
pub fn bearer(token: &str) -> String {
    let token: String = token.chars().filter(char::is_ascii_graphic).collect();
    setting("header", &format!("Authorization: Bearer {token}"))
}

/// One setting, whatever its value holds.
pub fn setting(key: &str, value: &str) -> String {
    let mut line = format!("{key} = \"");
    for c in value.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            c => line.push(c),
        }
    }
    line + "\"\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_one_line() {
        assert_eq!(
            setting("data", "a \"b\"\\\n"),
            "data = \"a \\\"b\\\"\\\\\\n\"\n"
        );
        let token = bearer("se cret\n\"x");
        assert_eq!(token, "header = \"Authorization: Bearer secret\\\"x\"\n");
    }
}
