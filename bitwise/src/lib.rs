//! Codes as bits.
//!
//! A tokenizer that keeps only signs (binary spherical quantisation) has a vocabulary of `2^d`, too many for a softmax.
//! Infinity predicts the `d` bits separately, two classes each, and is trained on its own mistakes (arXiv 2412.04431).
//!
//! ```text
//! p(bits_k | bits_<k, text) = prod over tokens and bits of p(bit | f_{k-1}, text)
//! ```
//!
//! | letter | meaning | 2B | 8B |
//! |---|---|---|---|
//! | d | bits per cell of the tokenizer | 32 | 14 |
//! | D | bits per token: d, or 4 d with 2 x 2 patches | 32 | 56 |
//! | C | width of the transformer | 2048 | 3584 |
//! | T | text channels | 2048 | 2048 |
//! | l | tokens of all scales at 1024 x 1024 | 10521 | 10521 |

pub mod bsq;
pub mod correction;
pub mod generate;
pub mod import;
pub mod infinity;
pub mod tokens;
pub mod train;
pub mod vae;

pub use bsq::Bsq;
pub use vae::{BsqVae, BsqVaeConfig};
