use serde::{Deserialize, Serialize};

use crate::codes::CodeBits;
use crate::error::ConfigError;

/// The shapes of a [`InfinityStar`](super::InfinityStar) transformer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfinityStarConfig {
    /// Width, C.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Query heads, h. The head dimension, `width / heads`, must be a multiple of 8.
    pub heads: usize,
    /// Key and value heads, g; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Hidden units of the feed-forward layers.
    pub mlp_hidden: usize,
    /// Bits of the two kinds of code; the detail bits are also the channels of the latent.
    pub bits: CodeBits,
    /// Channels of the text features, T.
    pub text_channels: usize,
    /// Rows of the unconditional prompt: the maximum number of text tokens in a prompt, and the first position on the scale
    /// axis after it.
    pub text_max_len: usize,
    /// Whether the linear layers of the attention have biases.
    #[serde(default)]
    pub attention_bias: bool,
    /// Number of chunks into which a checkpoint groups its block names; 1 means `blocks.J`.
    #[serde(default = "one")]
    pub block_chunks: usize,
}

fn one() -> usize {
    1
}

impl InfinityStarConfig {
    /// The released models, 8.77 billion parameters (`infinity_qwen8b` of `infinity/models/infinity.py`, with Flan-T5-XL).
    pub fn infinitystar_8b() -> Self {
        Self {
            width: 4096,
            depth: 36,
            heads: 32,
            kv_heads: 8,
            mlp_hidden: 16384,
            bits: CodeBits::INFINITYSTAR,
            text_channels: 2048,
            text_max_len: 512,
            attention_bias: false,
            block_chunks: 6,
        }
    }

    /// The same shapes with a single block.
    #[must_use]
    pub fn with_one_block(&self) -> Self {
        Self {
            depth: 1,
            block_chunks: 1,
            ..self.clone()
        }
    }

    /// Dimension of an attention head.
    pub fn head_dim(&self) -> usize {
        self.width / self.heads
    }

    /// The number of values in the keys and values of one token, over all blocks.
    pub fn kept_per_token(&self) -> usize {
        2 * self.depth * self.kv_heads * self.head_dim()
    }

    /// Parameters of the transformer.
    pub fn parameters(&self) -> usize {
        let (c, kv) = (self.width, self.kv_heads * self.head_dim());
        let biases = if self.attention_bias {
            2 * c + 2 * kv
        } else {
            0
        };
        let attention = 2 * c * c + 2 * c * kv + biases + 2 * self.head_dim();
        let block = attention + 3 * c * self.mlp_hidden + 2 * c;
        let heads = [self.bits.detail, self.bits.semantic];
        let heads: usize = heads.iter().map(|bits| 2 * bits * (c + 1)).sum();
        let text = self.text_max_len * self.text_channels + (self.text_channels + 1) * c;
        self.depth * block + heads + text + (self.bits.detail + 1) * c + c
    }

    /// Standard deviation of initial weights, `sqrt(1 / (3 C))`.
    pub(crate) fn init_std(&self) -> f64 {
        (1.0 / (3.0 * self.width as f64)).sqrt()
    }

    /// Checks that the sizes are consistent.
    ///
    /// # Errors
    /// The first inconsistency.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let (width, heads, kv_heads) = (self.width, self.heads, self.kv_heads);
        if !(heads > 0 && width.is_multiple_of(heads) && (width / heads).is_multiple_of(8)) {
            return Err(ConfigError::Heads { width, heads });
        }
        if !(kv_heads > 0 && heads.is_multiple_of(kv_heads)) {
            return Err(ConfigError::KeyHeads { heads, kv_heads });
        }
        let (depth, chunks) = (self.depth, self.block_chunks);
        if !(depth > 0 && chunks > 0 && depth.is_multiple_of(chunks)) {
            return Err(ConfigError::Chunks { depth, chunks });
        }
        Ok(())
    }

    pub(crate) fn check(&self) {
        self.validate()
            .unwrap_or_else(|e| panic!("a model that {e}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_released_size() {
        let config = InfinityStarConfig::infinitystar_8b();
        // The file also holds the start token, which is not used.
        assert_eq!(config.parameters(), 8_768_382_112 - 4096);
        assert_eq!(config.head_dim(), 128);
        assert_eq!(2 * config.kept_per_token(), 147_456); // bytes in bf16
    }
}
