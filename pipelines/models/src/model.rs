//! A model that was opened: its description and its files, whose parts fit together. No weight is loaded yet.

use std::path::Path;

use burn::tensor::Device;
use nextscale_bitwise::import::read_infinity;
use nextscale_bitwise::infinity::Infinity;
use nextscale_bitwise::vae::BsqVae;
use nextscale_files::checksum;
use nextscale_text::TextEncoder;
use nextscale_tokenizer::vqvae::{VqCodes, VqVae};
use nextscale_var_core::var::Var;
use nextscale_var_core::var::read_var;
use nextscale_video::InfinityStarVae;
use nextscale_video::infinity_star::{InfinityStar, read_infinity_star};

use crate::device::Placement;
use crate::error::{Flaw, ModelError};
use crate::files::{Files, Loader, MANIFEST, ModelFile, write_manifest};
use crate::manifest::{
    Architecture, InfinityManifest, InfinityStarManifest, Manifest, VarManifest,
};
use crate::released::lookalike_warning;
use crate::size::Size;

/// A model that was opened, whatever its architecture.
///
/// | file of a model folder | content |
/// |---|---|
/// | `nextscale.json` | [`Manifest`]: shapes of all parts, sizes, sampling defaults, checksums |
/// | `tokenizer.json` | the text encoder's vocabulary |
/// | `text.safetensors` | T5 encoder, Hugging Face's key names |
/// | `transformer.safetensors` | the transformer, official key names |
/// | `vae.safetensors` | the auto-encoder, official key names |
///
/// VAR has neither vocabulary nor text encoder.
#[derive(Debug)]
pub struct Model {
    name: String,
    manifest: Manifest,
    files: Files,
}

impl Model {
    /// A model whose description was read; compares it with the headers of the weights.
    pub(crate) fn new(name: &str, manifest: Manifest, files: Files) -> Result<Self, ModelError> {
        let model = Self::released(name, manifest, files)?;
        model.check_headers().map_err(|flaw| flaw.of(name))?;
        Ok(model)
    }

    /// A model whose description was made from its files.
    pub(crate) fn released(
        name: &str,
        manifest: Manifest,
        files: Files,
    ) -> Result<Self, ModelError> {
        manifest.check().map_err(|flaw| flaw.of(name))?;
        let name = name.to_owned();
        Ok(Self {
            name,
            manifest,
            files,
        })
    }

