//! Sizes of a model that contradict each other.

use thiserror::Error;

use crate::vae::resample::Resample;

/// The first inconsistency of a configuration, as the end of a sentence about the model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The query heads do not divide the width, or their dimension is no multiple of 8.
    #[error(
        "has width {width}, which does not split into {heads} heads whose dimension is a multiple of 8"
    )]
    Heads {
        /// Width of the transformer.
        width: usize,
        /// Query heads.
        heads: usize,
    },
    /// The key heads do not divide the query heads.
    #[error("has {heads} query heads, which {kv_heads} key heads do not divide")]
    KeyHeads {
        /// Query heads.
        heads: usize,
        /// Key and value heads.
        kv_heads: usize,
    },
    /// The chunks do not divide the blocks.
    #[error("has {depth} blocks, which do not split into {chunks} chunks")]
    Chunks {
        /// Blocks.
        depth: usize,
        /// Chunks of their names.
        chunks: usize,
    },
    /// The auto-encoder does not have one more width than levels.
    #[error("has an auto-encoder with widths {channels:?} for levels {levels:?}")]
    Levels {
        /// Channels of each level.
        channels: Vec<usize>,
        /// What each level does to the size.
        levels: Vec<Resample>,
    },
    /// The side of a pixel patch is not a power of two.
    #[error("has an auto-encoder with a pixel patch of {0}, which is not a power of two")]
    PixelPatch(usize),
    /// A level that keeps its size changes its channels.
    #[error(
        "has an auto-encoder with a level that keeps its size and goes from {from} to {to} channels"
    )]
    LevelWidth {
        /// Channels of its input.
        from: usize,
        /// Channels of its output.
        to: usize,
    },
    /// The channels of the cells that become one do not fold into those of a level's output.
    #[error(
        "has an auto-encoder with a level from {from} to {to} channels, where a multiple of {cells} that divides {most} is needed"
    )]
    Folding {
        /// Channels of its input.
        from: usize,
        /// Channels of its output.
        to: usize,
        /// Cells that become one.
        cells: usize,
        /// Their channels.
        most: usize,
    },
}
