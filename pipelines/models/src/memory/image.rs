//! What models of images take.

use nextscale_bitwise::infinity::InfinityConfig;
use nextscale_bitwise::vae::BsqVaeConfig;
use nextscale_tokenizer::{ScaleSchedule, VqVaeConfig};
use nextscale_var_core::blocks::BlockStorage;
use nextscale_var_core::var::VarConfig;

use super::estimate::MemoryEstimate;
use super::formats::Formats;

/// Images with this many pixels or more are decoded in strips, unless asked otherwise.
pub const TILED_DECODE_PIXELS: usize = 2_000_000;
/// What the decoder of images holds at once for each pixel of the result: a few maps of its finest level, in f32.
const DECODER_BYTES: u64 = 4 * 128 * 3;
/// The same for an image that is decoded in strips: its largest whole maps have half the rows and columns, and twice the
/// channels.
const TILED_DECODER_BYTES: u64 = DECODER_BYTES / 2;
/// Maps as large as the largest that the decoder holds on a card, with what lies between them in pages of that size.
const CARD_DECODER_MAPS: u64 = 3;

/// A size of images.
#[derive(Clone, Copy)]
pub(super) struct Images<'a> {
    /// The transformer's schedule.
    pub schedule: &'a ScaleSchedule,
    /// Pixels of an image.
    pub pixels: u64,
    /// Rows of the transformer's batch.
    pub rows: u64,
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
    } else if formats.own_kernels() {
        CARD_DECODER_MAPS * largest
    } else {
        pixels * DECODER_BYTES
    }
}

pub(super) fn infinity(
    config: &InfinityConfig,
    vae: &BsqVaeConfig,
    Images {
        schedule,
        pixels,
        rows,
    }: Images,
    formats: Formats,
) -> MemoryEstimate {
    let (width, depth) = (config.width as u64, config.depth as u64);
    let (tokens, kept) = (schedule.tokens() as u64, schedule.kept_tokens() as u64);
    let prompt = config.text_max_len as u64;
    let last = schedule.last().tokens() as u64;
    // The finest level begins with what the level before it has made larger.
    let widest = vae.decoder_mult.iter().take(2).max().copied().unwrap_or(1);
    let channels = (vae.base_channels * widest) as u64;
    let patches = pixels / (vae.pixel_patch * vae.pixel_patch) as u64;
    let largest = patches * channels * 4;
    let decoder = decoder_bytes(pixels, largest, formats);
    let block = config.block_parameters();
    let inside = block * config.depth;
    let outside = config.parameters() - inside;
    MemoryEstimate {
        pools: formats.pools,
        transformer: formats.transformer_bytes(inside, block, outside),
        // Of all scales but the last; of one block at a time, those of the last too.
        cache: 2 * width * rows * (depth * (kept + prompt) + tokens) * formats.working,
        scale: block_bytes(rows * last, config.ffn_hidden() as u64, width, formats),
        decoder,
        scale_tensor: rows * last * config.ffn_hidden() as u64 * formats.working,
        decoder_tensor: largest.min(decoder),
        ..MemoryEstimate::default()
    }
}

pub(super) fn var(
    config: &VarConfig,
    vae: &VqVaeConfig,
    pixels: u64,
    rows: u64,
    formats: Formats,
) -> MemoryEstimate {
    let (width, depth) = (config.width as u64, config.depth as u64);
    let schedule = &config.schedule;
    let (tokens, kept) = (schedule.tokens() as u64, schedule.kept_tokens() as u64);
    let last = rows * schedule.last().tokens() as u64;
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
        cache: 2 * width * rows * (depth * kept + tokens) * formats.working,
        scale: block_bytes(last, config.ffn_hidden() as u64, width, formats) + logits,
        decoder,
        scale_tensor: last * config.ffn_hidden() as u64 * formats.working,
        decoder_tensor: largest.min(decoder),
        ..MemoryEstimate::default()
    }
}
