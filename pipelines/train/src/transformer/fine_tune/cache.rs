//! Latents and text features on disk: they are computed once, whatever is trained on them and however often a run is resumed.
//!
//! A file is named by the checksum of all that decides its numbers: the pixels or the caption, and the weights that encode them.

use std::path::{Path, PathBuf};

use nextscale_files::{atomic_file, checksum};

use crate::error::{Result, TrainError};

/// The files of a data set.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    folder: PathBuf,
}

/// The name of a file in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key(String);

impl Key {
    /// Of what is encoded and of what tells the encoder from all others.
    pub(super) fn new(kind: &str, content: &[u8], encoder: &str) -> Self {
        let text = format!("{kind} {encoder} {}", checksum::of_bytes(content));
        Self(checksum::of_bytes(text.as_bytes()))
    }
}

impl Cache {
    /// The cache in the folder of a data set.
    pub(super) fn open(data: &Path) -> Result<Self> {
        let folder = data.join("encoded");
        std::fs::create_dir_all(&folder).map_err(TrainError::io("create", &folder))?;
        Ok(Self { folder })
    }

    fn path(&self, key: &Key) -> PathBuf {
        let Key(name) = key;
        self.folder.join(&name[..2]).join(name)
    }

    /// Whether the numbers are there.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.path(key).is_file()
    }

    /// Writes numbers; a file is whole or not there.
    pub(super) fn write(&self, key: &Key, numbers: &[f32]) -> Result<()> {
        let path = self.path(key);
        let folder = path.parent().unwrap_or(&self.folder);
        std::fs::create_dir_all(folder).map_err(TrainError::io("create", folder))?;
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        atomic_file::write(&path, &bytes).map_err(TrainError::io("write", &path))
    }

    /// Reads numbers.
    pub(super) fn read(&self, key: &Key) -> Result<Vec<f32>> {
        let path = self.path(key);
        let bytes = std::fs::read(&path).map_err(TrainError::io("read", &path))?;
        let (numbers, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() || numbers.is_empty() {
            let reason = std::io::Error::other("it is damaged: delete it, it is made again");
            return Err(TrainError::io("read", &path)(reason));
        }
        Ok(numbers
            .iter()
            .map(|&bytes| f32::from_le_bytes(bytes))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_what_made_them() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let key = Key::new("latent", b"pixels", "vae 1");
        assert!(!cache.has(&key));
        cache.write(&key, &[1.5, -2.0]).unwrap();
        assert_eq!(cache.read(&key).unwrap(), [1.5, -2.0]);
        assert!(!cache.has(&Key::new("latent", b"pixels", "vae 2")));
        assert!(!cache.has(&Key::new("latent", b"pixel", "vae 1")));
        std::fs::write(cache.path(&key), b"abc").unwrap();
        let error = cache.read(&key).unwrap_err().to_string();
        assert!(error.contains("delete it"), "{error}");
    }
}
