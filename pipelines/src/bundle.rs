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

mod manifest;
mod weights;

use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType};
use nextscale_bitwise::infinity::Infinity;
use nextscale_bitwise::vae::BsqVae;
use nextscale_text::{TextEncoder, Vocab};
use sha2::{Digest, Sha256};

pub use manifest::{Grid, Manifest, ModelKind, PromptRules, Sampling, Size};

use crate::error::PipelineError;
pub(crate) use weights::cast;
use weights::{Weights, hex};

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
    name: String,
    manifest: Manifest,
    vocab: Weights,
    text: Weights,
    transformer: Weights,
    vae: Weights,
}

impl Bundle {
    /// Opens the model of that name: `default`, or a folder.
    ///
    /// # Errors
    /// No such model, a missing or cut-off file, or parts that do not fit together.
    pub fn open(name: &str) -> Result<Self, PipelineError> {
        let path = Path::new(name);
        if name == DEFAULT && !path.join(MANIFEST).is_file() {
            return Self::embedded();
        }
        if !path.is_dir() {
            return Err(PipelineError::Model {
                model: name.to_owned(),
                message: "does not exist".into(),
                hint: Some(
                    "name a model folder, or `default` for the model inside the program".into(),
                ),
            });
        }
        let read = |file: &str| Weights::open(path.join(file)).map_err(|e| damaged(name, e));
        let (manifest, vocab) = (read(MANIFEST)?.bytes()?, read(VOCAB)?);
        let (text, transformer, vae) = (read(TEXT)?, read(TRANSFORMER)?, read(VAE)?);
        Self::new(name, &manifest, vocab, text, transformer, vae)
    }

    /// The model inside the program.
    ///
    /// # Errors
    /// A program that was built before a model was trained.
    pub fn embedded() -> Result<Self, PipelineError> {
        let Some([manifest, vocab, text, transformer, vae]) = EMBEDDED else {
            return Err(PipelineError::refused_with(
                "there is no model inside this program",
                "name a model folder: --model PATH",
            ));
        };
        let [vocab, text, transformer, vae] = [vocab, text, transformer, vae].map(Weights::Static);
        Self::new(DEFAULT, manifest, vocab, text, transformer, vae)
    }

    fn new(
        name: &str,
        manifest: &[u8],
        vocab: Weights,
        text: Weights,
        transformer: Weights,
        vae: Weights,
    ) -> Result<Self, PipelineError> {
        let manifest = serde_json::from_slice(manifest)
            .map_err(|e| damaged(name, format!("has an unreadable {MANIFEST}: {e}")))?;
        let name = name.to_owned();
        let bundle = Self {
            name,
            manifest,
            vocab,
            text,
            transformer,
            vae,
        };
        bundle
            .check()
            .map_err(|message| damaged(&bundle.name, message))?;
        Ok(bundle)
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
        let word = self.transformer.shape("word_embed.weight")?;
        equal(
            "word_embed.weight",
            &word,
            &[transformer.width, transformer.code_dim],
        )?;
        let norm = self.transformer.shape("text_norm.weight")?;
        equal("text_norm.weight", &norm, &[transformer.text_channels])?;
        let table = self.text.shape("shared.weight")?;
        equal("shared.weight", &table, &[text.vocab_size, text.d_model])?;
        let out = self.vae.shape("encoder.conv_out.conv.weight")?;
        equal("encoder.conv_out.conv.weight", &out[..1], &[vae.bits])
    }

    /// The name that it was opened by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its description.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 over the fingerprints of all its files; none if the manifest has no fingerprints.
    pub fn fingerprint(&self) -> Option<String> {
        let all = &self.manifest.fingerprints;
        let mut hash = Sha256::new();
        all.iter()
            .for_each(|(file, print)| hash.update(format!("{file} {print}\n")));
        (!all.is_empty()).then(|| hex(&hash.finalize()))
    }

    /// The SHA-256 that the manifest states for a file.
    pub fn fingerprint_of(&self, file: &str) -> Option<&str> {
        self.manifest.fingerprints.get(file).map(String::as_str)
    }

