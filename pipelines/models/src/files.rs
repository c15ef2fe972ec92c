//! The files of a model: embedded in the program or on disk, with what can be said of them unread.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use burn::tensor::FloatDType;
use nextscale_files::{atomic_file, checksum};
use nextscale_weights::{Choice, WeightError, WeightFile};

use crate::error::{Flaw, ModelError};
use crate::manifest::{Checksums, Manifest};

/// The description of a model folder.
pub const MANIFEST: &str = "nextscale.json";
/// The vocabulary of a model folder.
pub const VOCAB: &str = "tokenizer.json";
/// The text encoder of a model folder.
pub const TEXT: &str = "text.safetensors";
/// The words of a model's captions in its folder; not every model has them.
pub const WORDS: &str = "words.txt";
/// Other words in a model's folder, each with a name that stands for it; not every model has them.
pub const NEIGHBOURS: &str = "neighbours.txt";
/// The transformer of a model folder.
pub const TRANSFORMER: &str = "transformer.safetensors";
/// The auto-encoder of a model folder.
pub const VAE: &str = "vae.safetensors";

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
    pub(crate) fn bytes(&self) -> Result<Cow<'static, [u8]>, ModelError> {
        match self {
            Self::Embedded(bytes) => Ok(Cow::Borrowed(bytes)),
            Self::OnDisk(path) => {
                let bytes = std::fs::read(path).map_err(ModelError::io("read", path))?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// Its tensors. Each gets this number type as it is read, so that no second copy of a model ever exists.
    pub(crate) fn tensors(&self, dtype: FloatDType) -> Result<WeightFile, WeightError> {
        self.tensors_of(Choice::default(), dtype)
    }

    /// Writes its bytes to another file.
    pub(crate) fn copy_to(&self, path: &Path) -> Result<(), ModelError> {
        let copied = match self {
            Self::Embedded(bytes) => std::fs::write(path, bytes),
            Self::OnDisk(from) => std::fs::copy(from, path).map(drop),
        };
        copied.map_err(ModelError::io("write", path))
    }

    /// Its tensors in the number types of the file (those of 8 bits in f32), with the weights of a training checkpoint that are wanted.
    pub(crate) fn as_stored(&self, choice: Choice) -> Result<WeightFile, WeightError> {
        match self {
            Self::Embedded(bytes) => WeightFile::from_bytes(*bytes),
            Self::OnDisk(path) => WeightFile::open_choosing(path, choice),
        }
    }

    /// As [`ModelFile::tensors`], with the weights of a training checkpoint that are wanted.
    pub(crate) fn tensors_of(
        &self,
        choice: Choice,
        dtype: FloatDType,
    ) -> Result<WeightFile, WeightError> {
        Ok(self.as_stored(choice)?.in_dtype(dtype.into()))
    }

    /// All its bytes, for a copy in a model folder.
    pub(crate) fn part_bytes(&self) -> Result<Cow<'static, [u8]>, Flaw> {
        const MOST: u64 = 1 << 30;
        let hint = "write the transformer alone: --out FILE.safetensors";
        if let Self::OnDisk(path) = self
            && (!path.is_file()
                || path
                    .extension()
                    .is_none_or(|e| e != "safetensors" && e != "json"))
        {
            let name = name_of(path);
            return Err(Flaw::new(format!(
                "has its {name} in several files or in another format; {hint}"
            )));
        }
        let bytes = self.len().map_err(|e| Flaw::new(e.to_string()))?;
        if bytes > MOST {
            return Err(Flaw::new(format!(
                "has a {} of {} GiB; {hint}",
                self.name(),
                bytes >> 30
            )));
        }
        self.bytes().map_err(|e| Flaw::new(e.to_string()))
    }

    /// Its size in bytes.
    pub(crate) fn len(&self) -> Result<u64, ModelError> {
        match self {
            Self::Embedded(bytes) => Ok(bytes.len() as u64),
            Self::OnDisk(path) => {
                let metadata = std::fs::metadata(path).map_err(ModelError::io("read", path))?;
                Ok(metadata.len())
            }
        }
    }

    /// Its SHA-256 in hexadecimal.
    pub(crate) fn sha256(&self) -> Result<String, ModelError> {
        match self {
            Self::Embedded(bytes) => Ok(checksum::of_bytes(bytes)),
            Self::OnDisk(path) => File::open(path)
                .and_then(checksum::of_reader)
                .map_err(ModelError::io("read", path)),
        }
    }

    /// The shapes of its tensors. To read them is enough to detect a truncated file.
    pub(crate) fn shapes(&self) -> Result<Shapes, Flaw> {
        let file = self.name();
        let tensors = self.tensors(FloatDType::F32);
        let damaged = |e| Flaw::new(format!("has a damaged or cut-off {file}: {e}"));
        let shapes = tensors.map_err(damaged)?.shapes();
        Ok(Shapes { file, shapes })
    }

    /// What tells it from every other file, and from itself after a change.
    pub(crate) fn identity(&self) -> String {
        match self {
            Self::Embedded(bytes) => format!("{:p}", bytes.as_ptr()),
            Self::OnDisk(path) => {
                let changed = std::fs::metadata(path).and_then(|metadata| metadata.modified());
                format!("{} {:?}", path.display(), changed.ok())
            }
        }
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

/// A part of a model that has weights of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Text,
    Transformer,
    Vae,
}

/// The shapes of the tensors in a file, by name.
pub(crate) struct Shapes {
    file: String,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl Shapes {
    /// All numbers.
    pub(crate) fn numbers(&self) -> u64 {
        let shapes = self.shapes.values();
        shapes
            .map(|shape| shape.iter().product::<usize>() as u64)
            .sum()
    }

    pub(crate) fn get(&self, key: &str) -> Result<&[usize], Flaw> {
        let shape = self.shapes.get(key).map(Vec::as_slice);
        shape.ok_or_else(|| Flaw::new(format!("has a {} without `{key}`", self.file)))
    }

    /// Refuses a tensor that has another shape than the description says.
    pub(crate) fn check(&self, key: &str, expected: &[usize]) -> Result<(), Flaw> {
        let found = self.get(key)?;
        if found == expected {
            return Ok(());
        }
        Err(Flaw::new(format!(
            "does not fit together: `{key}` has shape {found:?}, {MANIFEST} says {expected:?}"
        )))
    }
}

/// The files of a model except its description.
#[derive(Debug)]
pub(crate) struct Files {
    /// Vocabulary and weights of the text encoder, for models that take prompts.
    pub(crate) text: Option<TextFiles>,
    pub(crate) transformer: ModelFile,
    pub(crate) vae: ModelFile,
    /// Which weights of the transformer's file are taken.
    pub(crate) weights: Choice,
    /// Whether that file holds others, too.
    pub(crate) has_other_weights: bool,
}

/// Vocabulary and weights of a text encoder.
#[derive(Debug)]
pub(crate) struct TextFiles {
    pub(crate) vocab: ModelFile,
    pub(crate) weights: ModelFile,
    /// The words of the captions, if they are known.
    pub(crate) words: Option<ModelFile>,
    /// Other words, each with a name that stands for it, if there are any.
    pub(crate) neighbours: Option<ModelFile>,
}

impl Files {
    /// Those inside the program: vocabulary, words, neighbours, text encoder, transformer, auto-encoder.
    pub(crate) fn embedded(files: [&'static [u8]; 6]) -> Self {
        let files = files.map(ModelFile::Embedded);
        let [vocab, words, neighbours, weights, transformer, vae] = files;
        let (words, neighbours) = (Some(words), Some(neighbours));
        Self {
            text: Some(TextFiles {
                vocab,
                weights,
                words,
                neighbours,
            }),
            transformer,
            vae,
            weights: Choice::default(),
            has_other_weights: false,
        }
    }

    /// Those of a released model.
    pub(crate) fn released(text: Option<TextFiles>, transformer: &WeightFile, vae: &Path) -> Self {
        Self {
            text,
            transformer: ModelFile::OnDisk(transformer.path().to_owned()),
            vae: ModelFile::OnDisk(vae.to_owned()),
            weights: transformer.choice(),
            has_other_weights: transformer.has_other(),
        }
    }

    /// Those in a folder.
    pub(crate) fn in_folder(folder: &Path, has_text: bool) -> Result<Self, Flaw> {
        let open = |file: &str| ModelFile::open(folder.join(file));
        let text = || -> Result<TextFiles, Flaw> {
            let (vocab, weights) = (open(VOCAB)?, open(TEXT)?);
            let optional = |file: &str| {
                let path = folder.join(file);
                path.is_file().then_some(ModelFile::OnDisk(path))
            };
            Ok(TextFiles {
                vocab,
                weights,
                words: optional(WORDS),
                neighbours: optional(NEIGHBOURS),
            })
        };
        Ok(Self {
            text: has_text.then(text).transpose()?,
            transformer: open(TRANSFORMER)?,
            vae: open(VAE)?,
            weights: Choice::default(),
            has_other_weights: false,
        })
    }
}

/// Writes the description of the files in a folder, with their checksums.
pub(crate) fn write_manifest(folder: &Path, manifest: &mut Manifest) -> Result<(), ModelError> {
    let files: &[&str] = match manifest.text() {
        Some(_) => &[VOCAB, TEXT, TRANSFORMER, VAE],
        None => &[TRANSFORMER, VAE],
    };
    let checksum = |&file: &&str| {
        let path = folder.join(file);
        // Writers of weights make private files; a model is like any other file of the user's.
        atomic_file::make_usual(&path).map_err(ModelError::io("open", &path))?;
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
