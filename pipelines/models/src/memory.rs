//! How much memory a run takes, estimated before anything is loaded.

use burn::tensor::{DType, FloatDType};
use nextscale_bitwise::infinity::InfinityConfig;
use nextscale_text::T5Config;
use nextscale_tokenizer::ScaleSchedule;
use nextscale_var_core::blocks::{self, BlockStorage};
use nextscale_var_core::var::VarConfig;
use nextscale_video::infinity_star::Limits;
use nextscale_video::memory::{BatchSize, kept_bytes, pass_bytes};

use crate::device::Placement;
use crate::error::{Flaw, ModelError};
use crate::manifest::{InfinityStarManifest, Manifest};
use crate::model::Model;
use crate::size::Size;

/// One gibibyte.
const GIB: f64 = (1u64 << 30) as f64;
/// Smaller runs are not announced.
const ANNOUNCED_BYTES: u64 = 1 << 30;
/// Encoders larger than this are dropped after the first batch of prompts, unless asked to stay.
pub const LARGE_TEXT_ENCODER_BYTES: u64 = 1 << 30;
/// Images with this many pixels or more are decoded in strips, unless asked otherwise.
pub const TILED_DECODE_PIXELS: usize = 2_000_000;
/// What the decoder of images holds at once for each pixel of the result: a few maps of its finest level, in f32.
const DECODER_BYTES: u64 = 4 * 128 * 3;
/// The same for an image that is decoded in strips: its largest whole maps have half the rows and columns, and twice the
/// channels.
const TILED_DECODER_BYTES: u64 = DECODER_BYTES / 2;
/// Maps of its finest level that a video decoder holds at once, for the frames that it decodes at a time.
const VIDEO_DECODER_MAPS: u64 = 4;

/// Bytes of each part of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// Whether the text encoder is gone when the rest is loaded.
    pub text_encoder_released: bool,
    /// Weights of the text encoder.
    pub text: u64,
    /// Weights of the transformer.
    pub transformer: u64,
    /// Weights of the auto-encoder.
    pub vae: u64,
    /// Keys and values of the whole image, or those that a video's later clips see.
    pub cache: u64,
    /// Intermediate results of the largest scale or of the decoder, whichever are larger.
    pub work: u64,
}

/// How numbers are stored.
#[derive(Debug, Clone, Copy)]
struct Formats {
    /// Type of the weights.
    dtype: FloatDType,
    /// Bytes of a number in matrix products and the cache.
    working: u64,
    blocks: BlockStorage,
}

impl Formats {
    fn of(placement: &Placement) -> Self {
        Self {
            dtype: placement.dtype,
            working: placement.working_bytes(),
            blocks: placement.blocks,
        }
    }

    /// Bytes of a transformer's weights, of which the blocks have `inside` parameters, `block` each, and the rest `outside`.
    fn transformer_bytes(self, inside: usize, block: usize, outside: usize) -> u64 {
        let size = DType::from(self.dtype).size();
        blocks::bytes(self.blocks, inside, block, outside, size) as u64
    }
}

impl Model {
    /// What images of a size take; `rows` are those of the transformer's batch, two for each image under guidance.
    ///
    /// # Errors
    /// A size without a schedule, and a model of videos.
    pub fn estimate_image(
        &self,
        size: &Size,
        rows: usize,
        placement: &Placement,
    ) -> Result<MemoryEstimate, ModelError> {
        let (formats, rows) = (Formats::of(placement), rows as u64);
        let pixels = (size.width * size.height) as u64;
        let estimate = match self.manifest() {
            Manifest::Infinity(manifest) => {
                let schedule = size.schedule().map_err(|flaw| flaw.of(self.name()))?;
                let transformer = &manifest.transformer;
                MemoryEstimate::infinity(transformer, &schedule, pixels, rows, formats)
                    .with_text(&manifest.text)
            }
            Manifest::Var(manifest) => {
                MemoryEstimate::var(&manifest.transformer, pixels, rows, formats)
            }
            Manifest::InfinityStar(_) => return Err(self.is_not_of_images()),
        };
        let vae = self.vae_bytes();
        Ok(MemoryEstimate { vae, ..estimate })
    }

