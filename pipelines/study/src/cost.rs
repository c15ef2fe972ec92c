//! What an image costs, against resolution: operations counted and seconds measured, with random weights.
//!
//! `n` is the side of the latent, as in the paper (VAR, arXiv 2404.02905, appendix D): VAR runs through about `log n` scales of up to
//! `n^2` tokens, each of which attends to all before it, so that attention takes O(n^4). Raster autoregression draws `n^2` codes one
//! by one: without a cache each pass attends among all codes so far, O(n^6); with one, O(n^4). Diffusion takes O(n^4) for each of a
//! fixed number of steps.

mod measure;
mod options;
mod paper;
mod shapes;
mod study;

pub use options::{CostOptions, ModelSize, Paradigm};
pub use study::run;
