//! A raster autoregressive transformer of classes: LlamaGen's (arXiv 2406.06525), which is that of VQGAN with the parts of LLaMA.
//!
//! ```text
//! class, code_1, .., code_{n-1}  ─►  transformer, causal  ─►  logits of code_1, .., code_n
//! ```
//!
//! The codes of a grid follow each other row by row. The class is a token before them. Positions are rotary, by row and column; the
//! class has none: its queries and keys are zero, as in the official code. In training nothing is dropped but classes.

mod config;
mod generate;
mod import;
mod loss;
mod model;

pub use config::RasterConfig;
pub use generate::{GenerateInput, Generation, RasterCache, generate};
pub use import::{load_raster, raster_keys};
pub use loss::{RasterLoss, loss};
pub use model::Raster;
