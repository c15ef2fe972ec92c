//! Infinity (`kind: infinity`): a transformer of prompts and its text encoder, trained together on the codes of a frozen
//! tokenizer.
//!
//! Each image gets a random caption, a random augmentation and, for bitwise self-correction, random errors in its codes.
//! One prompt in ten is replaced by the unconditional one.

mod config;
mod export;
mod parts;
mod task;

pub(crate) use config::InfinityRun;
pub(crate) use export::export;
