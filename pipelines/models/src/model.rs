//! A model that was opened: its description and its files, whose parts fit together. No weight is loaded yet.

use std::path::Path;

use burn::tensor::FloatDType;
use nextscale_files::checksum;
use nextscale_var_core::blocks::BlockStorage;
use nextscale_weights::Choice;

use crate::device::Placement;
use crate::error::{Flaw, ModelError};
use crate::files::{
    Files, MANIFEST, ModelFile, NEIGHBOURS, Part, TEXT, TRANSFORMER, VAE, VOCAB, WORDS,
    write_manifest,
};
use crate::lora::{Adapter, LoraChoice};
use crate::manifest::{
    Architecture, InfinityManifest, InfinityStarManifest, Manifest, VarManifest,
};
use crate::released::notices;
use crate::sampling::Sampling;
use crate::size::Size;

/// A model that was opened, whatever its architecture.
///
/// | file of a model folder | content |
/// |---|---|
/// | `nextscale.json` | [`Manifest`]: shapes of all parts, sizes, sampling defaults, checksums |
/// | `tokenizer.json` | the text encoder's vocabulary |
/// | `words.txt` | the words of the captions that it was trained on; may be absent |
/// | `neighbours.txt` | other words, each with a name that stands for it; may be absent |
/// | `text.safetensors` | T5 encoder, Hugging Face's key names |
/// | `transformer.safetensors` | the transformer, official key names |
/// | `vae.safetensors` | the auto-encoder, official key names |
///
/// VAR has neither vocabulary nor text encoder.
#[derive(Debug)]
pub struct Model {
    name: String,
    manifest: Manifest,
    /// None if its weights are random.
    files: Option<Files>,
    adapters: Vec<Adapter>,
    notices: Vec<String>,
}

impl Model {
    /// A model whose description was read; compares it with the headers of the weights.
    pub(crate) fn new(name: &str, manifest: Manifest, files: Files) -> Result<Self, ModelError> {
        let model = Self::from_files(name, manifest, files)?;
        if let Some(files) = model.files() {
            check_headers(&model.manifest, files).map_err(|flaw| flaw.of(name))?;
        }
        Ok(model)
    }

    /// A model whose description was made from its files.
    pub(crate) fn released(
        name: &str,
        manifest: Manifest,
        files: Files,
    ) -> Result<Self, ModelError> {
        let is_released = crate::released::names().any(|released| released == name);
        let notices = notices(&files, &manifest, is_released);
        let model = Self::from_files(name, manifest, files)?;
        Ok(Self { notices, ..model })
    }

    /// The same with more that should be known of it.
    pub(crate) fn with_notices(mut self, notices: impl IntoIterator<Item = String>) -> Self {
        self.notices.extend(notices);
        self
    }

    /// The same with the weights of the transformer in another file, which has official names, and without its checksum.
    ///
    /// # Errors
    /// A model with random weights.
    pub fn with_transformer(mut self, path: &Path) -> Result<Self, ModelError> {
        let Some(files) = &mut self.files else {
            return Err(ModelError::flawed(&self.name, "has random weights"));
        };
        files.transformer = ModelFile::OnDisk(path.to_owned());
        files.weights = Choice::default();
        let mut checksums = self.manifest.checksums().clone();
        checksums.remove(TRANSFORMER);
        self.manifest.set_checksums(checksums);
        Ok(self)
    }

