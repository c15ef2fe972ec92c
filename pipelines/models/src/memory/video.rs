//! What models of videos take.

use nextscale_video::InfinityStarVaeConfig;
use nextscale_video::infinity_star::Limits;
use nextscale_video::memory::{BatchSize, kept_bytes, pass_bytes};

use super::estimate::{MemoryEstimate, Pools};
use super::formats::Formats;
use crate::generator::VideoPlan;

/// Maps of its finest level that a video decoder holds at once, for the frames that it decodes at a time.
const DECODER_MAPS: u64 = 4;
/// The same on a card in f32, where the tensor library copies and pads what its convolutions read, in pages of several sizes.
const F32_DECODER_MAPS: u64 = 15;
/// Pages of that size that the decoder of an image holds.
const IMAGE_MAPS: u64 = 2;

/// Bytes of a map of the finest level for the frames of `pixels` that a decoder decodes at a time, in f32.
pub(crate) fn decoder_map_bytes(vae: &InfinityStarVaeConfig, pixels: usize) -> u64 {
    let frames = 2 * vae.frame_stride();
    let patches = pixels / (vae.pixel_patch * vae.pixel_patch);
    let finest = vae.channels.first().copied().unwrap_or_default();
    (frames * patches * finest * 4) as u64
}

/// Maps of its finest level that the decoder holds at once.
fn decoder_maps(formats: Formats) -> u64 {
    if formats.pools == Pools::Shared || formats.decodes_in_f16 {
        DECODER_MAPS
    } else {
        F32_DECODER_MAPS
    }
}

pub(super) fn infinity_star(video: &VideoPlan, formats: Formats) -> MemoryEstimate {
    let (manifest, size, plan) = (&video.manifest, &video.size, video.clips_and_passes());
    let (config, vae) = (&manifest.transformer, &manifest.vae);
    let text = config.text_max_len.min(64);
    let rows = if manifest.guidance.is_active() { 2 } else { 1 };
    let batch = BatchSize {
        text,
        rows,
        guided_scales: video.guided_scales(),
        bytes: formats.working as usize,
    };
    let all = config.parameters();
    let block = (all - config.with_one_block().parameters()) / (config.depth - 1).max(1);
    let inside = block * config.depth;
    let pixels = size.width * size.height;
    let map = decoder_map_bytes(vae, pixels);
    let tokens = (rows * plan.largest_pass()) as u64;
    // On a card, the image before a single clip is decoded while the clip is generated, and its pages stay.
    let beside = if plan.clips().len() == 2 && formats.pools != Pools::Shared {
        IMAGE_MAPS * map
    } else {
        0
    };
    let stand_ins = rows * video.stand_ins(config.depth) * config.width * 4;
    let estimate = MemoryEstimate {
        pools: formats.pools,
        transformer: formats.transformer_bytes(inside, block, all - inside),
        cache: (kept_bytes(config, plan, batch) + stand_ins) as u64,
        scale: pass_bytes(config, plan, batch, Limits::default()) as u64 + beside,
        decoder: map * decoder_maps(formats),
        scale_tensor: tokens * config.width as u64 * 4,
        decoder_tensor: map,
        ..MemoryEstimate::default()
    };
    // The passes of the last clip are done when it is decoded. Before it there is an image, which takes little.
    estimate.in_turn(plan.clips().len() <= 2)
}
