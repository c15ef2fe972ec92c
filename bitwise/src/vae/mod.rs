//! The convolutional auto-encoder whose latent is coded as a pyramid of bits: Infinity's tokenizer.

pub mod import;
mod model;
mod strips;

pub use model::{BsqVae, BsqVaeConfig};
