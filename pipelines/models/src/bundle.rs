//! A model as one thing: a folder, or the one inside the program, that binds the transformer to its
//! tokenizer, its text encoder, its schedules and its sampling defaults.
//!
//! | file | content |
//! |---|---|
//! | `nextscale.json` | [`Manifest`]: shapes of all parts, sizes, sampling defaults, fingerprints |
//! | `tokenizer.json` | the text encoder's vocabulary |
//! | `text.safetensors` | T5 encoder, Hugging Face's key names |
//! | `transformer.safetensors` | Infinity transformer, official key names |
//! | `vae.safetensors` | bitwise auto-encoder, official key names |
//!
//! That is a [`Bundle`]. A [`ClassBundle`] paints classes instead of prompts: no text encoder, and a codebook
//! auto-encoder. A [`StarBundle`] makes videos, of the same five files. [`Model`] is any of them, opened by name.

mod classes;
pub mod fetch;
mod hub;
mod manifest;
mod model;
pub mod released;
mod star;
mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType};
use nextscale_bitwise::import::read_infinity;
use nextscale_bitwise::infinity::Infinity;
use nextscale_bitwise::vae::BsqVae;
use nextscale_text::{T5Config, TextEncoder, Vocab};

pub use classes::{ClassBundle, ClassManifest};
pub use hub::Places;
pub use manifest::{Grid, Manifest, ModelKind, PromptRules, Sampling, Size};
pub use model::Model;
pub use nextscale_var_core::blocks::BlockStorage;
pub use star::{FirstFrame, FrameCounts, SPRITES, StarBundle, StarManifest};

use nextscale_files::{atomic_file, checksum};

use crate::error::ModelError;
pub use weights::cast;
use weights::{Files, Weights};

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// Name of the model inside the program.
pub const DEFAULT: &str = "default";

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

/// Files up to this size are compared with their fingerprint each time they are loaded, bytes.
const VERIFIED: u64 = 1 << 30;

/// A model that was opened: its description is read and its parts fit together; no weight is loaded.
#[derive(Debug)]
pub struct Bundle {
    manifest: Manifest,
    files: Files,
}

impl Bundle {
    /// Opens the text-to-image model of that name: `default`, or a folder.
    ///
    /// # Errors
    /// No such model, one that paints no prompts, a missing or cut-off file, or parts that do not fit together.
    pub fn open(name: &str) -> Result<std::sync::Arc<Self>, ModelError> {
        match Model::open(name)? {
            Model::Text(bundle) => Ok(bundle),
            Model::Class(_) => Err(damaged(name, "paints classes, not prompts")),
            Model::Video(_) => Err(damaged(name, "makes videos, not pictures")),
        }
    }

    /// The model in a folder, whose manifest has been read.
    fn folder(name: &str, manifest: &[u8]) -> Result<Self, ModelError> {
        Self::new(manifest, Files::folder(name)?)
    }

    /// The model inside the program.
    ///
    /// # Errors
    /// A program that was built before a model was trained.
    pub fn embedded() -> Result<Self, ModelError> {
        let Some([manifest, rest @ ..]) = EMBEDDED else {
            return Err(ModelError::refused_with(
                "there is no model inside this program",
                "name a model folder: --model PATH",
            ));
        };
        Self::new(manifest, Files::new(DEFAULT, rest.map(Weights::Static)))
    }

    fn new(manifest: &[u8], files: Files) -> Result<Self, ModelError> {
        let manifest = read_manifest(&files.name, manifest)?;
        let bundle = Self { manifest, files };
        let checked = bundle.check();
        checked.map_err(|message| damaged(bundle.name(), message))?;
        Ok(bundle)
    }

    /// A model of these files, whose description was made from them.
    fn released(name: &str, manifest: Manifest, files: [PathBuf; 4]) -> Result<Self, ModelError> {
        manifest.check().map_err(|message| damaged(name, message))?;
        let files = Files::new(name, files.map(Weights::File));
        Ok(Self { manifest, files })
    }

