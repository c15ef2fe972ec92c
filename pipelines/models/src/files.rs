//! The files of a model: embedded in the program or on disk, with what can be said of them unread.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType};
use nextscale_files::{atomic_file, checksum};
use nextscale_text::{T5Config, TextEncoder, TextError, Vocab};
use nextscale_weights::{WeightError, WeightFile};
use safetensors::tensor::Metadata;

use crate::error::{Flaw, ModelError};
use crate::manifest::{Checksums, Manifest};

/// The description of a model folder.
pub const MANIFEST: &str = "nextscale.json";
/// The vocabulary of a model folder.
pub const VOCAB: &str = "tokenizer.json";
/// The text encoder of a model folder.
pub const TEXT: &str = "text.safetensors";
/// The transformer of a model folder.
pub const TRANSFORMER: &str = "transformer.safetensors";
/// The auto-encoder of a model folder.
pub const VAE: &str = "vae.safetensors";

/// Files up to this size are compared with their checksum each time they are loaded.
const VERIFIED_BYTES: u64 = 1 << 30;

/// A file of a model.
#[derive(Debug, Clone)]
pub(crate) enum ModelFile {
    /// Inside the program.
    Embedded(&'static [u8]),
    /// On disk.
    OnDisk(PathBuf),
}

impl ModelFile {
    /// A file on disk.
    fn open(path: PathBuf) -> Result<Self, Flaw> {
        if path.is_file() {
            return Ok(Self::OnDisk(path));
        }
        Err(Flaw::new(format!("lacks the file {}", name_of(&path))))
    }