    /// Completes a folder with another transformer of the same shape in it: copies the other parts of the model there, and writes the
    /// description, with another name and text if they are given.
    ///
    /// # Errors
    /// A model whose parts are in several files or larger than a gibibyte, and those of [`Model::seal`].
    pub fn complete_folder(
        &self,
        folder: &Path,
        name: Option<&str>,
        about: Option<&str>,
    ) -> Result<Self, ModelError> {
        let Some(files) = &self.files else {
            return Err(ModelError::flawed(&self.name, "has random weights"));
        };
        let text = files.text.as_ref();
        let mut parts = vec![(VAE, Some(&files.vae))];
        if let Some(text) = text {
            parts.push((VOCAB, Some(&text.vocab)));
            parts.push((TEXT, Some(&text.weights)));
            parts.push((WORDS, text.words.as_ref()));
            parts.push((NEIGHBOURS, text.neighbours.as_ref()));
        }
        for (part, file) in parts {
            let Some(file) = file else { continue };
            let path = folder.join(part);
            let bytes = file.part_bytes().map_err(|flaw| flaw.of(&self.name))?;
            nextscale_files::atomic_file::write(&path, &bytes)
                .map_err(ModelError::io("write", &path))?;
        }
        let mut manifest = self.manifest.clone();
        manifest.rename(name, about);
        Self::seal(folder, manifest)
    }

    /// What tells the weights of its auto-encoder from all others; none if they are random.
    pub fn autoencoder_identity(&self) -> Option<String> {
        let own = self.checksum_of(VAE).map(str::to_owned);
        own.or_else(|| Some(self.files()?.vae.identity()))
    }

    /// What tells the weights of its text encoder from all others; none if it has none, or they are random.
    pub fn text_encoder_identity(&self) -> Option<String> {
        let text = self.files()?.text.as_ref()?;
        let own = self.checksum_of(TEXT).map(str::to_owned);
        own.or_else(|| Some(text.weights.identity()))
    }

    /// The same with adapters, which are added to the weights of the transformer when it is loaded, one after the other.
    ///
    /// # Errors
    /// An adapter that cannot be read, or that was trained for another model; a model with random weights.
    pub fn with_loras(mut self, choices: &[LoraChoice]) -> Result<Self, ModelError> {
        if choices.is_empty() {
            return Ok(self);
        }
        let Some(files) = self.files() else {
            let message = "has random weights, to which no adapter is added";
            return Err(ModelError::flawed(&self.name, message));
        };
        let weights = files.transformer.tensors_of(files.weights, FloatDType::F32);
        let weights = weights.map_err(|e| ModelError::flawed(&self.name, e))?;
        for choice in choices {
            let adapter = Adapter::open(choice)?;
            adapter.check(&self.name, &weights)?;
            self.adapters.push(adapter);
        }
        Ok(self)
    }

    /// The adapters on it.
    pub(crate) fn adapters(&self) -> &[Adapter] {
        &self.adapters
    }

    fn from_files(name: &str, manifest: Manifest, files: Files) -> Result<Self, ModelError> {
        Self::checked(name.to_owned(), manifest, Some(files))
    }

    /// A model of this description without files: its weights are random.
    ///
    /// # Errors
    /// A description whose parts do not fit together.
    pub fn with_random_weights(manifest: Manifest) -> Result<Self, ModelError> {
        Self::checked(manifest.name().to_owned(), manifest, None)
    }

    fn checked(name: String, manifest: Manifest, files: Option<Files>) -> Result<Self, ModelError> {
        manifest.check().map_err(|flaw| flaw.of(&name))?;
        Ok(Self {
            name,
            manifest,
            files,
            adapters: vec![],
            notices: vec![],
        })
    }

    /// The model in a folder.
    pub(crate) fn in_folder(folder: &Path) -> Result<Self, ModelError> {
        let name = folder.display().to_string();
        let path = folder.join(MANIFEST);
        let bytes = std::fs::read(&path).map_err(ModelError::io("read", &path))?;
        let manifest = read_manifest(&name, &bytes)?;
        let files = Files::in_folder(folder, manifest.text().is_some());
        Self::new(&name, manifest, files.map_err(|flaw| flaw.of(&name))?)
    }

    /// Completes a model folder: writes its description with the checksums of the files that lie there, and opens the
    /// result.
    ///
    /// # Errors
    /// Missing files, a folder that cannot be written to, parts that do not fit together.
    pub fn seal(folder: &Path, mut manifest: Manifest) -> Result<Self, ModelError> {
        write_manifest(folder, &mut manifest)?;
        Self::in_folder(folder)
    }