    /// What the parts say about each other, from the manifest and the headers of the weights.
    fn check(&self) -> Result<(), String> {
        let Manifest {
            text,
            transformer,
            vae,
            ..
        } = &self.manifest;
        self.manifest.check()?;
        let files = &self.files;
        let word = files.transformer.shape("word_embed.weight")?;
        equal(
            "word_embed.weight",
            &word,
            &[transformer.width, transformer.code_dim],
        )?;
        let norm = files.transformer.shape("text_norm.weight")?;
        equal("text_norm.weight", &norm, &[transformer.text_channels])?;
        let table = files.text.shape("shared.weight")?;
        equal("shared.weight", &table, &[text.vocab_size, text.d_model])?;
        let out = files.vae.shape("encoder.conv_out.conv.weight")?;
        equal("encoder.conv_out.conv.weight", &out[..1], &[vae.bits])
    }

    /// What painting takes; `rows` are those of the transformer's batch, two a picture under guidance.
    ///
    /// # Errors
    /// A size without a schedule.
    pub fn estimate(
        &self,
        size: &Size,
        rows: usize,
        (dtype, device, blocks): (FloatDType, &Device, BlockStorage),
    ) -> Result<crate::memory::Estimate, String> {
        let Manifest {
            text, transformer, ..
        } = &self.manifest;
        let vae = self.files.vae.len().unwrap_or_default();
        let schedule = size.schedule()?;
        let pixels = (size.width * size.height) as u64;
        let of = crate::memory::Estimate::infinity;
        let rows = rows as u64;
        let place = (dtype, crate::memory::working(dtype, device), blocks);
        Ok(of(text, transformer, vae, &schedule, pixels, rows, place))
    }

    /// A doubt about the tokenizer that nothing but its name can tell.
    pub fn doubt(&self) -> Option<String> {
        match &self.files.vae {
            Weights::File(path) => released::doubt(path),
            Weights::Static(_) => None,
        }
    }

    /// The name that it was opened by.
    pub fn name(&self) -> &str {
        &self.files.name
    }

    /// Its description.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 over the fingerprints of all its files; none if the manifest has no fingerprints.
    pub fn fingerprint(&self) -> Option<String> {
        fingerprint(&self.manifest.fingerprints)
    }

    /// The SHA-256 that the manifest states for a file.
    pub fn fingerprint_of(&self, file: &str) -> Option<&str> {
        self.manifest.fingerprints.get(file).map(String::as_str)
    }

    /// Loads vocabulary and text encoder, in f32.
    ///
    /// # Errors
    /// Damaged files, and weights that are not those of the manifest.
    pub fn text_encoder(&self, device: &Device) -> Result<TextEncoder, ModelError> {
        let Manifest {
            text,
            transformer,
            fingerprints,
            ..
        } = &self.manifest;
        let longest = transformer.text_max_len;
        self.files.text_encoder(fingerprints, text, longest, device)
    }

    /// Loads the transformer, with its blocks held as wanted.
    ///
    /// # Errors
    /// A damaged file, and weights that are not those of the manifest.
    pub fn transformer(
        &self,
        device: &Device,
        dtype: FloatDType,
        blocks: BlockStorage,
    ) -> Result<Infinity, ModelError> {
        let (config, prints) = (&self.manifest.transformer, &self.manifest.fingerprints);
        let read = |file| read_infinity(config, file, blocks, device);
        self.files.transformer(prints, dtype, read)
    }

    /// Loads the auto-encoder, in f32.
    ///
    /// # Errors
    /// A damaged file, and weights that are not those of the manifest.
    pub fn vae(&self, device: &Device) -> Result<BsqVae, ModelError> {
        let (config, prints) = (&self.manifest.vae, &self.manifest.fingerprints);
        self.files
            .vae(prints, |file| config.init(device).read(file))
    }

