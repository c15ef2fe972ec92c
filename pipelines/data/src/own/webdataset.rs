//! Images in tar archives: files whose names are equal up to the first dot belong together.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nextscale_files::path_text;
use rayon::prelude::*;

use crate::error::DataError;
use crate::own::media::{Media, extension};
use crate::own::samples::{Place, Sample, Samples};
use crate::own::text;

/// Largest text or JSON file in bytes that is read.
const MOST_TEXT: u64 = 4 << 20;
/// Bytes of a block of an archive.
const BLOCK: u64 = 512;

/// Finds the samples of archives, in order. Of an archive that is cut off, what is whole is found.
///
/// # Errors
/// An archive cannot be opened.
pub(crate) fn read(archives: &[PathBuf]) -> Result<Samples, DataError> {
    let one = |path: &PathBuf| read_one(path).map_err(|e| DataError::read(path, e));
    let read: Vec<_> = archives.par_iter().map(one).collect();
    let mut found = Samples::default();
    for samples in read {
        found.extend(samples?);
    }
    Ok(found)
}

/// Files that belong together.
#[derive(Debug, Default)]
struct Group {
    name: String,
    /// Name, position and length of the image.
    image: Option<(String, u64, u64)>,
    text: Vec<String>,
    json: Vec<String>,
    class: Option<String>,
}

fn read_one(path: &Path) -> io::Result<Samples> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let name = path_text::to_text(path.file_name().unwrap_or_default());
    let mut archive = Archive {
        name,
        length,
        groups: Vec::new(),
        known: HashMap::new(),
        found: Samples::default(),
    };
    let mut magic = [0; 2];
    let is_compressed = file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    if is_compressed {
        let reason = "the archive is compressed: unpack it with gunzip";
        archive.found.skip(&archive.name, reason);
        return Ok(archive.found);
    }
    file.seek(SeekFrom::Start(0))?;
    let whole = archive
        .read_entries(BufReader::new(file))
        .and_then(|end| check_end(path, end));
    Ok(archive.finish(path, whole))
}

/// Checks that a block of zeros ends an archive.
fn check_end(path: &Path, end: u64) -> Result<(), String> {
    let mut block = [1; BLOCK as usize];
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(end))?;
        file.read_exact(&mut block)
    });
    if read.is_err() || block.iter().any(|&byte| byte != 0) {
        return Err(CUT_OFF.into());
    }
    Ok(())
}

struct Archive {
    name: String,
    length: u64,
    groups: Vec<Group>,
    /// Where the group of a name is.
    known: HashMap<String, usize>,
    found: Samples,
}

impl Archive {
    /// Reads everything but the images; returns where the last file ends.
    ///
    /// # Errors
    /// Why the archive is not whole.
    fn read_entries(&mut self, file: BufReader<File>) -> Result<u64, String> {
        // Whole archives consist of whole blocks.
        let is_ragged = !self.length.is_multiple_of(BLOCK);
        let damaged = |e: io::Error| match e.kind() {
            _ if is_ragged => CUT_OFF.to_owned(),
            io::ErrorKind::UnexpectedEof => CUT_OFF.to_owned(),
            _ => format!("the archive is damaged: {e}"),
        };
        let mut archive = tar::Archive::new(file);
        let mut end = 0;
        for entry in archive.entries_with_seek().map_err(damaged)? {
            let mut entry = entry.map_err(|e| match end {
                0 if self.length >= BLOCK && e.kind() != io::ErrorKind::UnexpectedEof => {
                    format!("this is not a tar archive: {e}")
                }
                _ => damaged(e),
            })?;
            let last = entry.raw_file_position().saturating_add(entry.size());
            if last > self.length {
                return Err(CUT_OFF.into());
            }
            end = last.next_multiple_of(BLOCK);
            if entry.header().entry_type().is_file() {
                self.add(&mut entry).map_err(damaged)?;
            }
        }
        Ok(end)
    }

    fn add(&mut self, entry: &mut tar::Entry<'_, BufReader<File>>) -> io::Result<()> {
        let path = entry.path()?.into_owned();
        let name = path_text::to_text(path.strip_prefix(".").unwrap_or(&path));
        let extension = extension(&path);
        let file = name.rsplit('/').next().unwrap_or_default();
        if file.starts_with('.') {
            return Ok(());
        }
        let is_known = ["txt", "json", "cls"].contains(&extension.as_str());
        let is_image = Media::Images.has(&extension);
        if Media::Images.lacks(&extension) {
            let reason = format!(
                "{extension} is not read, only {}",
                Media::Images.extensions().join(", ")
            );
            self.found.skip(format!("{}/{name}", self.name), reason);
        }
        if !is_known && !is_image {
            return Ok(());
        }
        let stem = file.split('.').next().unwrap_or_default();
        let key = format!("{}{stem}", &name[..name.len() - file.len()]);
        let (position, length) = (entry.raw_file_position(), entry.size());
        let mut bytes = Vec::new();
        if is_known {
            entry.take(MOST_TEXT).read_to_end(&mut bytes)?;
        }
        let at = *self.known.entry(key.clone()).or_insert(self.groups.len());
        if at == self.groups.len() {
            self.groups.push(Group {
                name: key,
                ..Group::default()
            });
        }
        let group = &mut self.groups[at];
        if is_image {
            group.image.get_or_insert((name, position, length));
        } else if let Err(reason) = group.say(&extension, &bytes) {
            self.found.skip(format!("{}/{name}", self.name), reason);
        }
        Ok(())
    }

    fn finish(mut self, path: &Path, whole: Result<(), String>) -> Samples {
        if let Err(reason) = whole {
            // What belongs to the last image may be missing.
            let is_doubtful =
                |group: &mut Group| group.captions().is_empty() && group.class.is_none();
            self.groups.pop_if(is_doubtful);
            self.found.skip(&self.name, reason);
        }
        let archive: Arc<Path> = path.into();
        for group in self.groups {
            let captions = group.captions();
            let Some((name, offset, length)) = group.image else {
                if !captions.is_empty() {
                    let name = format!("{}/{}", self.name, group.name);
                    self.found.orphans.push(name);
                }
                continue;
            };
            self.found.samples.push(Sample {
                file: format!("{}/{name}", self.name),
                place: Place::Part {
                    archive: Arc::clone(&archive),
                    offset,
                    length,
                },
                captions,
                class: group.class,
            });
        }
        self.found
    }
}

const CUT_OFF: &str = "the archive is cut off: what is whole is used";

impl Group {
    /// What a file says about the image.
    fn say(&mut self, extension: &str, bytes: &[u8]) -> Result<(), String> {
        match extension {
            "txt" => self.text = text::lines(bytes).map_err(|e| e.0)?,
            "cls" => self.class = text::line(text::decode(bytes).map_err(|e| e.0)?),
            _ => {
                let value: serde_json::Value =
                    serde_json::from_slice(bytes).map_err(|e| format!("it is not JSON: {e}"))?;
                let keys = ["caption", "text", "prompt"];
                let values = keys.iter().filter_map(|key| value.get(key));
                let mut captions = values.map(text::captions);
                self.json = captions.find(|c| !c.is_empty()).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Those of the text file, or else those of the JSON file.
    fn captions(&self) -> Vec<String> {
        if self.text.is_empty() {
            return self.json.clone();
        }
        self.text.clone()
    }
}
