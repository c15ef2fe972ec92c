use serde::{Deserialize, Serialize};

/// The shapes of an [`Infinity`](super::Infinity) transformer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfinityConfig {
    /// Width, C.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads. The head dimension, `width / heads`, must be a multiple of 4.
    pub heads: usize,
    /// Bits per token, D: the tokenizer's d, or 4 d with 2 x 2 patches.
    pub code_dim: usize,
    /// Channels of the text features, T.
    pub text_channels: usize,
    /// The maximum number of text tokens in a prompt: rows of the unconditional prompt.
    pub text_max_len: usize,
    /// Ratio of the feed-forward layers' hidden size to the width, before rounding to a multiple of 256.
    #[serde(default = "default_mlp_ratio")]
    pub mlp_ratio: f64,
    /// Number of chunks into which a checkpoint groups its block names; 1 means `blocks.J`.
    #[serde(default = "default_chunks")]
    pub block_chunks: usize,
    /// Scale embeddings: the maximum number of scales in a schedule.
    #[serde(default = "default_levels")]
    pub levels: usize,
}

fn default_mlp_ratio() -> f64 {
    4.0
}

fn default_chunks() -> usize {
    1
}

fn default_levels() -> usize {
    15
}

impl InfinityConfig {
    /// The released 2B model with its 32-bit tokenizer (`infinity_2b`, 1024 x 1024 pixels).
    pub fn infinity_2b() -> Self {
        Self {
            width: 2048,
            depth: 32,
            heads: 16,
            code_dim: 32,
            text_channels: 2048,
            text_max_len: 512,
            mlp_ratio: 4.0,
            block_chunks: 8,
            levels: 15,
        }
    }

    /// The released 8B model with its patchified 14-bit tokenizer (`infinity_8b`).
    pub fn infinity_8b() -> Self {
        Self {
            width: 3584,
            depth: 40,
            heads: 28,
            code_dim: 56,
            ..Self::infinity_2b()
        }
    }

    /// The 125M model of the reference's training code (`infinity_layer12`); no checkpoint was released.
    pub fn infinity_125m() -> Self {
        Self {
            width: 768,
            depth: 12,
            heads: 8,
            block_chunks: 4,
            ..Self::infinity_2b()
        }
    }

    /// Hidden size of the feed-forward layers: `mlp_ratio * width`, rounded to a multiple of 256, halves to even.
    pub fn ffn_hidden(&self) -> usize {
        (self.width as f64 * self.mlp_ratio / 256.0).round_ties_even() as usize * 256
    }

    /// Heads of the text pool: one per 128 text channels, or per 64 where the width exceeds 4096.
    pub fn pool_heads(&self) -> usize {
        let channels = if self.width > 4096 { 64 } else { 128 };
        self.text_channels / channels
    }

    /// Parameters of one block.
    pub fn block_parameters(&self) -> usize {
        let (c, f) = (self.width, self.ffn_hidden());
        let square = c * c + c;
        let attention = 3 * c * c + 2 * c + square + self.heads;
        let cross = square + 2 * c * c + c + square + 2 * c;
        6 * c + attention + cross + 2 * c * f + f + c
    }

    /// Parameters of the transformer.
    pub fn parameters(&self) -> usize {
        let (c, t, d) = (self.width, self.text_channels, self.code_dim);
        let square = c * c + c;
        let text = self.text_max_len * t + t + (2 * c * t + 2 * c + square) + (c * t + c + square);
        let ends = c + self.levels * c + (d * c + c) + (2 * d * c + 2 * d);
        let modulation = 6 * square + 2 * square;
        text + ends + modulation + self.depth * self.block_parameters()
    }

    /// Dimension of an attention head.
    pub fn head_dim(&self) -> usize {
        self.width / self.heads
    }

    /// Standard deviation of initial weights, `sqrt(1 / (3 C))`.
    pub(crate) fn init_std(&self) -> f64 {
        (1.0 / (3.0 * self.width as f64)).sqrt()
    }

    pub(crate) fn check(&self) {
        let (width, heads) = (self.width, self.heads);
        assert!(
            heads > 0 && width.is_multiple_of(heads) && (width / heads).is_multiple_of(4),
            "width {width} does not split into {heads} heads whose dimension is a multiple of 4"
        );
        let (channels, pool) = (self.text_channels, self.pool_heads());
        assert!(
            pool > 0 && width.is_multiple_of(pool),
            "width {width} does not split into the {pool} pool heads of {channels} text channels"
        );
        let (depth, chunks) = (self.depth, self.block_chunks);
        assert!(
            depth > 0 && chunks > 0 && depth.is_multiple_of(chunks),
            "{depth} blocks do not split into {chunks} chunks"
        );
        assert!(
            self.ffn_hidden() > 0,
            "the feed-forward layers have no hidden units at width {width}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts of the official classes.
    #[test]
    fn parameters_are_those_of_the_official_models() {
        let count = |config: InfinityConfig| config.parameters();
        assert_eq!(count(InfinityConfig::infinity_125m()), 125_185_696);
        assert_eq!(count(InfinityConfig::infinity_2b()), 2_204_564_032);
        assert_eq!(count(InfinityConfig::infinity_8b()), 8_375_791_824);
    }

    #[test]
    fn hidden_sizes_round_to_even() {
        let hidden = |width| {
            InfinityConfig {
                width,
                ..InfinityConfig::infinity_2b()
            }
            .ffn_hidden()
        };
        let sizes = [2080, 3360, 96, 160, 2048].map(hidden);
        assert_eq!(sizes, [8192, 13312, 512, 512, 8192]);
    }
}
