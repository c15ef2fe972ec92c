//! The command as a user meets it, on a tiny model with random weights.

mod bad_input;
mod bench;
mod classes;
#[cfg(target_os = "linux")]
mod containers;
mod convert;
mod edit;
mod eval;
#[cfg(unix)]
mod faults;
mod fetch;
mod generate;
mod http;
mod instruct;
mod interrupt;
mod library;
mod metrics;
mod models;
mod ranks;
mod rewrite;
mod scales;
mod sharing;
mod tiny;
#[cfg(feature = "mpi")]
mod together;
#[cfg(feature = "ffmpeg")]
mod video;
mod warm_up;
mod wild;
#[cfg(not(feature = "ffmpeg"))]
mod without_ffmpeg;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use image::RgbImage;

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

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn image(&self, name: &str) -> RgbImage {
        image::open(self.path(name)).unwrap().into_rgb8()
    }

    pub(crate) fn make_dir(&self, name: &str) -> PathBuf {
        std::fs::create_dir(self.path(name)).unwrap();
        self.path(name)
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nextscale"));
        command
            .args(words(line))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs a command that must succeed.
    pub(crate) fn good(&self, line: &str) -> Output {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", stderr(&output));
        output
    }

    /// Runs a command that must fail with an error, which is returned.
    pub(crate) fn refused(&self, line: &str) -> String {
        let output = self.run(line);
        let text = stderr(&output);
        assert!(!output.status.success(), "{line} went well: {text}");
        assert!(text.contains("error: "), "{line}: {text}");
        assert!(!text.contains("panicked"), "{line}: {text}");
        text
    }

    /// Runs a command that must fail with an error that contains all parts.
    #[track_caller]
    pub(crate) fn refuses(&self, line: &str, parts: &[&str]) {
        says(&self.refused(line), parts);
    }

    /// Runs `first` with the arguments of each row of a table, which must fail with one error that contains all parts of the
    /// row, and leave every file as it was.
    #[track_caller]
    pub(crate) fn refuses_each(&self, first: &str, table: &str) {
        for (more, parts) in rows(table) {
            let before = self.files(".");
            let said = self.refused(&format!("{first} {more}"));
            says(&said, &parts);
            let errors = said.lines().filter(|line| line.starts_with("error: "));
            assert_eq!(errors.count(), 1, "{more}: {said}");
            assert_eq!(self.files("."), before, "{more}");
        }
    }

    /// Runs a command that must succeed and write the file `out`, whose bytes are returned.
    pub(crate) fn make(&self, line: &str, out: &str) -> Vec<u8> {
        self.good(&format!("{line} -o {out}"));
        self.read(out)
    }

    /// What a command prints that must succeed.
    pub(crate) fn stdout(&self, line: &str) -> String {
        String::from_utf8(self.good(line).stdout).unwrap()
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

/// The arguments of a line, split at blanks. Single quotes keep blanks together, and `@tiny`, `@classes`, `@video` and
/// `@instruct` are the folders of the tiny models.
pub(crate) fn words(line: &str) -> impl Iterator<Item = String> {
    line.split('\'').enumerate().flat_map(|(i, part)| {
        if i % 2 == 1 {
            vec![part.to_owned()]
        } else {
            part.split_whitespace().map(word).collect()
        }
    })
}

fn word(word: &str) -> String {
    let folder = match word {
        "@tiny" => tiny::model(),
        "@classes" => tiny::class_model(),
        "@video" => tiny::video_model(),
        "@instruct" => instruct::model(),
        _ => return word.to_owned(),
    };
    folder.display().to_string()
}

/// The rows of a table, one a line: `KEY => PART | PART`.
pub(crate) fn rows(table: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    let lines = table.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| {
        let (key, parts) = line.split_once("=> ").expect("a row with =>");
        (key.trim(), parts.split(" | ").map(str::trim).collect())
    })
}

/// Asserts that a message contains all parts.
#[track_caller]
pub(crate) fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Sends a signal to a run after it has written `count` files, which end with `extension`. It must stop with exit code 130;
/// returns what it says from then on.
#[cfg(unix)]
pub(crate) fn signal_after(
    child: &mut std::process::Child,
    signal: libc::c_int,
    extension: &str,
    count: usize,
) -> String {
    let process = child.id();
    signal_process_after(child, || process, signal, extension, count)
}

/// As [`signal_after`], for a child that starts the process which gets the signal.
#[cfg(unix)]
pub(crate) fn signal_process_after(
    child: &mut std::process::Child,
    process: impl FnOnce() -> u32,
    signal: libc::c_int,
    extension: &str,
    count: usize,
) -> String {
    use std::io::{BufRead, BufReader};

    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    let made = lines.by_ref().filter(|line| line.ends_with(extension));
    assert_eq!(made.take(count).count(), count, "files before the signal");
    // SAFETY: the process runs, so its number is that of no other one.
    assert_eq!(unsafe { libc::kill(process() as libc::pid_t, signal) }, 0);
    let rest = lines.collect::<Vec<_>>().join("\n");
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    rest
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
