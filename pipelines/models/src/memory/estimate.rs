//! The bytes of each part of a run, and what they come to.

use burn::tensor::Device;

use crate::device;
use crate::error::ModelError;

/// One gibibyte.
const GIB: f64 = (1u64 << 30) as f64;
/// Smaller runs are not announced.
const ANNOUNCED_BYTES: u64 = 1 << 30;
/// Pages of a card's memory need not be larger, unless a tensor is.
const LARGE_PAGE_BYTES: u64 = 1 << 30;
/// What the pool of a thread holds for numbers such as shapes, and at the end of a page.
const POOL_BYTES: u64 = 11 << 20;
/// Encoders larger than this are dropped after the first batch of prompts, unless asked to stay.
pub const LARGE_TEXT_ENCODER_BYTES: u64 = 1 << 30;

/// Bytes of each part of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// Whether the text encoder is gone when the rest is loaded.
    pub text_encoder_released: bool,
    /// Who gets memory that one part has let go of.
    pub pools: Pools,
    /// Weights of the text encoder.
    pub text: u64,
    /// Weights of the transformer.
    pub transformer: u64,
    /// Weights of the auto-encoder.
    pub vae: u64,
    /// Keys and values of the whole image, or those that a video's later clips see.
    pub cache: u64,
    /// Intermediate results of the largest scale.
    pub scale: u64,
    /// Intermediate results of the decoder.
    pub decoder: u64,
    /// The largest intermediate result of the transformer.
    pub scale_tensor: u64,
    /// The largest intermediate result of the decoder.
    pub decoder_tensor: u64,
}

/// Who gets memory that one part of a run has let go of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pools {
    /// All: a CPU's memory goes back to the system. Transformer and decoder work at the same time.
    #[default]
    Shared,
    /// On a card, the thread that took it, which keeps it: the decoder has memory of its own.
    Apart,
    /// On a card, the decoder: it starts when the transformer is done.
    InTurn,
    /// The same with one thread for all parts.
    OneThread,
}

impl MemoryEstimate {
    /// With a text encoder that is gone when the rest is loaded, if it is large enough to be dropped.
    #[must_use]
    pub fn releasing_text_encoder(self, released: bool) -> Self {
        let text_encoder_released = released && self.text >= LARGE_TEXT_ENCODER_BYTES;
        Self {
            text_encoder_released,
            ..self
        }
    }

    /// With a decoder that gets the memory which the transformer has let go of, because there is one batch.
    #[must_use]
    pub fn in_turn(self, in_turn: bool) -> Self {
        let pools = match self.pools {
            Pools::Apart if in_turn => Pools::InTurn,
            pools => pools,
        };
        Self { pools, ..self }
    }

    /// That of so many runs at the same time on one device, each with its own copy of everything.
    #[must_use]
    pub fn times(self, runs: usize) -> Self {
        let times = |bytes: u64| bytes.saturating_mul(runs as u64);
        Self {
            text_encoder_released: self.text_encoder_released,
            pools: self.pools,
            text: times(self.text),
            transformer: times(self.transformer),
            vae: times(self.vae),
            cache: times(self.cache),
            scale: times(self.scale),
            decoder: times(self.decoder),
            scale_tensor: self.scale_tensor,
            decoder_tensor: self.decoder_tensor,
        }
    }

    /// That of one of so many processes that generate a sample together: each has a part of its keys and values, and of what the
    /// transformer computes.
    #[must_use]
    pub fn shared_by(self, processes: usize) -> Self {
        let part = |bytes: u64| bytes.div_ceil(processes as u64);
        Self {
            cache: part(self.cache),
            scale: part(self.scale),
            scale_tensor: part(self.scale_tensor),
            ..self
        }
    }

    /// With all parts in one thread.
    #[must_use]
    pub fn in_one_thread(self) -> Self {
        let pools = match self.pools {
            Pools::Shared => Pools::Shared,
            _ => Pools::OneThread,
        };
        Self { pools, ..self }
    }

    /// What pages hold besides the tensors that are counted.
    fn pages(&self) -> u64 {
        let pools = match self.pools {
            Pools::Shared => 0,
            Pools::OneThread => 1,
            Pools::Apart | Pools::InTurn => 3,
        };
        pools * POOL_BYTES
    }

    /// What is there besides weights and cache, at most.
    fn work(&self) -> u64 {
        let after_cache = self.decoder.saturating_sub(self.cache);
        let work = match self.pools {
            Pools::Shared => self.scale.max(self.decoder),
            Pools::Apart => self.scale + self.decoder,
            Pools::InTurn | Pools::OneThread => self.scale.max(after_cache),
        };
        work + self.pages()
    }

    /// The most at one time.
    pub fn total(&self) -> u64 {
        let rest = self.transformer + self.vae + self.cache + self.work();
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

    /// Lets this thread take memory of a card in pages for the transformer and, if it `decodes` too, for the decoder.
    pub fn reserve_pages(&self, device: &Device, decodes: bool) {
        let tensor = if decodes {
            self.scale_tensor.max(self.decoder_tensor)
        } else {
            self.scale_tensor
        };
        // Less is lost at the ends of large pages, and a whole page at the end of all.
        device::reserve_pages(device, tensor.max((self.total() / 8).min(LARGE_PAGE_BYTES)));
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
                gib(self.vae + self.work())
            )
        })
    }
}
