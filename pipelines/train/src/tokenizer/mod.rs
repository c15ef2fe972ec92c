//! Training of tokenizers: one file or folder for each kind, and the parts of the loss that all share.

mod adversarial;
pub(crate) mod bsq;
pub(crate) mod causal;
pub(crate) mod import;
mod loss;
mod objective;
mod perceptual;
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