    /// What one video of a size and number of frames takes.
    ///
    /// # Errors
    /// A size without a schedule, and a model of images.
    pub fn estimate_video(
        &self,
        size: &Size,
        frames: usize,
        guided: bool,
        placement: &Placement,
    ) -> Result<MemoryEstimate, ModelError> {
        let (manifest, formats) = (self.infinity_star()?, Formats::of(placement));
        let estimate = MemoryEstimate::infinity_star(manifest, size, frames, guided, formats);
        let estimate = estimate.map_err(|flaw| flaw.of(self.name()))?;
        let vae = self.vae_bytes();
        Ok(MemoryEstimate { vae, ..estimate })
    }
}

impl MemoryEstimate {
    fn infinity(
        config: &InfinityConfig,
        schedule: &ScaleSchedule,
        pixels: u64,
        rows: u64,
        formats: Formats,
    ) -> Self {
        let (width, depth) = (config.width as u64, config.depth as u64);
        let (tokens, kept) = (schedule.tokens() as u64, schedule.kept_tokens() as u64);
        let prompt = config.text_max_len as u64;
        let last = schedule.last().tokens() as u64;
        // Hidden units before and after the GELU, in f32, and some maps of the model's width.
        let scale = rows * last * (3 * config.ffn_hidden() as u64 + 6 * width) * 4;
        let decoder = if pixels >= TILED_DECODE_PIXELS as u64 {
            pixels * TILED_DECODER_BYTES
        } else {
            pixels * DECODER_BYTES
        };
        let block = config.block_parameters();
        let inside = block * config.depth;
        let outside = config.parameters() - inside;
        let weights = formats.transformer_bytes(inside, block, outside);
        Self {
            transformer: weights,
            // Of all scales but the last; of one block at a time, those of the last too.
            cache: 2 * width * rows * (depth * (kept + prompt) + tokens) * formats.working,
            work: scale.max(decoder),
            ..Self::default()
        }
    }

    fn var(config: &VarConfig, pixels: u64, rows: u64, formats: Formats) -> Self {
        let (width, depth) = (config.width as u64, config.depth as u64);
        let schedule = &config.schedule;
        let (tokens, kept) = (schedule.tokens() as u64, schedule.kept_tokens() as u64);
        let last = schedule.last().tokens() as u64;
        let logits = config.vocabulary as u64;
        let scale = rows * last * (3 * config.ffn_hidden() as u64 + 6 * width + 3 * logits) * 4;
        let (block, modulation) = config.block_parameters();
        // The modulations stay in the weights' own type.
        let inside = match formats.blocks {
            BlockStorage::Int8 => (block - modulation) * config.depth,
            _ => block * config.depth,
        };
        let outside = config.parameters() - inside;
        let weights = formats.transformer_bytes(inside, block, outside);
        Self {
            transformer: weights,
            cache: 2 * width * rows * (depth * kept + tokens) * formats.working,
            work: scale.max(pixels * DECODER_BYTES),
            ..Self::default()
        }
    }

    fn infinity_star(
        manifest: &InfinityStarManifest,
        size: &Size,
        frames: usize,
        guided: bool,
        formats: Formats,
    ) -> Result<Self, Flaw> {
        let (config, vae) = (&manifest.transformer, &manifest.vae);
        let plan = manifest.plan(size, frames)?;
        let text = config.text_max_len.min(64);
        let rows = if guided { 2 } else { 1 };
        let batch = BatchSize {
            text,
            rows,
            bytes: formats.working as usize,
        };
        let all = config.parameters();
        let block = (all - config.with_one_block().parameters()) / (config.depth - 1).max(1);
        let inside = block * config.depth;
        let weights = formats.transformer_bytes(inside, block, all - inside);
        let decoded = 2 * vae.frame_stride() as u64;
        let finest = vae.channels.first().copied().unwrap_or_default() as u64;
        let pixels = (size.width * size.height) as u64;
        let decoder = decoded * pixels * finest * 4 * VIDEO_DECODER_MAPS;
        let estimate = Self {
            transformer: weights,
            cache: kept_bytes(config, &plan, batch) as u64,
            work: (pass_bytes(config, &plan, batch, Limits::default()) as u64).max(decoder),
            ..Self::default()
        };
        Ok(estimate.with_text(&manifest.text))
    }

