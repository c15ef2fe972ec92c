//! Batches of images and of clips for the tokenizers, and what all batches share.

pub(crate) mod clips;
pub(crate) mod images;
pub(crate) mod labelled;
pub(crate) mod planes;
