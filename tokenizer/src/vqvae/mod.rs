//! VAR's tokenizer: a convolutional auto-encoder whose latent is encoded as a pyramid of codebook indices
//! (arXiv 2404.02905, section 3.2; `vqvae.py`, `quant.py` and `basic_vae.py` of the reference).

mod config;
mod import;
mod model;

pub use config::VqVaeConfig;
pub use model::{Quantised, VqCodes, VqVae};