    /// Completes a model folder: writes the manifest with the fingerprints of the files that lie
    /// there, and opens the result.
    ///
    /// # Errors
    /// Missing files, a folder that cannot be written to, parts that do not fit together.
    pub fn seal(folder: &Path, mut manifest: Manifest) -> Result<Self, ModelError> {
        manifest.fingerprints = prints(folder, &[VOCAB, TEXT, TRANSFORMER, VAE])?;
        let json = write_manifest(folder, &manifest)?;
        Self::folder(&folder.display().to_string(), json.as_bytes())
    }
}

/// A description, read from the bytes of its file.
fn read_manifest<T: serde::de::DeserializeOwned>(
    model: &str,
    manifest: &[u8],
) -> Result<T, ModelError> {
    let read = serde_json::from_slice(manifest);
    read.map_err(|e| damaged(model, format!("has an unreadable {MANIFEST}: {e}")))
}

/// Loads the text encoder of `model`, which takes prompts of up to `longest` tokens.
fn load_text(
    model: &str,
    vocab: &Weights,
    text: &Weights,
    config: &T5Config,
    longest: usize,
    device: &Device,
) -> Result<TextEncoder, ModelError> {
    let fail = |e: nextscale_text::TextError| damaged(model, format!("cannot be loaded: {e}"));
    let vocab = Vocab::from_bytes(&vocab.bytes()?).map_err(fail)?;
    let mut t5 = config.init(device);
    let file = text.tensors(FloatDType::F32);
    let read = file.and_then(|file| nextscale_text::import::read(&mut t5, file));
    read.map_err(|e| fail(e.into()))?;
    TextEncoder::new(vocab.with_max_len(longest), t5).map_err(fail)
}

/// SHA-256 over all fingerprints, if there are any.
fn fingerprint(all: &BTreeMap<String, String>) -> Option<String> {
    let lines: String = all
        .iter()
        .map(|(file, checksum)| format!("{file} {checksum}\n"))
        .collect();
    (!all.is_empty()).then(|| checksum::of_bytes(lines.as_bytes()))
}

/// Refuses a file of `model` that is not the one that its manifest describes.
fn verify(
    model: &str,
    file: &str,
    stated: Option<&String>,
    weights: &Weights,
) -> Result<(), ModelError> {
    let Some(stated) = stated else {
        return Ok(());
    };
    if weights.len()? > VERIFIED || weights.sha256()? == *stated {
        return Ok(());
    }
    let message = format!("has a {file} that is not the one its {MANIFEST} describes");
    let hint = "files of different models were mixed, or the file was damaged: fetch it again";
    Err(ModelError::Model {
        model: model.to_owned(),
        message,
        hint: Some(hint.into()),
    })
}

/// The fingerprints of files in a folder, which everybody may read from now on.
fn prints(folder: &Path, files: &[&str]) -> Result<BTreeMap<String, String>, ModelError> {
    let print = |&file: &&str| {
        let path = folder.join(file);
        // Writers of weights make private files; a model is like any other file of the user's.
        nextscale_files::atomic_file::make_readable(&path)
            .map_err(ModelError::io("open", &path))?;
        Ok((file.to_owned(), Weights::File(path).sha256()?))
    };
    files.iter().map(print).collect()
}

/// Writes a manifest into its folder; returns its text.
fn write_manifest(folder: &Path, manifest: &impl serde::Serialize) -> Result<String, ModelError> {
    let json = serde_json::to_string_pretty(manifest)
        .map_err(|e| ModelError::refused(format!("cannot write {MANIFEST}: {e}")))?;
    let path: PathBuf = folder.join(MANIFEST);
    atomic_file::write(&path, (json.clone() + "\n").as_bytes())
        .map_err(ModelError::io("write", &path))?;
    Ok(json)
}

fn damaged(model: &str, message: impl ToString) -> ModelError {
    ModelError::Model {
        model: model.to_owned(),
        message: message.to_string(),
        hint: None,
    }
}

fn equal(key: &str, found: &[usize], wanted: &[usize]) -> Result<(), String> {
    match found == wanted {
        true => Ok(()),
        false => Err(format!(
            "does not fit together: `{key}` has shape {found:?}, {MANIFEST} says {wanted:?}"
        )),
    }
}
