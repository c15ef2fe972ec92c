//! How much memory a run takes, before anything is loaded.

use crate::{
    clips::Plan,
    infinity_star::{InfinityStarConfig, Limits},
};

/// Bytes of a run of the transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// Its weights.
    pub weights: usize,
    /// Keys and values that stay from pass to pass: the prompt and the finest grid of the clip before.
    pub kept: usize,
    /// Intermediate results of the largest pass, about: an upper bound on what a block holds at a time.
    pub pass: usize,
}

impl MemoryEstimate {
    /// For prompts of `text` tokens and `rows` rows in the batch, 2 a video under guidance, with weights and matrix
    /// products in numbers of `bytes` bytes.
    pub fn new(
        config: &InfinityStarConfig,
        plan: &Plan,
        text: usize,
        rows: usize,
        bytes: usize,
        limits: Limits,
    ) -> Self {
        let c = config.width;
        let (largest, kept) = (plan.largest_pass(), text + plan.kept_tokens());
        let at_once = largest * (limits.tokens / largest.max(1)).clamp(1, rows);
        // The residual stream before and behind the block, of all rows; the rest only of the rows at hand.
        let stream = 8 * c * rows * largest;
        let keys = 2 * config.kv_heads * config.head_dim() * (at_once + kept * rows);
        let heads = at_once * c * (12 + 3 * bytes) + 2 * keys * bytes;
        let scores = limits.scores.min(at_once * config.heads * (largest + kept));
        let hidden = limits.hidden.min(at_once * config.mlp_hidden);
        let mlp = at_once * c * (8 + bytes) + 3 * hidden * bytes;
        Self {
            weights: config.parameters() * bytes,
            kept: kept * config.kept_per_token() * rows * bytes,
            pass: stream + mlp.max(heads + scores * bytes),
        }
    }

    /// All of it.
    pub fn total(&self) -> usize {
        self.weights + self.kept + self.pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{preset::InfinityStarPreset, templates::Template};

    fn estimate(preset: &InfinityStarPreset, seconds: usize) -> MemoryEstimate {
        let template = Template::nearest(0.562);
        let grids = template.grids(preset.size);
        let frames = preset.latent_frames(seconds);
        let plan = Plan::new(&preset.layout, grids, frames).unwrap();
        MemoryEstimate::new(&preset.config, &plan, 64, 2, 2, Limits::default())
    }

    #[test]
    fn five_seconds_at_720p() {
        let estimate = estimate(&InfinityStarPreset::infinitystar_8b_720p(), 5);
        assert_eq!(estimate.kept, 2 * 3664 * 147_456); // 1.08 GB
        assert_eq!(estimate.weights, 2 * (8_768_382_112 - 4096));
        assert!(estimate.total() < 32_000_000_000, "{estimate:?}");
    }

    #[test]
    fn ten_seconds_at_480p() {
        let estimate = estimate(&InfinityStarPreset::infinitystar_8b_480p(), 10);
        assert_eq!(estimate.kept, 2 * 31_864 * 147_456); // 4.70 GB a branch
        assert!(estimate.total() < 40_000_000_000, "{estimate:?}");
    }
}
