//! Training of tokenizers: one file a kind.

pub mod bsq;
pub mod causal;
pub(crate) mod reconstruction;
pub mod vq;

use serde::{Deserialize, Serialize};

/// What a tokenizer's codes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenizerKind {
    /// Bits on a sphere: a [`TokenizerRun`].
    #[default]
    Bsq,
    /// Rows of a codebook: a [`VqRun`](crate::tokenizer::vq::VqRun).
    Vq,
    /// Bits of clips: a [`CausalRun`](crate::tokenizer::causal::CausalRun).
    Causal,
}
