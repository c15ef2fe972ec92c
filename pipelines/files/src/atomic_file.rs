//! Files that are there as a whole or not at all: written under a hidden name in the same folder, then renamed.
//!
//! A hidden file is locked while it is written. One that nobody has locked was left by a run that was killed, and the next
//! run that writes into its folder removes it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::{Builder, NamedTempFile, TempDir};

/// How the names of hidden files and folders begin and end.
const PREFIX: &str = ".nextscale-";
const SUFFIX: &str = ".part";
/// A hidden file younger than this may not be locked yet.
const YOUNG: Duration = Duration::from_secs(10);

/// Writes a file, or leaves the one that was there before. Symbolic links are followed; a pipe or a device is written to
/// directly.
///
/// # Errors
/// A folder that does not exist or cannot be written to, a full disk.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if is_stream(path) {
        return fs::OpenOptions::new()
            .write(true)
            .open(path)?
            .write_all(bytes);
    }
    let mut file = hidden_for(path)?;
    file.write_all(bytes)?;
    persist(file, path)
}

/// A hidden file in a folder. It is removed unless [`persist`] gives it a name.
///
/// # Errors
/// A folder that does not exist or cannot be written to.
pub fn hidden_in(folder: &Path) -> io::Result<NamedTempFile> {
    sweep(folder);
    let file = builder(0o666).tempfile_in(folder)?;
    // Where a file system knows no locks, what a killed run leaves stays.
    let _ = file.as_file().try_lock();
    Ok(file)
}

/// As [`hidden_in`], in the folder of the file that is going to have this name.
///
/// # Errors
/// As for [`hidden_in`].
pub fn hidden_for(path: &Path) -> io::Result<NamedTempFile> {
    hidden_in(folder_of(&target(path)))
}

/// Gives a finished hidden file its name. It has the rights of any new file.
///
/// # Errors
/// A name that cannot be written.
pub fn persist(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.persist(target(path)).map(drop).map_err(|e| e.error)
}

/// As [`persist`], if there is no file of that name; otherwise the finished file is given back.
///
/// # Errors
/// A name that cannot be written.
pub fn persist_new(file: NamedTempFile, path: &Path) -> io::Result<Option<NamedTempFile>> {
    match file.persist_noclobber(path) {
        Ok(_) => Ok(None),
        Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Ok(Some(e.file)),
        Err(e) => Err(e.error),
    }
}

/// A hidden folder, which is removed unless it gets a name.
#[derive(Debug)]
pub struct HiddenFolder {
    folder: TempDir,
    _lock: Option<File>,
}

impl HiddenFolder {
    /// A hidden folder inside another.
    ///
    /// # Errors
    /// A folder that does not exist or cannot be written to.
    pub fn new_in(folder: &Path) -> io::Result<Self> {
        sweep(folder);
        let folder = builder(0o777).tempdir_in(folder)?;
        let lock = File::open(folder.path()).ok();
        let lock = lock.filter(|file| file.try_lock().is_ok());
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Gives it its name. An empty folder of that name is replaced.
    ///
    /// # Errors
    /// A name that cannot be written, or that of a folder with files.
    pub fn persist(self, path: &Path) -> io::Result<()> {
        let _ = fs::remove_dir(path);
        fs::rename(self.folder.path(), path)?;
        // It is renamed: there is nothing to remove.
        let _ = self.folder.keep();
        Ok(())
    }
}

fn builder(mode: u32) -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The system takes off what the user's umask takes off.
        builder.permissions(fs::Permissions::from_mode(mode));
    }
    #[cfg(not(unix))]
    let _ = mode;
    builder
}

/// Gives a file that is private, as some libraries write theirs, the rights of any new file in its folder.
///
/// # Errors
/// A file that is not there or belongs to somebody else.
pub fn make_usual(path: &Path) -> io::Result<()> {
    let usual = builder(0o666).tempfile_in(folder_of(path))?;
    fs::set_permissions(path, usual.as_file().metadata()?.permissions())
}

/// Removes what killed runs have left in a folder.
pub fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with(PREFIX) || !name.ends_with(SUFFIX) {
            continue;
        }
        let age = entry.metadata().and_then(|m| m.modified()).ok();
        let age = age.and_then(|time| time.elapsed().ok());
        let path = entry.path();
        let lock = File::open(&path);
        let is_left =
            age.is_some_and(|age| age > YOUNG) && lock.is_ok_and(|file| file.try_lock().is_ok());
        if is_left {
            // Another run may be removing it, too.
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        }
    }
}

/// Whether a path is a pipe, a terminal or a device, which cannot be replaced.
pub fn is_stream(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// The file that a path stands for: where a symbolic link leads to, also if nothing is there yet.
pub fn target(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    // As many links as Linux follows.
    for _ in 0..40 {
        let Ok(link) = fs::read_link(&path) else {
            break;
        };
        path = folder_of(&path).join(link);
    }
    path
}

/// The folder that a file is in; `.` for a bare name.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_is_left_of_a_file_that_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write(&folder.path().join("no/a.txt"), b"x").is_err());
        write(&folder.path().join("a.txt"), b"x").unwrap();
        assert!(write(folder.path(), b"x").is_err(), "a folder");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_file_that_is_there_can_be_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let part = || hidden_in(folder.path()).unwrap();
        assert!(persist_new(part(), &path).unwrap().is_none());
        assert!(persist_new(part(), &path).unwrap().is_some());
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_pipes_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("real")).unwrap();
        std::os::unix::fs::symlink("real/a.txt", at("link.txt")).unwrap();
        write(&at("link.txt"), b"one").unwrap();
        write(&at("link.txt"), b"two").unwrap();
        assert_eq!(fs::read(at("real/a.txt")).unwrap(), b"two");
        assert!(fs::symlink_metadata(at("link.txt")).unwrap().is_symlink());

        write(Path::new("/dev/null"), b"gone").unwrap();
        assert!(is_stream(Path::new("/dev/null")));
        assert!(!is_stream(&at("link.txt")) && !is_stream(&at("none")));
    }

    #[cfg(unix)]
    #[test]
    fn what_killed_runs_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let old = |path: &Path| {
            let time = std::time::SystemTime::now() - Duration::from_secs(100);
            File::open(path).unwrap().set_modified(time).unwrap();
        };
        fs::write(at(".nextscale-dead.part"), b"x").unwrap();
        fs::create_dir(at(".nextscale-folder.part")).unwrap();
        fs::write(at(".nextscale-young.part"), b"x").unwrap();
        fs::write(at("mine.part"), b"x").unwrap();
        let running = hidden_in(folder.path()).unwrap();
        let hidden = HiddenFolder::new_in(folder.path()).unwrap();
        for name in [
            ".nextscale-dead.part",
            ".nextscale-folder.part",
            "mine.part",
        ] {
            old(&at(name));
        }
        [running.path(), hidden.path()].into_iter().for_each(old);
        write(&at("a.txt"), b"x").unwrap();
        assert!(running.path().exists() && hidden.path().exists());
        drop((running, hidden));
        assert_eq!(
            names(folder.path()),
            [".nextscale-young.part", "a.txt", "mine.part"]
        );
    }
}
