//! Training of tokenizers: one file for each kind.

pub(crate) mod bsq;
pub(crate) mod causal;
pub(crate) mod import;
mod loss;
mod reconstruction;
pub(crate) mod vq;

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
