//! What models of images take.

use nextscale_bitwise::infinity::{InfinityConfig, graph_bytes};
use nextscale_bitwise::vae::BsqVaeConfig;
use nextscale_tokenizer::{Scale, ScaleSchedule, VqVaeConfig, graphs};
use nextscale_var_core::blocks::BlockStorage;
use nextscale_var_core::shortcuts::Shortcuts;
use nextscale_var_core::var::VarConfig;

use super::estimate::{MemoryEstimate, Pools};
use super::formats::Formats;

/// Images with this many pixels or more are decoded in strips, unless asked otherwise.
pub const TILED_DECODE_PIXELS: usize = 2_000_000;
/// What the decoder of images holds at once for each pixel of the result: a few maps of its finest level, in f32.
const DECODER_BYTES: u64 = 4 * 128 * 3;
/// The same for an image that is decoded in strips: its largest whole maps have half the rows and columns, and twice the
/// channels.
const TILED_DECODER_BYTES: u64 = DECODER_BYTES / 2;
/// Maps as large as the largest that the decoder holds on a card, with what lies between them in pages of that size, if it
/// multiplies in f16.
const F16_DECODER_MAPS: u64 = 3;
/// The same if it multiplies in f32.
const F32_DECODER_MAPS: u64 = 4;

/// A size of images.
#[derive(Clone, Copy)]
pub(super) struct Images<'a> {
    /// The transformer's schedule.
    pub schedule: &'a ScaleSchedule,
    /// Tokens of the image that is edited; 0 if there is none.
    pub source: usize,
    /// Pixels of an image.
    pub pixels: u64,
    /// How they are generated.
    pub run: &'a ImageRun,
}

/// What of a run of images its memory depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRun {
    /// Images that are generated together.
    pub images: usize,
    /// Scales, from the first, that need two rows of the batch for each image: those up to the last one with guidance.
    pub guided: usize,
    /// What it leaves out.
    pub shortcuts: Shortcuts,
}

impl ImageRun {
    /// Of `images` images over `scales` scales, all with guidance.
    pub fn guided(images: usize, scales: usize) -> Self {
        Self {
            images,
            guided: scales,
            shortcuts: Shortcuts::none(scales),
        }
    }
}

/// Tokens of all rows of a run.
struct Tokens {
    /// Those whose keys and values are kept, of all blocks together, the most at any time.
    kept: u64,
    /// Those that one block attends to at the last scale.
    seen: u64,
    /// Those of the largest scale.
    largest: u64,
    /// Those whose outputs stand in for others, of all blocks together.
    stand_ins: u64,
    /// Rows of the first scales.
    rows: u64,
}

impl Images<'_> {
    fn tokens(&self, depth: usize) -> Tokens {
        let ImageRun {
            images,
            guided,
            shortcuts,
        } = self.run;
        let run = shortcuts.scales();
        let rows_at = |k: usize| if k < *guided { 2 * images } else { *images };
        let kept = |before| -> usize {
            shortcuts.most_kept(self.schedule, depth, before) + depth * self.source
        };
        let scales = &self.schedule.scales()[..run];
        let largest = scales
            .iter()
            .enumerate()
            .map(|(k, scale)| rows_at(k) * scale.tokens());
        let seen: usize = scales.iter().map(Scale::tokens).sum();
        Tokens {
            // Of the source and of all scales but the last. Rows without guidance are dropped, and the rest is copied block by block.
            kept: (rows_at(0) * kept(*guided)).max(rows_at(run - 1) * kept(run)) as u64,
            seen: (rows_at(run - 1) * (self.source + seen)) as u64,
            largest: largest.max().unwrap_or(0) as u64,
            stand_ins: (rows_at(0) * shortcuts.stand_ins(self.schedule, depth)) as u64,
            rows: rows_at(0) as u64,
        }
    }
}

