//! How much memory a run takes, estimated before anything is loaded.

use burn::tensor::{DType, Device, FloatDType};
use nextscale_bitwise::infinity::InfinityConfig;
use nextscale_text::T5Config;
use nextscale_tokenizer::ScaleSchedule;
use nextscale_var_core::blocks::{self, BlockStorage};
use nextscale_var_core::var::VarConfig;
use nextscale_video::InfinityStarVaeConfig;

use crate::error::ModelError;

/// One gibibyte.
const GIB: f64 = (1u64 << 30) as f64;
/// Images of this many pixels or more are decoded in strips unless the user says otherwise.
pub const LARGE: usize = 2_000_000;
/// Below this nobody needs to be told, bytes.
const SMALL: u64 = 1 << 30;
/// A text encoder of so many bytes does not stay in memory for prompts that may come, unless it is told to.
pub const HEAVY: u64 = 1 << 30;
/// Pixels in f32 that the decoder holds at once, for each pixel of the result: a few maps of its finest level.
const DECODER: u64 = 4 * 128 * 3;
/// Maps of its finest level that a video decoder holds at once, for the frames that it decodes at a time.
const MAPS: u64 = 4;
/// The same for a picture that is decoded in strips: its largest whole maps have half the rows and columns, and twice the
/// channels.
const STRIPS: u64 = DECODER / 2;

/// Bytes of each part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Whether the text encoder is gone when the rest comes.
    pub apart: bool,
    /// Weights of the text encoder.
    pub text: u64,
    /// Weights of the transformer.
    pub transformer: u64,
    /// Weights of the auto-encoder.
    pub vae: u64,
    /// Keys and values of the whole picture, or those that a video's later clips see.
    pub cache: u64,
    /// What the largest scale and the decoder hold besides, the larger of the two.
    pub work: u64,
}

/// Bytes of a number.
fn size(dtype: FloatDType) -> u64 {
    DType::from(dtype).size() as u64
}

/// Bytes of a number in matrix products and the cache: a CPU calculates in f32 whatever the weights are held in.
pub fn working(dtype: FloatDType, device: &Device) -> u64 {
    match *device == Device::flex() {
        true => 4,
        false => size(dtype),
    }
}

/// Bytes of the transformer of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransformerBytes {
    /// Its weights.
    pub weights: usize,
    /// Keys and values that are kept between passes.
    pub kept: usize,
    /// Intermediate results of the largest pass.
    pub pass: usize,
}

impl Estimate {
    /// Pictures of `pixels` pixels; `rows` are those of the transformer's batch, two a picture with guidance; `vae` is the size
    /// of the auto-encoder, and `working` the bytes of a number in matrix products ([`working`]).
    pub fn infinity(
        text: &T5Config,
        transformer: &InfinityConfig,
        vae: u64,
        schedule: &ScaleSchedule,
        pixels: u64,
        rows: u64,
        (dtype, working, held): (FloatDType, u64, BlockStorage),
    ) -> Self {
        let (width, depth) = (transformer.width as u64, transformer.depth as u64);
        let (tokens, kept) = (schedule.tokens() as u64, schedule.kept_tokens() as u64);
        let prompt = transformer.text_max_len as u64;
        let last = schedule.last().tokens() as u64;
        // Hidden units before and behind the GELU, in f32, and some maps of the model's width.
        let scale = rows * last * (3 * transformer.ffn_hidden() as u64 + 6 * width) * 4;
        let all = transformer.parameters();
        let block = transformer.block_parameters();
        let inside = block * transformer.depth;
        Self {
            apart: false,
            text: text.parameters() as u64 * 4,
            transformer: blocks::bytes(held, inside, block, all - inside, size(dtype) as usize)
                as u64,
            vae,
            // Of all scales but the last; of one block at a time, those of the last too.
            cache: 2 * width * rows * (depth * (kept + prompt) + tokens) * working,
            work: scale.max(match pixels >= LARGE as u64 {
                true => pixels * STRIPS,
                false => pixels * DECODER,
            }),
        }
    }

    /// Pictures of `pixels` pixels of classes; the rest as for [`Estimate::infinity`].
    pub fn var(
        transformer: &VarConfig,
        vae: u64,
        pixels: u64,
        rows: u64,
        (dtype, working, held): (FloatDType, u64, BlockStorage),
    ) -> Self {
        let (width, depth) = (transformer.width as u64, transformer.depth as u64);
        let schedule = &transformer.schedule;
        let (tokens, kept) = (schedule.tokens() as u64, schedule.kept_tokens() as u64);
        let last = schedule.last().tokens() as u64;
        let logits = transformer.vocabulary as u64;
        let scale =
            rows * last * (3 * transformer.ffn_hidden() as u64 + 6 * width + 3 * logits) * 4;
        let (all, (block, modulation)) = (transformer.parameters(), transformer.block_parameters());
        // Whole numbers are for the other matrices.
        let inside = match held {
            BlockStorage::Int8 => (block - modulation) * transformer.depth,
            _ => block * transformer.depth,
        };
        let weights = blocks::bytes(held, inside, block, all - inside, size(dtype) as usize);
        Self {
            apart: false,
            text: 0,
            transformer: weights as u64,
            vae,
            cache: 2 * width * rows * (depth * kept + tokens) * working,
            work: scale.max(pixels * DECODER),
        }
    }

