//! The bytes of a model's file, wherever they lie, and what can be said of them unread.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, FloatDType, Tensor};
use nextscale_text::{T5Config, TextEncoder};
use safetensors::tensor::Metadata;

use super::{TEXT, TRANSFORMER, VAE, VOCAB, damaged, load_text, verify};
use nextscale_files::checksum;
use nextscale_weights::{WeightError, WeightFile};

use crate::error::ModelError;

/// A file of a model.
#[derive(Debug, Clone)]
pub(super) enum Weights {
    /// Inside the program.
    Static(&'static [u8]),
    /// On disk.
    File(PathBuf),
}

impl Weights {
    /// A file on disk; the error is the rest of a sentence about the model.
    pub(super) fn open(path: PathBuf) -> Result<Self, String> {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        match path.is_file() {
            true => Ok(Self::File(path)),
            false => Err(format!("lacks the file {name}")),
        }
    }

    /// All its bytes.
    pub(super) fn bytes(&self) -> Result<Cow<'static, [u8]>, ModelError> {
        match self {
            Self::Static(bytes) => Ok(Cow::Borrowed(bytes)),
            Self::File(path) => {
                let bytes = std::fs::read(path).map_err(ModelError::io("read", path))?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// Its tensors. Each is brought to the wanted type as it is read, so that no second copy of a model ever exists.
    pub(super) fn tensors(&self, dtype: FloatDType) -> Result<WeightFile, WeightError> {
        let file = match self {
            Self::Static(bytes) => WeightFile::from_bytes(bytes.to_vec()),
            Self::File(path) => WeightFile::open(path),
        };
        Ok(file?.in_dtype(dtype.into()))
    }

    /// Its size in bytes.
    pub(super) fn len(&self) -> Result<u64, ModelError> {
        match self {
            Self::Static(bytes) => Ok(bytes.len() as u64),
            Self::File(path) => {
                let meta = std::fs::metadata(path).map_err(ModelError::io("read", path))?;
                Ok(meta.len())
            }
        }
    }

    /// Its SHA-256, in hex.
    pub(super) fn sha256(&self) -> Result<String, ModelError> {
        match self {
            Self::Static(bytes) => Ok(checksum::of_bytes(bytes)),
            Self::File(path) => File::open(path)
                .and_then(checksum::of_reader)
                .map_err(ModelError::io("read", path)),
        }
    }

    /// The shape of a tensor, from the header alone; a file that is shorter than its header says is
    /// refused. The error is the rest of a sentence about the model.
    pub(super) fn shape(&self, key: &str) -> Result<Vec<usize>, String> {
        let (header, length, name) = self.header()?;
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|e| format!("has a damaged {name}: {e}"))?;
        let wanted = (8 + header.len() + metadata.data_len()) as u64;
        if length != wanted {
            return Err(format!("has a cut-off {name}: {length} bytes of {wanted}"));
        }
        let info = metadata.info(key);
        info.map(|i| i.shape.clone())
            .ok_or_else(|| format!("has a {name} without `{key}`"))
    }

    /// The header without its size, the length of the whole file, and the file's name.
    fn header(&self) -> Result<(Cow<'static, [u8]>, u64, String), String> {
        let path = match self {
            Self::Static(bytes) => {
                let size = bytes
                    .first_chunk()
                    .map_or(0, |size| u64::from_le_bytes(*size));
                let header = bytes.get(8..).and_then(|b| b.get(..size as usize));
                let header = Cow::Borrowed(header.unwrap_or_default());
                return Ok((header, bytes.len() as u64, "embedded file".into()));
            }
            Self::File(path) => path,
        };
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let read = || -> std::io::Result<(Vec<u8>, u64)> {
            let mut file = File::open(path)?;
            let (mut size, length) = ([0; 8], file.metadata()?.len());
            file.read_exact(&mut size)?;
            // A damaged size must not become an allocation of that size.
            let size = u64::from_le_bytes(size).min(length);
            let mut header = vec![0; size as usize];
            file.read_exact(&mut header)?;
            Ok((header, length))
        };
        let (header, length) = read().map_err(|e| format!("has a cut-off {name}: {e}"))?;
        Ok((Cow::Owned(header), length, name))
    }
}

/// The five files of a model that reads prompts, without its description: vocabulary, text encoder, transformer and
/// auto-encoder.
#[derive(Debug)]
pub(super) struct Files {
    /// The name that the model was opened by.
    pub(super) name: String,
    pub(super) vocab: Weights,
    pub(super) text: Weights,
    pub(super) transformer: Weights,
    pub(super) vae: Weights,
}

impl Files {
    /// Of a model of that name, in the order vocabulary, text encoder, transformer, auto-encoder.
    pub(super) fn new(name: &str, [vocab, text, transformer, vae]: [Weights; 4]) -> Self {
        let name = name.to_owned();
        Self {
            name,
            vocab,
            text,
            transformer,
            vae,
        }
    }

    /// Those in a folder.
    pub(super) fn folder(name: &str) -> Result<Self, ModelError> {
        let path = Path::new(name);
        let read = |file: &str| Weights::open(path.join(file)).map_err(|e| damaged(name, e));
        let all = [read(VOCAB)?, read(TEXT)?, read(TRANSFORMER)?, read(VAE)?];
        Ok(Self::new(name, all))
    }

    /// Vocabulary and text encoder, in f32, for prompts of up to `longest` tokens. `stated` are the fingerprints that the
    /// files must have, by name.
    pub(super) fn text_encoder(
        &self,
        stated: &Stated,
        config: &T5Config,
        longest: usize,
        device: &Device,
    ) -> Result<TextEncoder, ModelError> {
        self.verify(VOCAB, stated)?;
        self.verify(TEXT, stated)?;
        load_text(&self.name, &self.vocab, &self.text, config, longest, device)
    }

    /// The transformer, as `read` makes it of the tensors, whose numbers are brought to `dtype`.
    pub(super) fn transformer<M>(
        &self,
        stated: &Stated,
        dtype: FloatDType,
        read: impl FnOnce(WeightFile) -> Result<M, WeightError>,
    ) -> Result<M, ModelError> {
        self.verify(TRANSFORMER, stated)?;
        let model = self.transformer.tensors(dtype).and_then(read);
        model.map_err(|e| damaged(&self.name, format!("cannot be loaded: {e}")))
    }

    /// The auto-encoder, as `read` makes it of the tensors.
    pub(super) fn vae<M>(
        &self,
        stated: &Stated,
        read: impl FnOnce(WeightFile) -> Result<M, WeightError>,
    ) -> Result<M, ModelError> {
        self.verify(VAE, stated)?;
        let model = self.vae.tensors(FloatDType::F32).and_then(read);
        model.map_err(|e| damaged(&self.name, format!("cannot be loaded: {e}")))
    }

    /// Refuses a file that is not the one that the model's description states.
    fn verify(&self, file: &str, stated: &Stated) -> Result<(), ModelError> {
        let weights = match file {
            VOCAB => &self.vocab,
            TEXT => &self.text,
            TRANSFORMER => &self.transformer,
            _ => &self.vae,
        };
        verify(&self.name, file, stated.get(file), weights)
    }
}

/// Fingerprints by file.
type Stated = BTreeMap<String, String>;

/// All parameters of a module in another number type.
pub fn cast<M: Module>(module: M, dtype: FloatDType) -> M {
    struct Cast(FloatDType);
    impl ModuleMapper for Cast {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| tensor.cast(self.0))
        }
    }
    module.map(&mut Cast(dtype))
}