/// Bytes of a block's intermediate results over `tokens`, of a block with `hidden` units and a model of `width` channels.
fn block_bytes(tokens: u64, hidden: u64, width: u64, formats: Formats) -> u64 {
    if formats.own_kernels() {
        // Hidden units, queries, keys, values and what attention and products return in 16 bits, the residual stream in f32.
        tokens * (2 * hidden + 16 * width)
    } else {
        // Hidden units before and after the GELU, and some maps of the model's width, in f32.
        tokens * (3 * hidden + 6 * width) * 4
    }
}

/// Bytes that the decoder works with for an image of `pixels`, if its largest map has `largest` bytes.
fn decoder_bytes(pixels: u64, largest: u64, formats: Formats) -> u64 {
    if pixels >= TILED_DECODE_PIXELS as u64 {
        pixels * TILED_DECODER_BYTES
    } else if formats.pools == Pools::Shared {
        pixels * DECODER_BYTES
    } else if formats.decodes_in_f16 {
        F16_DECODER_MAPS * largest
    } else {
        F32_DECODER_MAPS * largest
    }
}

pub(super) fn infinity(
    config: &InfinityConfig,
    vae: &BsqVaeConfig,
    images: Images,
    formats: Formats,
) -> MemoryEstimate {
    let (width, depth, pixels) = (config.width as u64, config.depth as u64, images.pixels);
    let tokens = images.tokens(config.depth);
    let prompt = tokens.rows * config.text_max_len as u64;
    // The finest level begins with what the level before it has made larger.
    let widest = vae.decoder_mult.iter().take(2).max().copied().unwrap_or(1);
    let channels = (vae.base_channels * widest) as u64;
    let patches = pixels / (vae.pixel_patch * vae.pixel_patch) as u64;
    let largest = patches * channels * 4;
    let decoder = decoder_bytes(pixels, largest, formats);
    let block = config.block_parameters();
    let inside = block * config.depth;
    let outside = config.parameters() - inside;
    let loaded = formats.blocks == BlockStorage::Loaded;
    let recorded = if graphs::is_on() && formats.own_kernels() && loaded {
        graph_bytes(config, images.schedule, tokens.rows as usize)
    } else {
        0
    };
    // Of one block at a time, keys and values of the last scale too.
    let kept = 2 * width * (tokens.kept + depth * prompt + tokens.seen) * formats.working
        + width * tokens.stand_ins * 4;
    MemoryEstimate {
        pools: formats.pools,
        transformer: formats.transformer_bytes(inside, block, outside),
        cache: kept + recorded,
        scale: block_bytes(tokens.largest, config.ffn_hidden() as u64, width, formats),
        decoder,
        scale_tensor: tokens.largest * config.ffn_hidden() as u64 * formats.working,
        decoder_tensor: largest.min(decoder),
        ..MemoryEstimate::default()
    }
}

pub(super) fn var(
    config: &VarConfig,
    vae: &VqVaeConfig,
    images: Images,
    formats: Formats,
) -> MemoryEstimate {
    let (width, pixels) = (config.width as u64, images.pixels);
    let tokens = images.tokens(config.depth);
    let last = tokens.largest;
    let logits = 3 * last * config.vocabulary as u64 * 4;
    let (block, modulation) = config.block_parameters();
    // The modulations stay in the weights' own type.
    let inside = match formats.blocks {
        BlockStorage::Int8 => (block - modulation) * config.depth,
        _ => block * config.depth,
    };
    let outside = config.parameters() - inside;
    let widest = vae.mult.iter().take(2).max().copied().unwrap_or(1);
    let largest = pixels * (vae.base_channels * widest) as u64 * 4;
    let decoder = decoder_bytes(pixels, largest, formats);
    MemoryEstimate {
        pools: formats.pools,
        transformer: formats.transformer_bytes(inside, block, outside),
        cache: 2 * width * (tokens.kept + tokens.seen) * formats.working
            + width * tokens.stand_ins * 4,
        scale: block_bytes(last, config.ffn_hidden() as u64, width, formats) + logits,
        decoder,
        scale_tensor: last * config.ffn_hidden() as u64 * formats.working,
        decoder_tensor: largest.min(decoder),
        ..MemoryEstimate::default()
    }
}