    /// All its bytes.
    fn bytes(&self) -> Result<Cow<'static, [u8]>, ModelError> {
        match self {
            Self::Embedded(bytes) => Ok(Cow::Borrowed(bytes)),
            Self::OnDisk(path) => {
                let bytes = std::fs::read(path).map_err(ModelError::io("read", path))?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// Its tensors. Each gets this number type as it is read, so that no second copy of a model ever exists.
    fn tensors(&self, dtype: FloatDType) -> Result<WeightFile, WeightError> {
        let file = match self {
            Self::Embedded(bytes) => WeightFile::from_bytes(bytes.to_vec()),
            Self::OnDisk(path) => WeightFile::open(path),
        };
        Ok(file?.in_dtype(dtype.into()))
    }

    /// Its size in bytes.
    fn len(&self) -> Result<u64, ModelError> {
        match self {
            Self::Embedded(bytes) => Ok(bytes.len() as u64),
            Self::OnDisk(path) => {
                let metadata = std::fs::metadata(path).map_err(ModelError::io("read", path))?;
                Ok(metadata.len())
            }
        }
    }

    /// Its SHA-256 in hexadecimal.
    fn sha256(&self) -> Result<String, ModelError> {
        match self {
            Self::Embedded(bytes) => Ok(checksum::of_bytes(bytes)),
            Self::OnDisk(path) => File::open(path)
                .and_then(checksum::of_reader)
                .map_err(ModelError::io("read", path)),
        }
    }

    /// The shape of a tensor, from the header alone.
    pub(crate) fn shape(&self, key: &str) -> Result<Vec<usize>, Flaw> {
        let metadata = self.header()?;
        let info = metadata.info(key);
        info.map(|info| info.shape.clone())
            .ok_or_else(|| Flaw::new(format!("has a {} without `{key}`", self.name())))
    }

    /// Refuses a tensor that has another shape than the description says.
    pub(crate) fn check_shape(&self, key: &str, expected: &[usize]) -> Result<(), Flaw> {
        let found = self.shape(key)?;
        if found == expected {
            return Ok(());
        }
        Err(Flaw::new(format!(
            "does not fit together: `{key}` has shape {found:?}, {MANIFEST} says {expected:?}"
        )))
    }

    /// The header, which is enough to detect a truncated file.
    pub(crate) fn header(&self) -> Result<Metadata, Flaw> {
        let name = self.name();
        let read = match self {
            Self::Embedded(bytes) => read_header(&**bytes, bytes.len() as u64),
            Self::OnDisk(path) => {
                File::open(path).and_then(|file| read_header(&file, file.metadata()?.len()))
            }
        };
        let cut_off = |e: std::io::Error| Flaw::new(format!("has a cut-off {name}: {e}"));
        let (header, length) = read.map_err(cut_off)?;
        let damaged = |e| Flaw::new(format!("has a damaged {name}: {e}"));
        let metadata: Metadata = serde_json::from_slice(&header).map_err(damaged)?;
        let expected = (8 + header.len() + metadata.data_len()) as u64;
        if length == expected {
            return Ok(metadata);
        }
        Err(Flaw::new(format!(
            "has a cut-off {name}: {length} bytes of {expected}"
        )))
    }

    fn name(&self) -> String {
        match self {
            Self::Embedded(_) => "embedded file".into(),
            Self::OnDisk(path) => name_of(path),
        }
    }
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The JSON header of a safetensors file of this length, and the length.
fn read_header(mut file: impl Read, length: u64) -> std::io::Result<(Vec<u8>, u64)> {
    let mut size = [0; 8];
    file.read_exact(&mut size)?;
    // A damaged size must not become an allocation of that size.
    let size = u64::from_le_bytes(size).min(length);
    let mut header = vec![0; size as usize];
    file.read_exact(&mut header)?;
    Ok((header, length))
}

/// The files of a model except its description.
#[derive(Debug)]
pub(crate) struct Files {
    /// Vocabulary and weights of the text encoder, for models that take prompts.
    pub(crate) text: Option<TextFiles>,
    pub(crate) transformer: ModelFile,
    pub(crate) vae: ModelFile,
}

/// Vocabulary and weights of a text encoder.
#[derive(Debug)]
pub(crate) struct TextFiles {
    pub(crate) vocab: ModelFile,
    pub(crate) weights: ModelFile,
}

impl Files {
    /// Those inside the program: vocabulary, text encoder, transformer, auto-encoder.
    pub(crate) fn embedded([vocab, weights, transformer, vae]: [&'static [u8]; 4]) -> Self {
        let file = ModelFile::Embedded;
        Self {
            text: Some(TextFiles {
                vocab: file(vocab),
                weights: file(weights),
            }),
            transformer: file(transformer),
            vae: file(vae),
        }
    }

    /// Those of a released model: vocabulary and weights of the text encoder, if it has one, transformer, auto-encoder.
    pub(crate) fn released(text: Option<[PathBuf; 2]>, transformer: PathBuf, vae: PathBuf) -> Self {
        let file = ModelFile::OnDisk;
        Self {
            text: text.map(|[vocab, weights]| TextFiles {
                vocab: file(vocab),
                weights: file(weights),
            }),
            transformer: file(transformer),
            vae: file(vae),
        }
    }

    /// Those in a folder.
    pub(crate) fn in_folder(folder: &Path, has_text: bool) -> Result<Self, Flaw> {
        let open = |file: &str| ModelFile::open(folder.join(file));
        let text = || -> Result<TextFiles, Flaw> {
            let (vocab, weights) = (open(VOCAB)?, open(TEXT)?);
            Ok(TextFiles { vocab, weights })
        };
        Ok(Self {
            text: has_text.then(text).transpose()?,
            transformer: open(TRANSFORMER)?,
            vae: open(VAE)?,
        })
    }

    /// Bytes of the auto-encoder; 0 if it cannot be read.
    pub(crate) fn vae_bytes(&self) -> u64 {
        self.vae.len().unwrap_or_default()
    }
}

/// Loads files of one model and compares them with its checksums.
pub(crate) struct Loader<'a> {
    pub(crate) model: &'a str,
    pub(crate) files: &'a Files,
    pub(crate) checksums: &'a Checksums,
}

impl Loader<'_> {
    /// Vocabulary and text encoder, in f32, for prompts of up to `max_len` tokens.
    pub(crate) fn text_encoder(
        &self,
        config: &T5Config,
        max_len: usize,
        device: &Device,
    ) -> Result<TextEncoder, ModelError> {
        let Some(TextFiles { vocab, weights }) = &self.files.text else {
            return Err(ModelError::flawed(self.model, "has no text encoder"));
        };
        self.verify(VOCAB, vocab)?;
        self.verify(TEXT, weights)?;
        let fail = |e: TextError| self.unloadable(e);
        let vocab = Vocab::from_bytes(&vocab.bytes()?).map_err(fail)?;
        let mut t5 = config.init(device);
        let file = weights.tensors(FloatDType::F32);
        let read = file.and_then(|file| nextscale_text::import::read(&mut t5, file));
        read.map_err(|e| fail(e.into()))?;
        TextEncoder::new(vocab.with_max_len(max_len), t5).map_err(fail)
    }

    /// The transformer, as `read` makes it from the tensors, in this number type.
    pub(crate) fn transformer<M>(
        &self,
        dtype: FloatDType,
        read: impl FnOnce(WeightFile) -> Result<M, WeightError>,
    ) -> Result<M, ModelError> {
        self.verify(TRANSFORMER, &self.files.transformer)?;
        let model = self.files.transformer.tensors(dtype).and_then(read);
        model.map_err(|e| self.unloadable(e))
    }

    /// The auto-encoder, as `read` makes it from the tensors, in f32.
    pub(crate) fn vae<M>(
        &self,
        read: impl FnOnce(WeightFile) -> Result<M, WeightError>,
    ) -> Result<M, ModelError> {
        self.verify(VAE, &self.files.vae)?;
        let model = self.files.vae.tensors(FloatDType::F32).and_then(read);
        model.map_err(|e| self.unloadable(e))
    }

    fn unloadable(&self, error: impl ToString) -> ModelError {
        let message = format!("cannot be loaded: {}", error.to_string());
        ModelError::flawed(self.model, message)
    }

    /// Refuses a file that is not the one that the description means.
    fn verify(&self, name: &str, file: &ModelFile) -> Result<(), ModelError> {
        let Some(expected) = self.checksums.get(name) else {
            return Ok(());
        };
        if file.len()? > VERIFIED_BYTES || file.sha256()? == *expected {
            return Ok(());
        }
        let hint = "files of different models were mixed, or the file was damaged: fetch it again";
        Err(ModelError::Model {
            model: self.model.to_owned(),
            message: format!("has a {name} that is not the one its {MANIFEST} describes"),
            hint: Some(hint.into()),
        })
    }
}

/// Writes the description of the files in a folder, with their checksums; everybody may read them from now on.
pub(crate) fn write_manifest(folder: &Path, manifest: &mut Manifest) -> Result<(), ModelError> {
    let files: &[&str] = match manifest.text() {
        Some(_) => &[VOCAB, TEXT, TRANSFORMER, VAE],
        None => &[TRANSFORMER, VAE],
    };
    let checksum = |&file: &&str| {
        let path = folder.join(file);
        // Writers of weights make private files; a model is like any other file of the user's.
        atomic_file::make_readable(&path).map_err(ModelError::io("open", &path))?;
        Ok((file.to_owned(), ModelFile::OnDisk(path).sha256()?))
    };
    let checksums = files
        .iter()
        .map(checksum)
        .collect::<Result<Checksums, ModelError>>()?;
    manifest.set_checksums(checksums);
    let json = serde_json::to_string_pretty(manifest)
        .map_err(|e| ModelError::refused(format!("cannot write {MANIFEST}: {e}")))?;
    let path = folder.join(MANIFEST);
    atomic_file::write(&path, (json + "\n").as_bytes()).map_err(ModelError::io("write", &path))
}
