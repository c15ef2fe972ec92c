//! InfinityStar (`kind: star`): a transformer of videos and its text encoder, trained together on the codes of a frozen
//! causal tokenizer.
//!
//! Each clip is a sprite with a random motion and a caption that says so. As for images, bits are flipped for
//! self-correction, and one prompt in ten is replaced by the unconditional one.

mod config;
mod export;
mod task;

pub(crate) use config::InfinityStarRun;
pub(crate) use export::export;