    /// A model without files, whose weights are made up.
    pub(crate) fn without_files(manifest: Manifest) -> Result<Self, ModelError> {
        let name = manifest.name().to_owned();
        let none = Files::released(None, "".into(), "".into());
        Self::released(&name, manifest, none)
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

    fn check_headers(&self) -> Result<(), Flaw> {
        let Files {
            text,
            transformer,
            vae,
        } = &self.files;
        if let (Some(config), Some(files)) = (self.manifest.text(), text) {
            let table = [config.vocab_size, config.d_model];
            files.weights.check_shape("shared.weight", &table)?;
        }
        match &self.manifest {
            Manifest::Infinity(manifest) => check_infinity(manifest, transformer, vae),
            Manifest::Var(_) => transformer.header().and(vae.header()).map(drop),
            Manifest::InfinityStar(manifest) => check_infinity_star(manifest, transformer, vae),
        }
    }

    /// The name that it was opened by.
    pub fn name(&self) -> &str {
        &self.name
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

    pub(crate) fn is_not_of_images(&self) -> ModelError {
        ModelError::flawed(&self.name, "generates videos, not images")
    }

    fn is_not(&self, expected: Architecture) -> ModelError {
        let found = self.architecture();
        let message = format!("is a model of the architecture {found}, not {expected}");
        ModelError::flawed(&self.name, message)
    }

    /// SHA-256 over the checksums of all its files; none if the description has no checksums.
    pub fn fingerprint(&self) -> Option<String> {
        let checksums = self.manifest.checksums();
        let lines: String = checksums
            .iter()
            .map(|(file, checksum)| format!("{file} {checksum}\n"))
            .collect();
        (!checksums.is_empty()).then(|| checksum::of_bytes(lines.as_bytes()))
    }

    /// The SHA-256 that the description states for a file.
    pub fn checksum_of(&self, file: &str) -> Option<&str> {
        self.manifest.checksums().get(file).map(String::as_str)
    }

    /// A warning about a tokenizer that is easily taken for another one.
    pub fn lookalike_warning(&self) -> Option<String> {
        match &self.files.vae {
            ModelFile::OnDisk(path) => lookalike_warning(path),
            ModelFile::Embedded(_) => None,
        }
    }

    /// Bytes of the auto-encoder's file.
    pub(crate) fn vae_bytes(&self) -> u64 {
        self.files.vae_bytes()
    }

    fn loader(&self) -> Loader<'_> {
        Loader {
            model: &self.name,
            files: &self.files,
            checksums: self.manifest.checksums(),
        }
    }

    /// Loads vocabulary and text encoder, in f32.
    ///
    /// # Errors
    /// A model without one, damaged files, and weights that are not those of the description.
    pub fn load_text_encoder(&self, device: &Device) -> Result<TextEncoder, ModelError> {
        let manifest = &self.manifest;
        let (Some(config), Some(max_len)) = (manifest.text(), manifest.text_max_len()) else {
            return Err(ModelError::flawed(&self.name, "has no text encoder"));
        };
        self.loader().text_encoder(config, max_len, device)
    }

    /// Loads the transformer of an Infinity model.
    ///
    /// # Errors
    /// Another architecture, a damaged file, and weights that are not those of the description.
    pub fn load_infinity(&self, placement: &Placement) -> Result<Infinity, ModelError> {
        let config = &self.infinity()?.transformer;
        let read = |file| read_infinity(config, file, placement.blocks, &placement.device);
        self.loader().transformer(placement.dtype, read)
    }

    /// Loads the transformer of a VAR model.
    ///
    /// # Errors
    /// Another architecture, a damaged file, and weights that are not those of the description.
    pub fn load_var(&self, placement: &Placement) -> Result<Var, ModelError> {
        let config = &self.var()?.transformer;
        let read = |file| read_var(config, file, placement.blocks, &placement.device);
        self.loader().transformer(placement.dtype, read)
    }

    /// Loads the transformer of an InfinityStar model.
    ///
    /// # Errors
    /// Another architecture, a damaged file, and weights that are not those of the description.
    pub fn load_infinity_star(&self, placement: &Placement) -> Result<InfinityStar, ModelError> {
        let config = &self.infinity_star()?.transformer;
        let read = |file| read_infinity_star(config, file, placement.blocks, &placement.device);
        self.loader().transformer(placement.dtype, read)
    }

    /// Loads the auto-encoder of an Infinity model, in f32.
    ///
    /// # Errors
    /// Another architecture, a damaged file, and weights that are not those of the description.
    pub fn load_bsq_vae(&self, device: &Device) -> Result<BsqVae, ModelError> {
        let config = &self.infinity()?.vae;
        self.loader().vae(|file| config.init(device).read(file))
    }

    /// Loads the auto-encoder of a VAR model, in f32.
    ///
    /// # Errors
    /// Another architecture, a damaged file, and weights that are not those of the description.
    pub fn load_vq_vae(&self, device: &Device) -> Result<VqVae, ModelError> {
        let config = &self.var()?.vae;
        self.loader().vae(|file| config.init(device).read(file))
    }

    /// Loads the codes of a VAR model's auto-encoder without its encoder and decoder, in f32.
    ///
    /// # Errors
    /// As [`Model::load_vq_vae`].
    pub fn load_vq_codes(&self, device: &Device) -> Result<VqCodes, ModelError> {
        let config = &self.var()?.vae;
        self.loader()
            .vae(|file| config.init_codes(device).read(file))
    }

    /// Loads the auto-encoder of an InfinityStar model, in f32.
    ///
    /// # Errors
    /// Another architecture, a damaged file, and weights that are not those of the description.
    pub fn load_infinity_star_vae(&self, device: &Device) -> Result<InfinityStarVae, ModelError> {
        let config = &self.infinity_star()?.vae;
        self.loader().vae(|file| config.init(device).read(file))
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

fn check_infinity(
    manifest: &InfinityManifest,
    transformer: &ModelFile,
    vae: &ModelFile,
) -> Result<(), Flaw> {
    let config = &manifest.transformer;
    transformer.check_shape("word_embed.weight", &[config.width, config.code_dim])?;
    transformer.check_shape("text_norm.weight", &[config.text_channels])?;
    let key = "encoder.conv_out.conv.weight";
    let mut expected = vae.shape(key)?;
    expected[0] = manifest.vae.bits;
    vae.check_shape(key, &expected)
}

fn check_infinity_star(
    manifest: &InfinityStarManifest,
    transformer: &ModelFile,
    vae: &ModelFile,
) -> Result<(), Flaw> {
    let config = &manifest.transformer;
    let (width, bits) = (config.width, config.bits);
    transformer.check_shape("word_embed.weight", &[width, bits.detail])?;
    transformer.check_shape("semantic_head2.weight", &[2 * bits.semantic, width])?;
    let text_rows = [config.text_max_len, config.text_channels];
    transformer.check_shape("cfg_uncond", &text_rows)?;
    let channels = manifest.vae.latent_channels();
    vae.check_shape("proj_up.weight", &[channels; 2])
}