    fn with_text(self, text: &T5Config) -> Self {
        let text = text.parameters() as u64 * 4;
        Self { text, ..self }
    }

    /// With a text encoder that is gone when the rest is loaded, if it is large enough to be dropped.
    #[must_use]
    pub fn releasing_text_encoder(self, released: bool) -> Self {
        let text_encoder_released = released && self.text >= LARGE_TEXT_ENCODER_BYTES;
        Self {
            text_encoder_released,
            ..self
        }
    }

    /// The most at one time.
    pub fn total(&self) -> u64 {
        let rest = self.transformer + self.vae + self.cache + self.work;
        if self.text_encoder_released {
            rest.max(self.text)
        } else {
            rest + self.text
        }
    }

    /// Refuses what cannot fit.
    ///
    /// # Errors
    /// More than the device has.
    pub fn check(&self, memory: Option<u64>) -> Result<(), ModelError> {
        match memory {
            Some(memory) if self.total() > memory => {
                let message = format!(
                    "this run needs about {:.1} GiB of memory, and the device has {:.1} GiB",
                    self.total() as f64 / GIB,
                    memory as f64 / GIB
                );
                let hint = "use less memory for the weights: --dtype bf16, --dtype int8, or --stream; or generate a smaller size";
                Err(ModelError::refused_with(message, hint))
            }
            _ => Ok(()),
        }
    }

