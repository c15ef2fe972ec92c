//! The program `curl`, which does everything that needs a network: proxies, certificates and the like are those of the
//! machine.

use std::io::Write;
use std::process::{Command, Stdio};

/// Runs it; gives back what it printed, or its exit code and what it complained about, which it shows itself with `show`.
///
/// `settings` are lines as in its configuration files. They go through standard input: a token on the command line could be
/// read by everybody on the machine.
pub fn run(args: &[&str], settings: &str, show: bool) -> Result<Vec<u8>, (i32, String)> {
    let start = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => (-1, "the program `curl` is not installed".to_owned()),
        _ => (-1, e.to_string()),
    };
    let stderr = if show {
        Stdio::inherit()
    } else {
        Stdio::piped()
    };
    let mut child = Command::new("curl")
        .args(["--config", "-"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .map_err(start)?;
    if let Some(mut input) = child.stdin.take() {
        // One that ends before it has read all says why.
        let _ = input.write_all(settings.as_bytes());
    }
    let output = child.wait_with_output().map_err(start)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said
        .trim()
        .rsplit("curl: ")
        .next()
        .unwrap_or_default()
        .trim();
    let said = said.split_once(") ").map_or(said, |(_, reason)| reason);
    let code = output.status.code().unwrap_or(-1);
    match said.is_empty() {
        true => Err((code, format!("curl ended with code {code}"))),
        false => Err((code, said.to_owned())),
    }
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
