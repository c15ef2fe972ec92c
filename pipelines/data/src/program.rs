//! Programs of this machine that the build runs: npm, apt-get, dpkg-deb.

use std::io;
use std::path::Path;
use std::process::Command;

/// Why a program gave no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// There is no such program.
    #[error("{0} is not installed")]
    NotInstalled(String),
    /// It ended with an error.
    #[error("{}", last_line(stderr).unwrap_or(&format!("{program} failed")))]
    Failed {
        program: String,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// It ended well, but did not write the file that it should.
    #[error("{program} wrote no .{extension} file")]
    NoFile {
        program: String,
        extension: &'static str,
    },
    /// It could not be started, or its file could not be moved.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs a program and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>, ProgramError> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Ok(output) if output.status.success() => Ok(output.stdout),
        Ok(output) => Err(ProgramError::Failed {
            program,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(ProgramError::NotInstalled(program)),
        Err(e) => Err(e.into()),
    }
}

/// Runs a program that downloads one file with this extension into its working folder, and moves the file to `path`.
pub(crate) fn download(
    command: &mut Command,
    extension: &'static str,
    path: &Path,
) -> Result<(), ProgramError> {
    let folder = tempfile::tempdir_in(nextscale_files::atomic_file::folder_of(path))?;
    output(command.current_dir(folder.path()))?;
    let mut files = std::fs::read_dir(folder.path())?
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    let Some(file) = files.find(|file| file.extension().is_some_and(|e| e == extension)) else {
        let program = command.get_program().to_string_lossy().into_owned();
        return Err(ProgramError::NoFile { program, extension });
    };
    Ok(std::fs::rename(file, path)?)
}

fn last_line(stderr: &str) -> Option<&str> {
    stderr.lines().map(str::trim).rfind(|line| !line.is_empty())
}