    /// One video whose transformer takes `run`, with frames of `pixels` pixels; `file` is the size of the auto-encoder.
    pub fn star(
        text: &T5Config,
        vae: &InfinityStarVaeConfig,
        file: u64,
        run: TransformerBytes,
        pixels: u64,
    ) -> Self {
        let frames = 2 * vae.frame_stride() as u64;
        let finest = vae.channels.first().copied().unwrap_or_default() as u64;
        Self {
            apart: false,
            text: text.parameters() as u64 * 4,
            transformer: run.weights as u64,
            vae: file,
            cache: run.kept as u64,
            work: (run.pass as u64).max(frames * pixels * finest * 4 * MAPS),
        }
    }

    /// With a text encoder that is gone when the rest comes, as far as it is large enough to be sent away.
    #[must_use]
    pub fn apart(self, apart: bool) -> Self {
        let apart = apart && self.text >= HEAVY;
        Self { apart, ..self }
    }

    /// The most at one time.
    pub fn total(&self) -> u64 {
        let rest = self.transformer + self.vae + self.cache + self.work;
        match self.apart {
            true => rest.max(self.text),
            false => rest + self.text,
        }
    }

    /// Refuses what cannot fit.
    ///
    /// # Errors
    /// More than the machine has.
    pub fn check(&self, memory: Option<u64>) -> Result<(), ModelError> {
        match memory {
            Some(memory) if self.total() > memory => {
                let message = format!(
                    "this run needs about {:.1} GiB of memory, and the device has {:.1} GiB",
                    self.total() as f64 / GIB,
                    memory as f64 / GIB
                );
                let hint = "hold the weights in less memory: --dtype bf16, --dtype int8, or --stream; or make a smaller size";
                Err(ModelError::refused_with(message, hint))
            }
            _ => Ok(()),
        }
    }

    /// The estimate in a sentence, for runs that are large enough to care.
    pub fn notice(&self) -> Option<String> {
        let gib = |bytes: u64| bytes as f64 / GIB;
        (self.total() > SMALL).then(|| {
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

/// The memory of this machine in bytes, where the system tells.
pub fn of_machine() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nextscale_tokenizer::schedule::infinity::{PixelBudget, RatioTemplate};

    /// A picture of a million pixels by the 2B or the 8B model, guided.
    fn of(
        transformer: &InfinityConfig,
        dtype: FloatDType,
        working: u64,
        held: BlockStorage,
    ) -> Estimate {
        let schedule = RatioTemplate::nearest(1.0).schedule(PixelBudget::M1);
        let (text, place) = (T5Config::flan_t5_xl(), (dtype, working, held));
        let of = Estimate::infinity;
        of(
            &text,
            transformer,
            440_000_000,
            &schedule,
            1 << 20,
            2,
            place,
        )
    }

    fn estimate(dtype: FloatDType) -> Estimate {
        of(
            &InfinityConfig::infinity_2b(),
            dtype,
            4,
            BlockStorage::Loaded,
        )
    }

    /// On a card, in bf16: 2B fits 8 GiB with whole numbers, and 8B fits 12 with its blocks in their file.
    #[test]
    fn cards_of_8_and_12_gib() {
        let two = InfinityConfig::infinity_2b();
        let card = |model, held| of(model, FloatDType::BF16, 2, held).apart(true);
        let eight = InfinityConfig::infinity_8b();
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
        let (full, half) = (estimate(FloatDType::F32), estimate(FloatDType::BF16));
        assert_eq!(full.transformer, 4 * 2_204_564_032);
        assert_eq!(half.transformer * 2, full.transformer);
        // 2 (keys and values) x 2048 numbers x 2 rows x 4 bytes: of (10,521 - 4096 + 512) tokens in 32 blocks, of 10,521 in one
        assert_eq!(full.cache, 2 * 2048 * 2 * 4 * (32 * 6937 + 10_521));
        assert_eq!(half.cache, full.cache);
        assert!(full.notice().unwrap().contains("transformer 8.2"));
    }

    #[test]
    fn var_of_512_pixels() {
        let of = |held| {
            let place = (FloatDType::BF16, 4, held);
            Estimate::var(&VarConfig::released_512(), 440_000_000, 1 << 18, 2, place)
        };
        let [loaded, int8, streamed] = [
            BlockStorage::Loaded,
            BlockStorage::Int8,
            BlockStorage::Streamed,
        ]
        .map(of);
        assert_eq!(
            loaded.transformer,
            2 * VarConfig::released_512().parameters() as u64
        );
        assert!(int8.transformer < loaded.transformer && streamed.transformer < int8.transformer);
        assert_eq!(loaded.cache, int8.cache);
        assert!(
            loaded.notice().unwrap().contains("memory: about"),
            "{loaded:?}"
        );
    }

    #[test]
    fn what_cannot_fit_is_refused() {
        let full = estimate(FloatDType::F32);
        assert!(full.check(Some(64 << 30)).is_ok() && full.check(None).is_ok());
        let error = full.check(Some(8 << 30)).unwrap_err();
        assert!(
            error.to_string().contains("the device has 8.0 GiB"),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("--dtype bf16"));
    }
}
