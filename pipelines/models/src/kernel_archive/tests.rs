use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::target::{DESCRIPTION, Target};
use super::{export, import};
use crate::error::ModelError;

fn target(program: &str) -> Target {
    Target {
        nextscale: "0.1.0".into(),
        library: "burn".into(),
        program: program.into(),
        card: None,
    }
}

/// A folder with kernels of two cards, and one without.
fn folders() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to/kernels"));
    fs::create_dir(&from).unwrap();
    fs::write(from.join("a-card.db"), vec![7; 5000]).unwrap();
    fs::write(from.join("a-card.db-wal"), "journal").unwrap();
    fs::write(from.join("b-card.db"), "").unwrap();
    (folder, from, to)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn kernels_come_back() {
    let (folder, from, to) = folders();
    let archive = folder.path().join("k.tar");
    let packed = export(&from, &archive, target("p")).unwrap();
    assert_eq!((packed.files, packed.bytes), (3, 5007));
    let imported = import(&archive, &to, &target("p"), false).unwrap();
    assert_eq!((imported.usage, imported.unfit), (packed, None));
    assert_eq!(names(&to), names(&from));
    assert_eq!(fs::read(to.join("a-card.db")).unwrap(), vec![7; 5000]);
    let again = folder.path().join("again.tar");
    export(&to, &again, target("p")).unwrap();
    assert_eq!(fs::read(archive).unwrap(), fs::read(again).unwrap());
}

#[test]
fn kernels_of_other_cards_stay_and_old_journals_go() {
    let (folder, from, to) = folders();
    let archive = folder.path().join("k.tar");
    fs::remove_file(from.join("a-card.db-wal")).unwrap();
    export(&from, &archive, target("p")).unwrap();
    fs::create_dir_all(&to).unwrap();
    for name in ["a-card.db", "a-card.db-wal", "a-card.db-shm", "c-card.db"] {
        fs::write(to.join(name), "old").unwrap();
    }
    import(&archive, &to, &target("p"), false).unwrap();
    assert_eq!(names(&to), ["a-card.db", "b-card.db", "c-card.db"]);
    assert_eq!(fs::read(to.join("a-card.db")).unwrap(), vec![7; 5000]);
    assert_eq!(fs::read(to.join("c-card.db")).unwrap(), b"old");
}

#[test]
fn kernels_for_something_else_need_force() {
    let (folder, from, to) = folders();
    let archive = folder.path().join("k.tar");
    export(&from, &archive, target("old")).unwrap();
    let error = import(&archive, &to, &target("new"), false).unwrap_err();
    assert!(error.to_string().contains("another build"), "{error}");
    assert!(error.hint().unwrap().contains("--force"));
    assert!(!to.exists());
    let imported = import(&archive, &to, &target("new"), true).unwrap();
    assert!(imported.unfit.unwrap().contains("another build"));
    assert_eq!(names(&to).len(), 3);
}

#[test]
fn nothing_is_packed_of_an_empty_folder() {
    let (folder, ..) = folders();
    let archive = folder.path().join("k.tar");
    let error = export(&folder.path().join("none"), &archive, target("p")).unwrap_err();
    assert!(
        error.to_string().contains("there are no kernels"),
        "{error}"
    );
    assert!(!archive.exists());
}

#[test]
fn an_archive_cut_anywhere_is_refused() {
    let (folder, from, to) = folders();
    let archive = folder.path().join("k.tar");
    export(&from, &archive, target("p")).unwrap();
    let whole = fs::read(&archive).unwrap();
    // Up to the end of the last entry; the blocks after it are padding.
    for length in [0, 100, 512, 1500, 3000, 6000] {
        fs::write(&archive, &whole[..length]).unwrap();
        let error = import(&archive, &to, &target("p"), true).unwrap_err();
        let text = error.to_string();
        let told = text.contains("is damaged") || text.contains("is no archive of kernels");
        assert!(told, "{length}: {text}");
        assert!(!to.exists(), "{length}");
    }
    let at = whole.windows(5).position(|bytes| bytes == [7; 5]).unwrap();
    let mut changed = whole;
    changed[at] = 8;
    fs::write(&archive, changed).unwrap();
    let error = import(&archive, &to, &target("p"), true).unwrap_err();
    assert!(error.to_string().contains("another checksum"), "{error}");
}

/// Imports an archive with one entry of this name and type, which its description names as `named`.
fn import_entry(named: &str, name: &str, kind: EntryType) -> ModelError {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k.tar");
    let mut tar = Builder::new(File::create(&path).unwrap());
    let mut append = |name: &str, kind, bytes: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(kind);
        // The library refuses to write some of these names.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        if kind == EntryType::Symlink {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    };
    let entry = serde_json::json!({
        "bytes": 1, "sha256": nextscale_files::checksum::of_bytes(b"x")
    });
    let description = serde_json::json!({
        "format": 1, "target": target("p"), "files": { named: entry }
    });
    let json = description.to_string();
    append(DESCRIPTION, EntryType::Regular, json.as_bytes());
    append(
        name,
        kind,
        if kind == EntryType::Regular {
            b"x"
        } else {
            b""
        },
    );
    tar.finish().unwrap();
    let to = folder.path().join("to");
    let error = import(&path, &to, &target("p"), true).unwrap_err();
    assert_eq!(names(folder.path()), ["k.tar"], "{name}");
    error
}

#[test]
fn unsafe_entries_are_refused() {
    for name in ["/tmp/x.db", "../x.db", "a/x.db", ".hidden", "..", "a b"] {
        let error = import_entry(name, name, EntryType::Regular).to_string();
        assert!(error.contains("is not a plain name"), "{name}: {error}");
    }
    for kind in [EntryType::Symlink, EntryType::Link, EntryType::Directory] {
        let error = import_entry("x.db", "x.db", kind).to_string();
        assert!(error.contains("is not a file"), "{error}");
    }
    let error = import_entry("y.db", "x.db", EntryType::Regular).to_string();
    assert!(error.contains("does not name"), "{error}");
}

#[test]
fn other_files_are_no_archives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k.tar");
    let to = folder.path().join("to");
    let refused = || {
        import(&path, &to, &target("p"), false)
            .unwrap_err()
            .to_string()
    };
    assert!(refused().starts_with("cannot read"), "{}", refused());
    fs::write(&path, "text").unwrap();
    assert!(refused().ends_with("is no archive of kernels"));
    let mut tar = Builder::new(File::create(&path).unwrap());
    let mut header = Header::new_gnu();
    let json = br#"{"format": 2}"#;
    header.set_size(json.len() as u64);
    tar.append_data(&mut header, DESCRIPTION, &json[..])
        .unwrap();
    tar.finish().unwrap();
    assert!(refused().contains("has format 2"), "{}", refused());
    assert!(!to.exists());
}
