//! Packing.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use nextscale_files::{atomic_file, checksum};
use tar::{Builder, Header};

use super::target::{DESCRIPTION, Description, Entry, FORMAT, Target};
use crate::device::kernel_folder::{Usage, files, usage};
use crate::error::ModelError;

/// Packs the files of a folder of kernels, which no other process may be filling, into a tar archive. An archive that is there
/// is replaced when the new one is complete.
///
/// # Errors
/// A folder without kernels, kernels that change while they are packed, an archive that cannot be written.
pub fn export(folder: &Path, archive: &Path, target: Target) -> Result<Usage, ModelError> {
    let mut entries = Vec::new();
    for (name, _) in files(folder) {
        let bytes = read(&folder.join(&name))?;
        let entry = Entry {
            bytes: bytes.len() as u64,
            sha256: checksum::of_bytes(&bytes),
        };
        entries.push((name, entry));
    }
    if entries.is_empty() {
        return Err(ModelError::refused_with(
            format!("there are no kernels in `{}`", folder.display()),
            "compile them: nextscale warm-up --model NAME",
        ));
    }
    let description = Description {
        format: FORMAT,
        target,
        files: entries.into_iter().collect(),
    };
    let cannot_write = || ModelError::io("write", archive);
    let mut file = atomic_file::hidden_for(archive).map_err(cannot_write())?;
    write(&description, folder, archive, &mut file)?;
    atomic_file::persist(file, archive).map_err(cannot_write())?;
    Ok(usage(folder))
}

fn write(
    description: &Description,
    folder: &Path,
    archive: &Path,
    file: impl Write,
) -> Result<(), ModelError> {
    let cannot_write = || ModelError::io("write", archive);
    let mut tar = Builder::new(file);
    let json = serde_json::to_vec_pretty(description).map_err(io::Error::from);
    let json = json.map_err(cannot_write())?;
    append(&mut tar, DESCRIPTION, &json).map_err(cannot_write())?;
    for (name, entry) in &description.files {
        let path = folder.join(name);
        let bytes = read(&path)?;
        if checksum::of_bytes(&bytes) != entry.sha256 {
            return Err(ModelError::Content {
                path,
                message: "changed while it was packed: another nextscale is running".into(),
                hint: Some("wait until it has ended, then export again".into()),
            });
        }
        append(&mut tar, name, &bytes).map_err(cannot_write())?;
    }
    tar.into_inner().map(drop).map_err(cannot_write())
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    fs::read(path).map_err(ModelError::io("read", path))
}

/// Appends a file without owner and time: the same kernels make the same archive.
fn append(tar: &mut Builder<impl Write>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, bytes)
}
