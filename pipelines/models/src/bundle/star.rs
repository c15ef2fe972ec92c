//! A video model: an InfinityStar transformer with its causal auto-encoder and its text encoder.

mod first_frame;
mod manifest;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, FloatDType};
use nextscale_text::TextEncoder;
use nextscale_var_core::blocks::{self, BlockStorage};
use nextscale_video::InfinityStarVae;
use nextscale_video::infinity_star::{InfinityStar, Limits, read_infinity_star};
use nextscale_video::memory::{BatchSize, kept_bytes, pass_bytes};

use super::weights::{Files, Weights};
use super::{Model, Size, TEXT, TRANSFORMER, VAE, VOCAB, damaged, equal, read_manifest};
use crate::error::ModelError;
use crate::memory::{Estimate, TransformerBytes};

pub use first_frame::FirstFrame;
pub use manifest::{FrameCounts, StarManifest};

/// Name of the video model inside the program.
pub const SPRITES: &str = "sprites";

/// A video model that was opened: its description is read and its parts fit together; no weight is loaded.
#[derive(Debug)]
pub struct StarBundle {
    manifest: StarManifest,
    files: Files,
}

impl StarBundle {
    /// Opens the video model of that name: `sprites`, a released one, a model folder, or a checkpoint.
    ///
    /// # Errors
    /// No such model, one that makes no videos, a missing or cut-off file, or parts that do not fit together.
    pub fn open(name: &str) -> Result<Arc<Self>, ModelError> {
        match Model::open(name)? {
            Model::Video(bundle) => Ok(bundle),
            Model::Text(_) | Model::Class(_) => Err(damaged(name, "paints pictures, not videos")),
        }
    }

    /// The model in a folder, whose manifest has been read.
    pub(super) fn folder(name: &str, manifest: &[u8]) -> Result<Self, ModelError> {
        Self::described(manifest, Files::folder(name)?)
    }

    /// The video model inside the program.
    ///
    /// # Errors
    /// A program that was built without one.
    pub fn embedded() -> Result<Self, ModelError> {
        let Some([manifest, rest @ ..]) = super::EMBEDDED_VIDEO else {
            return Err(ModelError::refused_with(
                "there is no video model inside this program",
                "name one: --model infinitystar-8b-480p, or the folder of a model",
            ));
        };
        Self::described(manifest, Files::new(SPRITES, rest.map(Weights::Static)))
    }

    fn described(manifest: &[u8], files: Files) -> Result<Self, ModelError> {
        let manifest = read_manifest(&files.name, manifest)?;
        let bundle = Self { manifest, files };
        let checked = bundle.check();
        checked.map_err(|message| damaged(bundle.name(), message))?;
        Ok(bundle)
    }

    /// A model of these files (vocabulary, text encoder, transformer, auto-encoder), whose description was made from
    /// them.
    pub(super) fn released(
        name: &str,
        manifest: StarManifest,
        files: [PathBuf; 4],
    ) -> Result<Self, ModelError> {
        let checked = manifest.check();
        checked.map_err(|message| damaged(name, message))?;
        let files = Files::new(name, files.map(Weights::File));
        Ok(Self { manifest, files })
    }

    /// What the parts say about each other, from the manifest and the headers of the weights.
    fn check(&self) -> Result<(), String> {
        let StarManifest {
            text,
            transformer,
            vae,
            ..
        } = &self.manifest;
        self.manifest.check()?;
        let files = &self.files;
        let has = |weights: &Weights, key: &str, wanted: [usize; 2]| {
            equal(key, &weights.shape(key)?, &wanted)
        };
        let (width, bits) = (transformer.width, transformer.bits);
        has(
            &files.transformer,
            "word_embed.weight",
            [width, bits.detail],
        )?;
        let semantic = "semantic_head2.weight";
        has(&files.transformer, semantic, [2 * bits.semantic, width])?;
        let text_rows = [transformer.text_max_len, transformer.text_channels];
        has(&files.transformer, "cfg_uncond", text_rows)?;
        has(
            &files.text,
            "shared.weight",
            [text.vocab_size, text.d_model],
        )?;
        let channels = vae.latent_channels();
        has(&files.vae, "proj_up.weight", [channels; 2])
    }

    /// What one video of a size and so many frames takes.
    ///
    /// # Errors
    /// A size without a schedule.
    pub fn estimate(
        &self,
        size: &Size,
        frames: usize,
        guided: bool,
        dtype: FloatDType,
        device: &Device,
        blocks: BlockStorage,
    ) -> Result<Estimate, String> {
        let working = crate::memory::working(dtype, device);
        self.takes(size, frames, guided, (dtype, working, blocks))
    }

    /// The same with `working` bytes for a number in matrix products.
    fn takes(
        &self,
        size: &Size,
        frames: usize,
        guided: bool,
        (dtype, working, blocks): (FloatDType, u64, BlockStorage),
    ) -> Result<Estimate, String> {
        let manifest = &self.manifest;
        let plan = manifest.plan(size, frames)?;
        let weights = burn::tensor::DType::from(dtype).size();
        let config = &manifest.transformer;
        let batch = BatchSize {
            text: config.text_max_len.min(64),
            rows: if guided { 2 } else { 1 },
            bytes: working as usize,
        };
        let all = config.parameters();
        let block = (all - config.with_one_block().parameters()) / (config.depth - 1).max(1);
        let inside = block * config.depth;
        let held = blocks::bytes(blocks, inside, block, all - inside, weights);
        let run = TransformerBytes {
            weights: held,
            kept: kept_bytes(config, &plan, batch),
            pass: pass_bytes(config, &plan, batch, Limits::default()),
        };
        let pixels = (size.width * size.height) as u64;
        let vae = self.files.vae.len().unwrap_or_default();
        Ok(Estimate::star(
            &manifest.text,
            &manifest.vae,
            vae,
            run,
            pixels,
        ))
    }