    /// Loads vocabulary and text encoder, in f32.
    ///
    /// # Errors
    /// Damaged files, and weights that are not those of the manifest.
    pub fn text_encoder(&self, device: &Device) -> Result<TextEncoder, PipelineError> {
        self.verify(VOCAB, &self.vocab)?;
        self.verify(TEXT, &self.text)?;
        let fail =
            |e: nextscale_text::TextError| damaged(&self.name, format!("cannot be loaded: {e}"));
        let vocab = Vocab::from_bytes(&self.vocab.bytes()?).map_err(fail)?;
        let vocab = vocab.with_max_len(self.manifest.transformer.text_max_len);
        let mut t5 = self.manifest.text.init(device);
        match &self.text {
            Weights::Static(bytes) => nextscale_text::import::load_bytes(&mut t5, bytes.to_vec()),
            Weights::File(path) => nextscale_text::import::load(&mut t5, path),
        }
        .map_err(fail)?;
        TextEncoder::new(vocab, t5).map_err(fail)
    }

    /// Loads the transformer.
    ///
    /// # Errors
    /// A damaged file, and weights that are not those of the manifest.
    pub fn transformer(
        &self,
        device: &Device,
        dtype: FloatDType,
    ) -> Result<Infinity, PipelineError> {
        self.verify(TRANSFORMER, &self.transformer)?;
        let config = &self.manifest.transformer;
        let model = match &self.transformer {
            Weights::Static(bytes) => {
                nextscale_bitwise::import::load_infinity_bytes(config, bytes.to_vec(), device)
            }
            Weights::File(path) => nextscale_bitwise::import::load_infinity(config, path, device),
        };
        let model = model.map_err(|e| damaged(&self.name, format!("cannot be loaded: {e}")))?;
        Ok(weights::cast(model, dtype))
    }

    /// Loads the auto-encoder, in f32.
    ///
    /// # Errors
    /// A damaged file, and weights that are not those of the manifest.
    pub fn vae(&self, device: &Device) -> Result<BsqVae, PipelineError> {
        self.verify(VAE, &self.vae)?;
        let fresh = self.manifest.vae.init(device);
        let loaded = match &self.vae {
            Weights::Static(bytes) => fresh.load_bytes(bytes.to_vec()),
            Weights::File(path) => fresh.load(path),
        };
        loaded.map_err(|e| damaged(&self.name, format!("cannot be loaded: {e}")))
    }

    /// Refuses a file that is not the one that the manifest describes.
    fn verify(&self, file: &str, weights: &Weights) -> Result<(), PipelineError> {
        let Some(stated) = self.fingerprint_of(file) else {
            return Ok(());
        };
        if weights.len()? > VERIFIED || weights.sha256()? == stated {
            return Ok(());
        }
        let message = format!("has a {file} that is not the one its {MANIFEST} describes");
        let hint = "files of different models were mixed, or the file was damaged: fetch it again";
        Err(PipelineError::Model {
            model: self.name.clone(),
            message,
            hint: Some(hint.into()),
        })
    }

    /// Completes a model folder: writes the manifest with the fingerprints of the files that lie
    /// there, and opens the result.
    ///
    /// # Errors
    /// Missing files, a folder that cannot be written to, parts that do not fit together.
    pub fn seal(folder: &Path, mut manifest: Manifest) -> Result<Self, PipelineError> {
        manifest.fingerprints.clear();
        for file in [VOCAB, TEXT, TRANSFORMER, VAE] {
            let path = folder.join(file);
            // Writers of weights make private files; a model is like any other file of the user's.
            crate::picture::make_readable(&path).map_err(PipelineError::io("open", &path))?;
            let print = Weights::File(path).sha256()?;
            manifest.fingerprints.insert(file.to_owned(), print);
        }
        let json = serde_json::to_string_pretty(&manifest)
            .map_err(|e| PipelineError::refused(format!("cannot write {MANIFEST}: {e}")))?;
        let path: PathBuf = folder.join(MANIFEST);
        crate::picture::write_whole(&path, (json + "\n").as_bytes())?;
        Self::open(&folder.display().to_string())
    }
}

fn damaged(model: &str, message: impl ToString) -> PipelineError {
    PipelineError::Model {
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
