//! Loading the parts of a model: each file is compared with its checksum and read in the number type that is asked for.

use burn::module::{ModuleMapper, Param};
use burn::tensor::{Device, FloatDType, Tensor};
use nextscale_bitwise::import::read_infinity;
use nextscale_bitwise::infinity::Infinity;
use nextscale_bitwise::vae::BsqVae;
use nextscale_text::{KnownWords, Neighbours, TextEncoder, TextError, Vocab};
use nextscale_tokenizer::vqvae::{VqCodes, VqVae};
use nextscale_var_core::blocks::{BlockStorage, Transformer, to_int8};
use nextscale_var_core::var::{Var, read_var};
use nextscale_video::InfinityStarVae;
use nextscale_video::infinity_star::{InfinityStar, read_infinity_star};
use nextscale_weights::{WeightError, WeightFile};

use crate::device::Placement;
use crate::error::{ModelError, about};
use crate::files::{MANIFEST, ModelFile, TEXT, TRANSFORMER, TextFiles, VAE, VOCAB};
use crate::manifest::Manifest;
use crate::model::Model;

/// Files up to this size are compared with their checksum each time they are loaded.
const VERIFIED_BYTES: u64 = 1 << 30;

impl Model {
    /// Loads vocabulary and text encoder, in f32.
    ///
    /// # Errors
    /// A model without one, damaged files, and weights that are not those of the description.
    pub fn load_text_encoder(&self, device: &Device) -> Result<TextEncoder, ModelError> {
        let max_len = match self.manifest() {
            Manifest::Infinity(manifest) => manifest.transformer.text_max_len,
            Manifest::InfinityStar(manifest) => manifest.transformer.text_max_len,
            Manifest::Var(_) => 0,
        };
        let (Some(config), Some(files)) = (self.manifest().text(), self.text_files()) else {
            return Err(ModelError::flawed(self.name(), "has no text encoder"));
        };
        let TextFiles { vocab, weights, .. } = files;
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

    /// The words of the captions that it was trained on; none if that is not known.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn known_words(&self) -> Result<Option<KnownWords>, ModelError> {
        let file = self.text_files().and_then(|text| text.words.as_ref());
        let Some(text) = file.map(text_of).transpose()? else {
            return Ok(None);
        };
        let mut words = KnownWords::default();
        words.add(&text);
        Ok(Some(words))
    }