    /// The name that it was opened by.
    pub fn name(&self) -> &str {
        &self.files.name
    }

    /// Its description.
    pub fn manifest(&self) -> &StarManifest {
        &self.manifest
    }

    /// SHA-256 over the fingerprints of all its files; none if the manifest has no fingerprints.
    pub fn fingerprint(&self) -> Option<String> {
        super::fingerprint(&self.manifest.fingerprints)
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
        let StarManifest {
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
    ) -> Result<InfinityStar, ModelError> {
        let (config, prints) = (&self.manifest.transformer, &self.manifest.fingerprints);
        let read = |file| read_infinity_star(config, file, blocks, device);
        self.files.transformer(prints, dtype, read)
    }

    /// Loads the auto-encoder, in f32.
    ///
    /// # Errors
    /// A damaged file, and weights that are not those of the manifest.
    pub fn vae(&self, device: &Device) -> Result<InfinityStarVae, ModelError> {
        let (config, prints) = (&self.manifest.vae, &self.manifest.fingerprints);
        self.files
            .vae(prints, |file| config.init(device).read(file))
    }

    /// Completes a model folder, in which `tokenizer.json`, `text.safetensors`, `transformer.safetensors` and
    /// `vae.safetensors` lie: writes the manifest with their fingerprints, and opens the result.
    ///
    /// # Errors
    /// Missing files, a folder that cannot be written to, parts that do not fit together.
    pub fn seal(folder: &Path, mut manifest: StarManifest) -> Result<Self, ModelError> {
        manifest.fingerprints = super::prints(folder, &[VOCAB, TEXT, TRANSFORMER, VAE])?;
        let json = super::write_manifest(folder, &manifest)?;
        Self::folder(&folder.display().to_string(), json.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::released::star::PRESETS;
    use nextscale_text::T5Config;
    use nextscale_video::{InfinityStarConfig, InfinityStarVaeConfig};

    /// A released model without its files.
    fn opened(preset: usize) -> StarBundle {
        let preset = &PRESETS[preset];
        let manifest = preset.manifest(
            InfinityStarConfig::infinitystar_8b(),
            InfinityStarVaeConfig::infinitystar(),
            T5Config::flan_t5_xl(),
        );
        let nowhere = [(); 4].map(|()| PathBuf::from("nowhere"));
        StarBundle::released(preset.name, manifest, nowhere).unwrap()
    }

    /// What 720p takes is told and refused before any weight is read: there are none here.
    #[test]
    fn memory_is_estimated_from_the_description() {
        let bundle = opened(0);
        let size = bundle.manifest().sizes[0].clone();
        let cpu = Device::flex();
        let of = |frames, guided, dtype| {
            bundle.estimate(&size, frames, guided, dtype, &cpu, BlockStorage::Loaded)
        };
        let half = of(81, true, FloatDType::BF16).unwrap();
        assert_eq!(half.transformer, 2 * (8_768_382_112 - 4096));
        let full = of(81, true, FloatDType::F32).unwrap();
        assert_eq!(full.transformer, 2 * half.transformer);
        // Only the image and the prompt stay for the clip: 2 rows of 3600 + 64 tokens, in f32 on a CPU.
        assert_eq!(half.cache, 2 * 3664 * 2 * 147_456);
        assert!(of(1, true, FloatDType::BF16).unwrap().total() < half.total());
        assert!(of(81, false, FloatDType::BF16).unwrap().total() < half.total());
        let error = half.check(Some(16 << 30)).unwrap_err().to_string();
        assert!(error.contains("the device has 16.0 GiB"), "{error}");
        assert!(half.notice().unwrap().contains("transformer 16.3"));
        // On a card, in bf16: five seconds at 720p within 32 GB, and within 24 with whole numbers.
        let card = |blocks| {
            let place = (FloatDType::BF16, 2, blocks);
            let estimate = bundle.takes(&size, 81, true, place).unwrap();
            estimate.apart(true).total() as f64 / 1e9
        };
        let [loaded, int8, streamed] = [
            BlockStorage::Loaded,
            BlockStorage::Int8,
            BlockStorage::Streamed,
        ]
        .map(card);
        assert!(
            loaded < 32.0 && int8 < 24.0 && streamed < 16.0,
            "{loaded} {int8} {streamed}"
        );
        // At 480p five seconds fit 24 GB as they are, and ten with whole numbers.
        let small = opened(1);
        let size = small.manifest().sizes[0].clone();
        let card = |frames, blocks| {
            let place = (FloatDType::BF16, 2, blocks);
            let estimate = small.takes(&size, frames, true, place).unwrap();
            estimate.apart(true).total() as f64 / 1e9
        };
        let (five, ten) = (
            card(81, BlockStorage::Loaded),
            card(161, BlockStorage::Int8),
        );
        assert!(five < 24.0 && ten < 24.0, "{five} {ten}");
    }
}
