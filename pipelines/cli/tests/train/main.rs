//! `nextscale train` from images to a model folder, on tiny data sets.

mod classes;
mod comparators;
mod fine_tune;
mod prompts;
#[cfg(feature = "mpi")]
mod ranks;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A folder to work in.
struct Workplace(tempfile::TempDir);

impl Workplace {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nextscale"));
        let args = args.split_whitespace();
        command.args(args).current_dir(self.path());
        command
    }

    /// Runs the command; returns whether it succeeded, and what it told.
    fn run(&self, args: &str) -> (bool, String) {
        let output = self.command(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), text)
    }

    fn succeed(&self, args: &str) -> String {
        let (success, text) = self.run(args);
        assert!(success, "nextscale {args}: {text}");
        text
    }

    /// Runs a command that must fail with a message that has all of these `parts`.
    fn fail(&self, args: &str, parts: &[&str]) {
        let (success, text) = self.run(args);
        assert!(!success, "nextscale {args} should fail");
        assert!(!text.contains("panicked"), "{text}");
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }

    /// The lines of a run's log.
    fn log(&self, run: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path().join(run).join("log.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }
}

/// The numbers of a log under `key`.
fn numbers(lines: &[Value], key: &str) -> Vec<f64> {
    let number = |line: &Value| {
        let number = line[key].as_f64();
        number.unwrap_or_else(|| panic!("{key}: {line}"))
    };
    lines.iter().map(number).collect()
}
