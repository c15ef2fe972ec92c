//! Memory of a generation, estimated before anything is loaded.

use crate::{
    clips::{Pass, Plan},
    infinity_star::{InfinityStarConfig, Limits},
};

/// The size of a batch and of its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSize {
    /// Tokens of the prompt.
    pub text: usize,
    /// Rows of the batch: 2 per video under guidance.
    pub rows: usize,
    /// Scales, from the first of each clip, that need all rows; of the others, passes that are not kept need half of them.
    pub guided_scales: usize,
    /// Bytes per number in matrix products.
    pub bytes: usize,
}

/// Bytes of the keys and values that are kept between passes: those of the prompt and of the previous clip's finest grid.
pub fn kept_bytes(config: &InfinityStarConfig, plan: &Plan, batch: BatchSize) -> usize {
    kept_tokens(plan, batch) * config.kept_per_token() * batch.rows * batch.bytes
}

fn kept_tokens(plan: &Plan, batch: BatchSize) -> usize {
    batch.text + plan.kept_tokens()
}

/// Bytes of the intermediate results of the largest pass: an approximate upper bound on what a block holds at a time.
pub fn pass_bytes(
    config: &InfinityStarConfig,
    plan: &Plan,
    batch: BatchSize,
    limits: Limits,
) -> usize {
    let needs_all = |pass: &&Pass| pass.keep || pass.index < batch.guided_scales;
    let largest = |passes: &mut dyn Iterator<Item = &Pass>| {
        passes.map(|pass| pass.scale.tokens()).max().unwrap_or(0)
    };
    let guided = largest(&mut plan.passes().filter(needs_all));
    let others = largest(&mut plan.passes().filter(|pass| !needs_all(pass)));
    let bytes_of = |rows, tokens| {
        rows_bytes(
            config,
            kept_tokens(plan, batch),
            batch,
            limits,
            [rows, tokens],
        )
    };
    bytes_of(batch.rows, guided).max(bytes_of(batch.rows.div_ceil(2), others))
}

/// The same of a pass with as many rows and tokens.
fn rows_bytes(
    config: &InfinityStarConfig,
    kept: usize,
    batch: BatchSize,
    limits: Limits,
    [rows, largest]: [usize; 2],
) -> usize {
    let (bytes, c) = (batch.bytes, config.width);
    let at_once = largest * (limits.tokens / largest.max(1)).clamp(1, rows);
    // The residual stream before and after the block for all rows; the rest only for the current rows.
    let stream = 8 * c * rows * largest;
    let keys = 2 * config.kv_heads * config.head_dim() * (at_once + kept * rows);
    let heads = at_once * c * (12 + 3 * bytes) + 2 * keys * bytes;
    let scores = limits.scores.min(at_once * config.heads * (largest + kept));
    let hidden = limits.hidden.min(at_once * config.mlp_hidden);
    let mlp = at_once * c * (8 + bytes) + 3 * hidden * bytes;
    stream + mlp.max(heads + scores * bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{preset::InfinityStarPreset, templates::Template};

    /// Bytes of kept keys and values, of weights and of everything, in bf16 with guidance.
    fn bytes(preset: &InfinityStarPreset, latent_frames: usize) -> [usize; 3] {
        let template = Template::nearest(0.562);
        let grids = template.grids(preset.size);
        let plan = Plan::new(&preset.layout, grids, latent_frames).unwrap();
        let batch = BatchSize {
            text: 64,
            rows: 2,
            guided_scales: usize::MAX,
            bytes: 2,
        };
        let config = &preset.config;
        let (kept, weights) = (
            kept_bytes(config, &plan, batch),
            config.parameters() * batch.bytes,
        );
        let pass = pass_bytes(config, &plan, batch, Limits::default());
        [kept, weights, kept + weights + pass]
    }

    #[test]
    fn five_seconds_at_720p() {
        let [kept, weights, total] = bytes(&InfinityStarPreset::infinitystar_8b_720p(), 21);
        assert_eq!(kept, 2 * 3664 * 147_456); // 1.08 GB
        assert_eq!(weights, 2 * (8_768_382_112 - 4096));
        assert!(total < 32_000_000_000, "{total}");
    }

    #[test]
    fn ten_seconds_at_480p() {
        let [kept, _, total] = bytes(&InfinityStarPreset::infinitystar_8b_480p(), 41);
        assert_eq!(kept, 2 * 31_864 * 147_456); // 4.70 GB a branch
        assert!(total < 40_000_000_000, "{total}");
    }
}
