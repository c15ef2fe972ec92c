//! The parts that all next-scale transformers share, and VAR.
//!
//! An image is predicted scale by scale, `p(r_1..r_K | c) = prod_k p(r_k | r_<k, c)` (VAR, arXiv 2404.02905).
//! [`mod@var`] is that model. Every other module is independent of a model and a tokenizer: positions, masks, attention,
//! the cache, guidance, sampling and training.
//!
//! | letter | meaning | typical |
//! |---|---|---|
//! | b | images in a batch, doubled under guidance | 1..64 |
//! | l | tokens of all scales | 30..10521 |
//! | h | attention heads | 4..28 |
//! | d | channels of a head | 64, 128 |
//! | v | values a token can take | 2 per bit, 4096 in VAR |

pub mod attention;
pub mod blocks;
pub mod cache;
pub mod cache_budget;
#[cfg(feature = "cuda")]
pub mod card;
pub mod chosen;
pub mod collective;
pub mod dtype;
mod fused;
pub mod guidance;
pub mod int8;
pub mod layers;
pub mod mask;
pub mod matmul;
pub mod pruning;
mod read_ahead;
pub mod rope;
pub mod sample_ranks;
pub mod sampler;
pub mod shortcuts;
pub mod spread;
pub mod threads;
pub mod train;
pub mod var;