    /// The name that it was opened by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether its weights are in files; else they are random, and it has no text encoder.
    pub fn has_files(&self) -> bool {
        self.files.is_some()
    }

    /// Its description.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its kind.
    pub fn architecture(&self) -> Architecture {
        self.manifest.architecture()
    }

    /// The description of an Infinity model.
    ///
    /// # Errors
    /// A model of another architecture.
    pub fn infinity(&self) -> Result<&InfinityManifest, ModelError> {
        match &self.manifest {
            Manifest::Infinity(manifest) => Ok(manifest),
            _ => Err(self.is_not(Architecture::Infinity)),
        }
    }

    /// Whether it edits an image that is given, by instruction, instead of generating one.
    pub fn edits_by_instruction(&self) -> bool {
        matches!(&self.manifest, Manifest::Infinity(manifest) if manifest.edits_by_instruction)
    }

    /// The description of a VAR model.
    ///
    /// # Errors
    /// A model of another architecture.
    pub fn var(&self) -> Result<&VarManifest, ModelError> {
        match &self.manifest {
            Manifest::Var(manifest) => Ok(manifest),
            _ => Err(self.is_not(Architecture::Var)),
        }
    }

    /// The description of an InfinityStar model.
    ///
    /// # Errors
    /// A model of another architecture.
    pub fn infinity_star(&self) -> Result<&InfinityStarManifest, ModelError> {
        match &self.manifest {
            Manifest::InfinityStar(manifest) => Ok(manifest),
            _ => Err(self.is_not(Architecture::InfinityStar)),
        }
    }

    /// How it samples unless asked otherwise.
    ///
    /// # Errors
    /// A model of videos.
    pub fn sampling(&self) -> Result<&Sampling, ModelError> {
        match &self.manifest {
            Manifest::Infinity(manifest) => Ok(&manifest.sampling),
            Manifest::Var(manifest) => Ok(&manifest.sampling),
            Manifest::InfinityStar(_) => Err(self.is_not_of_images()),
        }
    }

    /// Blocks of its transformer.
    pub fn depth(&self) -> usize {
        match &self.manifest {
            Manifest::Infinity(manifest) => manifest.transformer.depth,
            Manifest::Var(manifest) => manifest.transformer.depth,
            Manifest::InfinityStar(manifest) => manifest.transformer.depth,
        }
    }

    pub(crate) fn is_not_of_images(&self) -> ModelError {
        ModelError::flawed(&self.name, "generates videos, not images")
    }

    fn is_not(&self, expected: Architecture) -> ModelError {
        let found = self.architecture();
        let message = format!("is a model of the architecture {found}, not {expected}");
        ModelError::flawed(&self.name, message)
    }

    /// SHA-256 over the checksums of all its files and adapters; none if the description has no checksums.
    pub fn fingerprint(&self) -> Option<String> {
        let checksums = self.manifest.checksums();
        let files = checksums
            .iter()
            .map(|(file, checksum)| format!("{file} {checksum}\n"));
        let adapters = self.adapters.iter();
        let adapters = adapters.map(|adapter| adapter.identity() + "\n");
        let lines: String = files.chain(adapters).collect();
        (!checksums.is_empty()).then(|| checksum::of_bytes(lines.as_bytes()))
    }

    /// The SHA-256 that the description states for a file.
    pub fn checksum_of(&self, file: &str) -> Option<&str> {
        self.manifest.checksums().get(file).map(String::as_str)
    }

    /// What should be known of it, one sentence each: which of several tokenizers or weights was taken, and that a file is
    /// easily taken for what it is not.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// What tells its weights from all others; none if they are random.
    pub(crate) fn identity(&self) -> Option<String> {
        let files = self.files()?;
        let text = files.text.as_ref();
        let text = text.map(|text| (text.vocab.identity(), text.weights.identity()));
        let (transformer, vae) = (files.transformer.identity(), files.vae.identity());
        let weights = files.weights;
        let adapters: Vec<String> = self.adapters.iter().map(Adapter::identity).collect();
        Some(format!(
            "{} {text:?} {transformer} {weights:?} {vae} {adapters:?}",
            self.name
        ))
    }

