//! The convolutional auto-encoder whose latent is coded as a pyramid of bits: Infinity's tokenizer.

mod decoder;
mod encoder;
pub mod import;
mod model;
mod strips;

pub use decoder::Decoder;
pub use encoder::Encoder;
pub use model::{BsqVae, BsqVaeConfig};