    /// Other words, each with a name that stands for it.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn neighbours(&self) -> Result<Neighbours, ModelError> {
        let file = self.text_files().and_then(|text| text.neighbours.as_ref());
        let text = file.map(text_of).transpose()?;
        Ok(text.map_or_else(Neighbours::default, |text| Neighbours::parse(&text)))
    }

    fn text_files(&self) -> Option<&TextFiles> {
        self.files()?.text.as_ref()
    }

    /// Loads the transformer of an Infinity model.
    ///
    /// # Errors
    /// Another architecture, a damaged file, and weights that are not those of the description.
    pub fn load_infinity(&self, placement: &Placement) -> Result<Infinity, ModelError> {
        let (config, device) = (&self.infinity()?.transformer, &placement.device);
        let read = |file| read_infinity(config, file, placement.blocks, device);
        self.transformer(placement, || config.init(device), read)
    }

    /// Loads the transformer of a VAR model; errors as for [`Model::load_infinity`].
    pub fn load_var(&self, placement: &Placement) -> Result<Var, ModelError> {
        let (config, device) = (&self.var()?.transformer, &placement.device);
        let read = |file| read_var(config, file, placement.blocks, device);
        self.transformer(placement, || config.init(device), read)
    }

    /// Loads the transformer of an InfinityStar model; errors as for [`Model::load_infinity`].
    pub fn load_infinity_star(&self, placement: &Placement) -> Result<InfinityStar, ModelError> {
        let (config, device) = (&self.infinity_star()?.transformer, &placement.device);
        let read = |file| read_infinity_star(config, file, placement.blocks, device);
        self.transformer(placement, || config.init(device), read)
    }

    /// Loads the auto-encoder of an Infinity model. Its weights are f32; on a card its decoder multiplies in f16, unless the
    /// placement is of f32. Errors as for [`Model::load_infinity`].
    pub fn load_bsq_vae(&self, placement: &Placement) -> Result<BsqVae, ModelError> {
        let random = self.infinity()?.vae.init(&placement.device);
        let mut vae = self.vae(random, BsqVae::read)?;
        vae.decoder.in_f16 = placement.decodes_in_f16();
        Ok(vae)
    }

    /// Loads the auto-encoder of a VAR model, as [`Model::load_bsq_vae`] does; errors as for [`Model::load_infinity`].
    pub fn load_vq_vae(&self, placement: &Placement) -> Result<VqVae, ModelError> {
        let random = self.var()?.vae.init(&placement.device);
        let mut vae = self.vae(random, VqVae::read)?;
        vae.decoder.in_f16 = placement.decodes_in_f16();
        Ok(vae)
    }

    /// Loads the codes of a VAR model's auto-encoder without its encoder and decoder, in f32; errors as for
    /// [`Model::load_infinity`].
    pub fn load_vq_codes(&self, device: &Device) -> Result<VqCodes, ModelError> {
        self.vae(self.var()?.vae.init_codes(device), VqCodes::read)
    }

    /// Loads the auto-encoder of an InfinityStar model, as [`Model::load_bsq_vae`] does; errors as for
    /// [`Model::load_infinity`].
    pub fn load_infinity_star_vae(
        &self,
        placement: &Placement,
    ) -> Result<InfinityStarVae, ModelError> {
        let random = self.infinity_star()?.vae.init(&placement.device);
        let mut vae = self.vae(random, InfinityStarVae::read)?;
        vae.decoder.in_f16 = placement.decodes_in_f16();
        Ok(vae)
    }

    /// The transformer, as `read` makes it from its tensors; of a model without files, one with random weights.
    fn transformer<M: Transformer>(
        &self,
        placement: &Placement,
        random: impl FnOnce() -> M,
        read: impl FnOnce(WeightFile) -> Result<M, WeightError>,
    ) -> Result<M, ModelError> {
        let Some(files) = self.files() else {
            let model = random();
            return Ok(match placement.blocks {
                BlockStorage::Int8 => to_int8(model, placement.dtype.into(), &placement.device),
                _ => model.map(&mut Cast(placement.dtype)),
            });
        };
        self.verify(TRANSFORMER, &files.transformer)?;
        let weights = files.transformer.tensors_of(files.weights, placement.dtype);
        let mut weights = weights.map_err(|e| self.unloadable(e))?;
        for adapter in self.adapters() {
            adapter.add_to(self.name(), &mut weights, false)?;
        }
        read(weights).map_err(|e| self.unloadable(e))
    }

    /// The auto-encoder, as `read` makes it from its tensors, in f32; of a model without files, the random one.
    fn vae<M>(
        &self,
        random: M,
        read: impl FnOnce(M, WeightFile) -> Result<M, WeightError>,
    ) -> Result<M, ModelError> {
        let Some(files) = self.files() else {
            return Ok(random);
        };
        self.verify(VAE, &files.vae)?;
        let tensors = files.vae.tensors(FloatDType::F32);
        let model = tensors.and_then(|tensors| read(random, tensors));
        model.map_err(|e| self.unloadable(e))
    }

    fn unloadable(&self, error: impl ToString) -> ModelError {
        let message = format!("cannot be loaded: {}", about(self.name(), error));
        ModelError::flawed(self.name(), message)
    }

    /// Refuses a file that is not the one that the description means.
    fn verify(&self, name: &str, file: &ModelFile) -> Result<(), ModelError> {
        let Some(expected) = self.checksum_of(name) else {
            return Ok(());
        };
        if file.len()? > VERIFIED_BYTES || file.sha256()? == expected {
            return Ok(());
        }
        let message = format!("has a {name} that is not the one its {MANIFEST} describes");
        let hint = "files of different models were mixed, or the file was damaged: fetch it again";
        Err(ModelError::flawed_with(self.name(), message, hint))
    }
}

/// The text in a file.
fn text_of(file: &ModelFile) -> Result<String, ModelError> {
    Ok(String::from_utf8_lossy(&file.bytes()?).into_owned())
}

/// Brings all parameters of a module into another number type.
struct Cast(FloatDType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(self.0))
    }
}