    /// Bytes of the weights of a part.
    pub(crate) fn bytes_of(&self, part: Part, placement: &Placement) -> Result<u64, ModelError> {
        let Some(files) = self.files() else {
            return Ok(0);
        };
        let file = match part {
            Part::Text => files.text.as_ref().map(|text| &text.weights),
            Part::Transformer => Some(&files.transformer),
            Part::Vae => Some(&files.vae),
        };
        let size = match (part, placement.blocks) {
            (Part::Text | Part::Vae, _) => 4,
            (Part::Transformer, BlockStorage::Int8) => 1,
            // Few of them are in memory.
            (Part::Transformer, BlockStorage::Streamed) => 0,
            (Part::Transformer, BlockStorage::Loaded) => match placement.dtype {
                FloatDType::F16 | FloatDType::BF16 => 2,
                _ => 4,
            },
        };
        let shapes = file.map(|file| file.shapes()).transpose();
        let shapes = shapes.map_err(|flaw| flaw.of(&self.name))?;
        Ok(shapes.map_or(0, |shapes| size * shapes.numbers()))
    }

    /// Its files except its description; none if its weights are random.
    pub(crate) fn files(&self) -> Option<&Files> {
        self.files.as_ref()
    }

    /// The size of these pixels.
    ///
    /// # Errors
    /// A size that the model does not generate.
    pub fn size(&self, width: usize, height: usize) -> Result<Size, ModelError> {
        let sizes = self.manifest.sizes();
        if let Some(size) = Size::find(&sizes, Some(width), Some(height)) {
            return Ok(size.clone());
        }
        Err(ModelError::Model {
            model: self.name.clone(),
            message: format!("does not generate {width}x{height} pixels"),
            hint: Size::nearest(&sizes, Some(width), Some(height))
                .map(|size| format!("the nearest is {}x{}", size.width, size.height)),
        })
    }

    /// The size that a model generates unless asked otherwise.
    pub fn default_size(&self) -> Result<Size, ModelError> {
        let first = self.manifest.sizes().into_iter().next();
        first.ok_or_else(|| ModelError::flawed(&self.name, "names no size that it generates"))
    }
}

pub(crate) fn read_manifest(model: &str, json: &[u8]) -> Result<Manifest, ModelError> {
    let read = serde_json::from_slice(json);
    read.map_err(|e| ModelError::flawed(model, format!("has an unreadable {MANIFEST}: {e}")))
}

/// Compares a description with the headers of the weights.
fn check_headers(manifest: &Manifest, files: &Files) -> Result<(), Flaw> {
    if let (Some(config), Some(files)) = (manifest.text(), &files.text) {
        let table = [config.vocab_size, config.d_model];
        files.weights.shapes()?.check("shared.weight", &table)?;
    }
    let (transformer, vae) = (files.transformer.shapes()?, files.vae.shapes()?);
    match manifest {
        Manifest::Infinity(manifest) => {
            let config = &manifest.transformer;
            transformer.check("word_embed.weight", &[config.width, config.code_dim])?;
            transformer.check("text_norm.weight", &[config.text_channels])?;
            let key = "encoder.conv_out.conv.weight";
            let mut expected = vae.get(key)?.to_vec();
            expected[0] = manifest.vae.bits;
            vae.check(key, &expected)
        }
        Manifest::Var(_) => Ok(()),
        Manifest::InfinityStar(manifest) => {
            let config = &manifest.transformer;
            let (width, bits) = (config.width, config.bits);
            transformer.check("word_embed.weight", &[width, bits.detail])?;
            transformer.check("semantic_head2.weight", &[2 * bits.semantic, width])?;
            let text_rows = [config.text_max_len, config.text_channels];
            transformer.check("cfg_uncond", &text_rows)?;
            let channels = manifest.vae.latent_channels();
            vae.check("proj_up.weight", &[channels; 2])
        }
    }
}
