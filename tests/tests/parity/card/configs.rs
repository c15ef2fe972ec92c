//! Small models.

use nextscale_bitwise::infinity::InfinityConfig;
use nextscale_tokenizer::ScaleSchedule;
use nextscale_var_core::attention::AttentionKind;
use nextscale_var_core::var::{Modulation, VarConfig};
use nextscale_video::{CodeBits, InfinityStarConfig};

/// Of 1, 4, 25 and 81 tokens.
pub(super) fn schedule() -> ScaleSchedule {
    ScaleSchedule::square(&[1, 2, 5, 9]).expect("a schedule")
}

pub(super) fn infinity(depth: usize) -> InfinityConfig {
    InfinityConfig {
        width: 128,
        depth,
        heads: 2,
        code_dim: 8,
        text_channels: 128,
        text_max_len: 9,
        block_chunks: 1,
        ..InfinityConfig::infinity_125m()
    }
}

pub(super) fn var(depth: usize) -> VarConfig {
    VarConfig {
        width: 128,
        depth,
        heads: 2,
        classes: 5,
        vocabulary: 24,
        channels: 4,
        schedule: schedule(),
        mlp_ratio: 4.0,
        modulation: Modulation::Own,
        attention: AttentionKind::Cosine,
    }
}

pub(super) fn star(depth: usize, attention_bias: bool) -> InfinityStarConfig {
    InfinityStarConfig {
        width: 128,
        depth,
        heads: 4,
        kv_heads: 2,
        mlp_hidden: 160,
        bits: CodeBits {
            semantic: 4,
            detail: 8,
        },
        text_channels: 16,
        text_max_len: 8,
        attention_bias,
        block_chunks: 1,
    }
}