    /// The estimate in a sentence, for runs that are large enough to care.
    pub fn notice(&self) -> Option<String> {
        let gib = |bytes: u64| bytes as f64 / GIB;
        (self.total() > ANNOUNCED_BYTES).then(|| {
            let text = match self.text {
                0 => String::new(),
                bytes => format!("text encoder {:.1}, ", gib(bytes)),
            };
            format!(
                "memory: about {:.1} GiB ({text}transformer {:.1}, cache {:.1}, other {:.1})",
                gib(self.total()),
                gib(self.transformer),
                gib(self.cache),
                gib(self.vae + self.work)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::released::infinity_star::PRESETS;
    use nextscale_tokenizer::schedule::infinity::{PixelBudget, RatioTemplate};
    use nextscale_video::{InfinityStarConfig, InfinityStarVaeConfig};

    const VAE: u64 = 440_000_000;
    const STORAGES: [BlockStorage; 3] = [
        BlockStorage::Loaded,
        BlockStorage::Int8,
        BlockStorage::Streamed,
    ];

    fn formats(dtype: FloatDType, working: u64, blocks: BlockStorage) -> Formats {
        Formats {
            dtype,
            working,
            blocks,
        }
    }

    /// An image of a million pixels by the 2B or the 8B model, guided.
    fn image(config: &InfinityConfig, formats: Formats) -> MemoryEstimate {
        let schedule = RatioTemplate::nearest(1.0).schedule(PixelBudget::M1);
        let estimate = MemoryEstimate::infinity(config, &schedule, 1 << 20, 2, formats);
        MemoryEstimate {
            vae: VAE,
            ..estimate.with_text(&T5Config::flan_t5_xl())
        }
    }

    fn image_2b(dtype: FloatDType) -> MemoryEstimate {
        image(
            &InfinityConfig::infinity_2b(),
            formats(dtype, 4, BlockStorage::Loaded),
        )
    }

    /// On a card, in bf16: 2B fits 8 GiB in int8, and 8B fits 12 with its blocks in their file.
    #[test]
    fn cards_of_8_and_12_gib() {
        let (two, eight) = (InfinityConfig::infinity_2b(), InfinityConfig::infinity_8b());
        let card = |model, blocks| {
            image(model, formats(FloatDType::BF16, 2, blocks)).releasing_text_encoder(true)
        };
        for (estimate, gib) in [
            (card(&two, BlockStorage::Int8), 8),
            (card(&two, BlockStorage::Loaded), 10),
            (card(&eight, BlockStorage::Streamed), 11),
            (card(&eight, BlockStorage::Int8), 19),
        ] {
            let total = estimate.total() as f64 / GIB;
            assert!(
                total < f64::from(gib) && total > f64::from(gib) - 1.0,
                "{total}"
            );
        }
    }

    #[test]
    fn the_2b_model_at_a_million_pixels() {
        let (full, half) = (image_2b(FloatDType::F32), image_2b(FloatDType::BF16));
        assert_eq!(full.transformer, 4 * 2_204_564_032);
        assert_eq!(half.transformer * 2, full.transformer);
        // 2 (keys and values) x 2048 numbers x 2 rows x 4 bytes: of (10,521 - 4096 + 512) tokens in 32 blocks, of 10,521 in one
        assert_eq!(full.cache, 2 * 2048 * 2 * 4 * (32 * 6937 + 10_521));
        assert_eq!(half.cache, full.cache);
        assert!(full.notice().unwrap().contains("transformer 8.2"));
    }

    #[test]
    fn var_of_512_pixels() {
        let config = VarConfig::released_512();
        let estimate = |blocks| {
            let formats = formats(FloatDType::BF16, 4, blocks);
            MemoryEstimate::var(&config, 1 << 18, 2, formats)
        };
        let [loaded, int8, streamed] = STORAGES.map(estimate);
        assert_eq!(loaded.transformer, 2 * config.parameters() as u64);
        assert!(int8.transformer < loaded.transformer && streamed.transformer < int8.transformer);
        assert_eq!(loaded.cache, int8.cache);
        assert!(
            loaded.notice().unwrap().contains("memory: about"),
            "{loaded:?}"
        );
    }

    #[test]
    fn what_cannot_fit_is_refused() {
        let full = image_2b(FloatDType::F32);
        assert!(full.check(Some(64 << 30)).is_ok() && full.check(None).is_ok());
        let error = full.check(Some(8 << 30)).unwrap_err();
        assert!(
            error.to_string().contains("the device has 8.0 GiB"),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("--dtype bf16"));
    }

    /// What a guided video of the first size takes follows from the description: no weight is read.
    fn video(model: usize, frames: usize, guided: bool, formats: Formats) -> MemoryEstimate {
        let manifest = PRESETS[model].manifest(
            InfinityStarConfig::infinitystar_8b(),
            InfinityStarVaeConfig::infinitystar(),
            T5Config::flan_t5_xl(),
        );
        let size = &manifest.sizes[0];
        MemoryEstimate::infinity_star(&manifest, size, frames, guided, formats).unwrap()
    }

    #[test]
    fn videos_of_720p_on_a_cpu() {
        let cpu = |dtype| formats(dtype, 4, BlockStorage::Loaded);
        let half = video(0, 81, true, cpu(FloatDType::BF16));
        assert_eq!(half.transformer, 2 * (8_768_382_112 - 4096));
        let full = video(0, 81, true, cpu(FloatDType::F32));
        assert_eq!(full.transformer, 2 * half.transformer);
        // Only the image and the prompt stay for the clip: 2 rows of 3600 + 64 tokens, in f32 on a CPU.
        assert_eq!(half.cache, 2 * 3664 * 2 * 147_456);
        assert!(video(0, 1, true, cpu(FloatDType::BF16)).total() < half.total());
        assert!(video(0, 81, false, cpu(FloatDType::BF16)).total() < half.total());
        let error = half.check(Some(16 << 30)).unwrap_err().to_string();
        assert!(error.contains("the device has 16.0 GiB"), "{error}");
        assert!(half.notice().unwrap().contains("transformer 16.3"));
    }

    /// In bf16: five seconds at 720p within 32 GB, and within 24 in int8; at 480p five seconds fit 24 GB as they are, and ten
    /// in int8.
    #[test]
    fn videos_on_cards() {
        let card = |model, frames, blocks| {
            let formats = formats(FloatDType::BF16, 2, blocks);
            let estimate = video(model, frames, true, formats).releasing_text_encoder(true);
            estimate.total() as f64 / 1e9
        };
        let [loaded, int8, streamed] = STORAGES.map(|blocks| card(0, 81, blocks));
        assert!(
            loaded < 32.0 && int8 < 24.0 && streamed < 16.0,
            "{loaded} {int8} {streamed}"
        );
        let five = card(1, 81, BlockStorage::Loaded);
        let ten = card(1, 161, BlockStorage::Int8);
        assert!(five < 24.0 && ten < 24.0, "{five} {ten}");
    }
}
