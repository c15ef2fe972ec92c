//! Training of tokenizers: one file for each kind.

pub(crate) mod bsq;
pub(crate) mod causal;
pub(crate) mod import;
pub(crate) mod kind;
mod loss;
mod reconstruction;
pub(crate) mod vq;
