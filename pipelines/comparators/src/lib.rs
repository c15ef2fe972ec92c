//! What VAR is compared with, in the definitions that the field uses: not products, but yardsticks, kept small and readable.
//!
//! | module | model | definition |
//! |---|---|---|
//! | [`raster`] | an autoregressive transformer that draws the codes of a single grid row by row | LlamaGen, arXiv 2406.06525 |
//! | [`dit`] | a diffusion transformer on the continuous latents of an auto-encoder | DiT, arXiv 2212.09748 |
//!
//! Both are conditioned on classes, are guided without a classifier, and are trained by the same trainer as VAR. Their forward passes
//! are compared with the official code on random weights (`tests/golden/comparators`).

pub mod dit;
pub mod raster;
