//! What is recorded as CUDA graphs, and what memory that keeps.

use nextscale_tokenizer::ScaleSchedule;

use super::config::InfinityConfig;

/// Room for tokens of text comes in steps: those of the attention kernel's tiles.
#[cfg(feature = "cuda")]
pub(super) const TEXT_STEP: usize = 64;

/// The most rows of a scale: beyond that, a card computes longer than the kernels take to launch.
const MOST_ROWS: usize = 1_200;

/// The most memory for what the kernels of all recorded scales leave to one another.
const MOST_BYTES: usize = 256 << 20;

/// Bytes of a channel of a row in a scale: its input, two sums in f32, and queries, keys, values, heads, hidden units and outputs in
/// 16 bits.
const BYTES: usize = 40;

/// Which scales of a schedule are recorded, for a width of `c` and so many prompts, those under guidance included.
pub(super) fn recorded_scales(c: usize, schedule: &ScaleSchedule, prompts: usize) -> Vec<bool> {
    let mut left = MOST_BYTES;
    let rows = schedule
        .scales()
        .iter()
        .map(|scale| scale.tokens() * prompts);
    rows.map(|rows| {
        let bytes = rows * c * BYTES;
        let fits = rows <= MOST_ROWS && bytes <= left;
        left -= if fits { bytes } else { 0 };
        fits
    })
    .collect()
}

/// Bytes on a card that graphs keep beside the weights, the cache and what the blocks keep of the text, for so many prompts.
pub fn graph_bytes(config: &InfinityConfig, schedule: &ScaleSchedule, prompts: usize) -> u64 {
    let c = config.width;
    let recorded = recorded_scales(c, schedule, prompts);
    let scales = schedule.scales().iter().zip(recorded);
    let rows = scales.map(|(scale, small)| if small { scale.tokens() * prompts } else { 0 });
    // Gains, scales and shifts of all blocks, in f32.
    let conditions = config.depth * prompts * c * 6 * 4;
    (rows.sum::<usize>() * c * BYTES + conditions) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_scales_are_recorded() {
        let sides = [1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64];
        let schedule = ScaleSchedule::square(&sides).unwrap();
        let count = |c: usize, prompts| {
            let recorded = recorded_scales(c, &schedule, prompts);
            recorded.iter().filter(|&&small| small).count()
        };
        assert_eq!(
            (count(2048, 2), count(2048, 1), count(2048, 64)),
            (9, 10, 3)
        );
    }
}
