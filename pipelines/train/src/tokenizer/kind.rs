//! The kinds of tokenizers.

use serde::{Deserialize, Serialize};

/// What the codes of a tokenizer are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TokenizerKind {
    /// Bits, by binary spherical quantisation.
    #[default]
    Bsq,
    /// Rows of a codebook.
    Vq,
    /// Bits of clips.
    Causal,
}
