//! Text encoding: prompts to the features that condition a transformer.
//!
//! [`Vocab`] splits a prompt into token ids, [`T5Encoder`] turns ids into features, and [`TextEncoder`] combines the two
//! for batches. The encoder is that of T5 v1.1 and flan-T5:
//!
//! ```text
//! h_0 = E[ids]
//! h  += O · softmax(Q K^T + B[bucket(j - i)]) V      Q, K, V of rms(h); no 1/sqrt(d)
//! h  += W_o (gelu(W_0 rms(h)) * W_1 rms(h))
//! features = rms(h_N)
//! ```
//!
//! Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
//! Transformer" (2020); the gated feed-forward is Shazeer, "GLU Variants Improve Transformer" (2020).
//!
//! | letter | meaning | name in the paper's code | flan-t5-xl |
//! |---|---|---|---|
//! | b | prompts of a batch | batch | 1 |
//! | l | tokens, `</s>` included, padded to the longest | length | up to 512 |
//! | c | feature width | `d_model` | 2048 |
//! | n | attention heads | `num_heads` | 32 |
//! | d | width of one head | `d_kv` | 64 |
//! | f | hidden width of the feed-forward | `d_ff` | 5120 |

mod error;

pub mod encoder;
pub mod import;
pub mod known_words;
pub mod neighbours;
pub mod t5;
pub mod unigram;
pub mod vocab;

pub use encoder::{TextEncoder, TextFeatures};
pub use error::TextError;
pub use known_words::KnownWords;
pub use neighbours::{Neighbours, Replaced, Understood};
pub use t5::{T5Config, T5Encoder};
pub use unigram::train_unigram;
pub use vocab::{Encoded, TokenBatch, Vocab};
