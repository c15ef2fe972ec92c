//! Scaling laws: the test loss of VAR against its size and against the compute of its training.
//!
//! Models of several sizes are trained to one recipe, with the same tokenizer, data, batches and number of images. For each the loss and
//! the share of wrong codes of held-out images are measured, over all scales and on the last one, as in section 4.2 of the paper (arXiv
//! 2404.02905), and power laws are fitted.

mod options;
mod plot;
mod study;

pub use options::{ScalingOptions, VarSize};
pub use study::run;
