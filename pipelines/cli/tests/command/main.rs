//! The command as a user meets it, on a tiny model with random weights.

mod bad_input;
mod bench;
mod classes;
mod convert;
mod edit;
mod eval;
mod fetch;
mod generate;
mod interrupt;
mod library;
mod models;
mod rewrite;
mod scales;
mod tiny;
#[cfg(feature = "ffmpeg")]
mod video;
#[cfg(not(feature = "ffmpeg"))]
mod without_ffmpeg;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The command, run in a folder of its own.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nextscale"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs what has to go well.
    pub(crate) fn good(&self, args: &[&str]) -> Output {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        output
    }

    /// Runs what has to be refused; gives back what it says. No picture may be left.
    pub(crate) fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let text = stderr(&output);
        assert!(!output.status.success(), "{args:?} went well: {text}");
        assert!(text.contains("error: "), "{args:?}: {text}");
        assert!(!text.contains("panicked"), "{args:?}: {text}");
        text
    }

    /// The names of all files in the folder, hidden ones too, sorted.
    pub(crate) fn files(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A pipeline on the tiny model.
pub(crate) fn pipeline(model: &Path) -> String {
    format!(
        "model: {}
stages:
  prompts:
    stage: prompts
    prompts: [a red house]
  text:
    stage: text-encoder
    from: prompts
  latent:
    stage: text-to-image
    from: text
  image:
    stage: decode
    from: latent
  save:
    stage: save
    from: image
",
        model.display()
    )
}
