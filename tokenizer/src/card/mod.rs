//! Kernels of our own for cards: products of 16-bit numbers, and the layers of a decoder.

pub mod cells;
mod channel_norm;
mod conv;
pub(crate) mod decode;
#[allow(missing_docs)] // of what the macro makes of a documented function
pub mod fragment;
pub mod memory;
mod norm;
pub mod product;
