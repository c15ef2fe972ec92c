//! TorchScript archives, such as OpenAI's files of CLIP: a program with its weights. Only the weights are read.
//!
//! `torch.jit.save` pickles each module as an object of a class of its own, whose state is a dictionary of its attributes. The reader of
//! PyTorch files knows no such classes, so it gets a copy without the program, in which each object is the dictionary.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use tempfile::TempPath;
use zip::result::ZipResult;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Pickled: no arguments, an object of the class before them, and the beginning of its state. (`EMPTY_TUPLE`, `NEWOBJ`, `EMPTY_DICT`, `MARK`)
const OBJECT: &[u8; 4] = b")\x81}(";
/// The same length: the class is forgotten, and a dictionary takes the place of the object. (`POP`, `EMPTY_DICT`, `EMPTY_DICT`, `MARK`)
const DICTIONARY: &[u8; 4] = b"0}}(";

/// A copy without the program; none if the file is no TorchScript archive.
///
/// # Errors
/// If the file cannot be read or the copy cannot be written.
pub(crate) fn without_program(path: &Path) -> io::Result<Option<TempPath>> {
    let Ok(mut archive) = ZipArchive::new(File::open(path)?) else {
        return Ok(None);
    };
    let Some(folder) = folder(&archive) else {
        return Ok(None);
    };
    let copy = tempfile::Builder::new()
        .prefix("nextscale-")
        .suffix(".pth")
        .tempfile()?;
    write(&mut archive, &folder, copy.as_file())?;
    Ok(Some(copy.into_temp_path()))
}

/// The folder within the archive, if it has a program.
fn folder(archive: &ZipArchive<File>) -> Option<String> {
    let names: Vec<_> = archive.file_names().flatten().collect();
    let folder = names
        .iter()
        .find_map(|name| name.strip_suffix("/data.pkl"))?;
    let code = format!("{folder}/code/");
    let scripted = names.iter().any(|name| name.starts_with(&code));
    scripted.then(|| folder.to_owned())
}

fn write(archive: &mut ZipArchive<File>, folder: &str, copy: &File) -> ZipResult<()> {
    let numbers = format!("{folder}/data/");
    let mut writer = ZipWriter::new(copy);
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let name = entry.name()?.into_owned();
        if name == format!("{folder}/data.pkl") {
            let mut pickle = vec![];
            entry.read_to_end(&mut pickle)?;
            let options =
                SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
            writer.start_file(name, options)?;
            writer.write_all(&with_dictionaries(pickle))?;
        } else if name.starts_with(&numbers) || name.ends_with("/byteorder") {
            writer.raw_copy_file(entry)?;
        }
    }
    writer.finish().map(drop)
}

/// A pickle with dictionaries in the place of objects.
fn with_dictionaries(mut pickle: Vec<u8>) -> Vec<u8> {
    let mut at = 0;
    while let Some(found) = pickle[at..].windows(4).position(|bytes| bytes == OBJECT) {
        at += found;
        pickle[at..at + 4].copy_from_slice(DICTIONARY);
    }
    pickle
}
